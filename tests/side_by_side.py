"""Which tests share a process where several run side by side, whose turn it is, and which are quick ones."""

from collections import Counter

import pytest
from typing_extensions import override
from xdist.scheduler import LoadScopeScheduling

_TOGETHER = {
    # Files that start Ray clusters, or run commands that do, in two groups that take about as long.
    "clusters of the batch side": frozenset(
        {
            "test_cluster_faults.py",
            "test_extract.py",
            "test_growth.py",
            "test_kills.py",
            "test_model_actors.py",
            "test_odd_names.py",
            "test_overlap.py",
            "test_shards.py",
            "test_shared_cpus.py",
            "test_shots_command.py",
            "test_start.py",
            "test_what_each_lacks.py",
        }
    ),
    "clusters of models, training, cameras, the server and whole archives": frozenset(
        {
            "test_finetune.py",
            "test_lifecycle.py",
            "test_live_comparison.py",
            "test_models_in_buckets.py",
            "test_on_ray.py",
            "test_plan.py",
            "test_predict.py",
            "test_served_streams.py",
            "test_several_models.py",
            "test_streams_on_ray.py",
            "test_submit.py",
            "test_watch_command.py",
            "test_wheel.py",
            "test_whole_archives.py",
            "test_working_folder.py",
        }
    ),
    # Files that run commands which start no Ray: what imports for them (``command.vidlake``) does so once.
    "commands": frozenset(
        {
            "test_bench.py",
            "test_cli.py",
            "test_command.py",
            "test_compact.py",
            "test_fill.py",
            "test_from_dataset.py",
            "test_from_heads.py",
            "test_head_commands.py",
            "test_lake_report.py",
            "test_past.py",
            "test_search_command.py",
            "test_shot_words.py",
            "test_side_tables.py",
            "test_verify.py",
            "test_watch_words.py",
        }
    ),
}
_LONGEST_GROUPS = (
    *_TOGETHER,
    "test_page.py",
    "test_damage.py",
    "test_live_clips.py",
    # Those that wait, for cameras and stores, in turn with those that compute.
    "test_buckets.py",
    "test_compact.py",
    "test_pulling_files.py",
    "test_decode.py",
    "test_pulling_http.py",
    "test_registry.py",
    "test_bucket_lease.py",
    "test_index.py",
    "test_stream_host.py",
    "test_stream_connections.py",
    "test_web.py",
    "test_pulling_rtsp.py",
    "test_decoder_process.py",
    "test_killed_sessions.py",
    "test_live_writer.py",
    "test_lease.py",
    "test_bucket_inputs.py",
    "test_sandbox.py",
    "test_fitting_heads.py",
)


class FileByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Which tests share a process where several run side by side.

    A file's tests share its fixtures. The files that start Ray clusters share two processes: one cluster leaves two
    fifths of two cores idle, and three at once take more time than two.
    """

    @override
    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid)


def put_in_turn(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    items.sort(key=lambda item: _TURNS.get(_group_of(item.nodeid), len(_TURNS)))


def choose_quick_ones(items: list[pytest.Item]) -> None:
    """Of a test with ``quick_one_in(n)`` all but each n-th variant are slow ones."""
    num_seen: Counter[str] = Counter()
    for item in items:
        if (share := item.get_closest_marker("quick_one_in")) is not None:
            test = item.nodeid.partition("[")[0]
            if num_seen[test] % share.args[0]:
                item.add_marker(pytest.mark.slow)
            num_seen[test] += 1


def _group_of(nodeid: str) -> str:
    file = nodeid.partition("::")[0].rpartition("/")[2]
    return _GROUPS.get(file, file)


_GROUPS = {file: group for group, files in _TOGETHER.items() for file in files}
_TURNS = {group: turn for turn, group in enumerate(_LONGEST_GROUPS)}
