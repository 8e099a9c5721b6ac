"""What Ray's autoscaler starts nodes with on this machine, as a cloud does it: a machine that dies is gone."""

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from typing_extensions import override


class MortalNodes(FakeMultiNodeProvider):
    """Ray's own for tests goes on to list a node whose raylet was killed, as one that is about to come up."""

    @override
    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        with self.lock:
            for node_id in [each for each, node in self._nodes.items() if "node" in node and _is_dead(node["node"])]:
                del self._nodes[node_id]
            found: list[str] = super().non_terminated_nodes(tag_filters)  # type: ignore[no-untyped-call]
            return found


def _is_dead(node: object) -> bool:
    return any(kind == "raylet" for kind, _ in node.dead_processes())  # type: ignore[attr-defined]
