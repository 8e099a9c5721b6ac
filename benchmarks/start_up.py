"""What a run cannot do without, timed alone: ``python -m benchmarks.start_up ray|model``."""

import json
import sys
import time


def main() -> None:
    """Time it, imports included."""
    began = time.monotonic()
    if sys.argv[1] == "ray":
        import ray

        ray.init(address="local", include_dashboard=False, log_to_driver=False)
    else:
        from pipeline.models.embedder import Embedder
        from pipeline.models.registry import load_model

        Embedder(load_model("resnet18", weights="random:0"))
    print(json.dumps({"seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
