"""The tables that `make bench` writes, of made-up rounds: every contender has a row, or a row that says why not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import costs, decode, driver, end_to_end
from benchmarks.__main__ import SECTIONS
from benchmarks.contenders import CONTENDERS, Outcome, steady_per_s
from benchmarks.figures import with_blocks
from benchmarks.processes import CORES

ROOT = Path(end_to_end.__file__).parents[1]
TOP = {"decode_cpu_s": 1.0, "model_cpu_s": 3.0, "samples": 100, "per_second": 80.0}
"""Forty milliseconds a sample."""
BARE = """
import sys

class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyThese())
import benchmarks.gpu
"""
MISSING = ("av", "msgspec", "orjson", "psutil", "pyarrow", "ray", "safetensors", "stamina", "timm", "click", "rich")


def outcome(*, samples: int, wall_s: float) -> Outcome:
    return Outcome(samples=samples, wall_s=wall_s, first_file_s=1.0, driver_cpu_s=2.0, driver_bytes=3)


def row_of(lines: list[str], name: str) -> list[str]:
    [row] = [line for line in lines if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_steady_leaves_start_up_out() -> None:
    assert steady_per_s(outcome(samples=100, wall_s=20), outcome(samples=300, wall_s=30)) == 20


@pytest.mark.parametrize("wall_s", [20.0, 19.0])
def test_a_long_run_that_took_no_longer_has_no_steady_state(wall_s: float) -> None:
    with pytest.raises(ValueError, match="200 samples in"):
        steady_per_s(outcome(samples=100, wall_s=20), outcome(samples=300, wall_s=wall_s))


def works() -> dict[str, Any]:
    """Two rounds of one work: the second had half the machine."""
    ours = [{"files": 12, "wall_s": 20.0, "steady_per_s": 60.0}, {"files": 12, "wall_s": 40.0, "steady_per_s": 30.0}]
    tuned = [{"files": 12, "wall_s": 34.0, "steady_per_s": 24.0}, {"files": 12, "wall_s": 68.0, "steady_per_s": 12.0}]
    plain = [{"files": 3, "wall_s": 50.0, "steady_per_s": 6.0}, {"files": 3, "wall_s": 90.0, "steady_per_s": 3.0}]
    rounds = {
        "ceiling": [TOP, TOP | {"per_second": 40.0}],
        "vidlake": ours,
        "Ray's recipe, tuned": tuned,
        "Ray's recipe, plain": plain,
    }
    return {"decode-bound, fps:1": {"rounds": rounds, "failed": {"Daft": "no end within 300 s for 1 files"}}}


def test_end_to_end_compares_round_by_round_and_says_what_failed() -> None:
    firsts = {"ray": 2.0, "model": 3.0, "vidlake": 9.0, "Ray's recipe, tuned": "it broke"}
    lines = list(
        end_to_end.describe({"works": works(), "left_out": ["model-bound, bf16 compiled"], "first_file": [firsts]})
    )

    tuned = row_of(lines, "Ray's recipe, tuned | 51.0 (34.0 to 68.0)")
    assert tuned[2:] == ["**1.70**", "18.0 (12.0 to 24.0)", "**2.50**", "0.30"]
    assert row_of(lines, "vidlake | 30.0 (20.0 to 40.0)")[-1] == "0.75"
    assert row_of(lines, "Ray's recipe, plain")[1:3] == ["70.0 (50.0 to 90.0) for 3", ""]
    assert row_of(lines, "Daft")[-1] == "no end within 300 s for 1 files"
    assert row_of(lines, "vidlake | 9.0")[-1] == "**4.0**"
    assert any("does not compute in bf16" in line for line in lines)
    assert any(f"decode 10.00; {CORES} cores" in line for line in lines)


def test_decoding_is_compared_with_the_best_peer_whose_pixels_count() -> None:
    def row(*rates: float, off: float | None, counts: bool = True) -> dict[str, Any]:
        return {"per_core_second": list(rates), "is_same_pixels": off == 0, "levels_off": off, "counts": counts}

    contenders = {
        "vidlake": row(45, 90, off=0),
        "PyAV loop": row(20, 40, off=0),
        "torchcodec": row(30, 60, off=0.4),
        "torchcodec, own resize": row(80, 160, off=9, counts=False),
        "decord2": row(99, 99, off=None, counts=False),
    }
    rules = {rule: {"contenders": contenders, "best": "torchcodec"} for rule in decode.RULES}
    lines = list(decode.describe({"rules": rules, "absent": {"video-reader-rs": "No module named 'video_reader'"}}))

    assert row_of(lines, "vidlake / the best peer")[1:5] == ["**1.50** (torchcodec)"] * 4
    assert row_of(lines, "torchcodec")[1] == "45.0 (30.0 to 60.0)"
    assert row_of(lines, "torchcodec, own resize")[1].endswith("\\*")
    assert row_of(lines, "decord2")[-1] == "other picks"
    assert row_of(lines, "video-reader-rs")[1:] == ["not here"] * 4 + ["`No module named 'video_reader'`"]


def test_nothing_is_subtracted_from_the_driver() -> None:
    small, large = {"count": 1000, "cpu_s": 5.0, "bytes": 3e8}, {"count": 3000, "cpu_s": 8.0, "bytes": 4e8}
    found = {"rounds": {"vidlake": [[small, large]]}, "failed": {"Ray's recipe, tuned": "it broke"}}

    lines = list(driver.describe(found))

    assert row_of(lines, "vidlake | 1,000") == ["vidlake", "1,000", "5.0", "5.00", "", "300"]
    assert row_of(lines, "vidlake | 3,000") == ["vidlake", "3,000", "8.0", "2.67", "1.50", "400"]
    assert row_of(lines, "Ray's recipe, tuned")[-1] == "it broke"


def test_costs_follow_from_the_table_and_an_unmeasured_gpu_is_said_to_be() -> None:
    """Sixty and thirty samples a second of two cores at one a second: 720 and 360 hours a day and core."""
    found = {"cores": 2, "cpu": "a processor", "end_to_end": {"works": works()}}

    lines = list(costs.describe(found))

    row = row_of(lines, "`fps:1`: decoding, for a GPU elsewhere")
    assert row[1:] == ["540 (360 to 720)", "720 (480 to 960)", "44"]
    assert any("no GPU was measured" in line for line in lines)


def test_a_measured_gpu_is_in_the_costs() -> None:
    rows = [
        {"model": "resnet50", "compile": False, "batch": batch, "embedder": rate}
        for batch, rate in ((64, 900.0), (128, 1200.0))
    ]
    found = {"cores": 2, "cpu": "", "end_to_end": {"works": works()}, "gpu": {"device": "a card", "rows": rows}}

    lines = list(costs.describe(found))

    assert row_of(lines, "resnet50") == ["resnet50", "1,200", "28,800", "4,800"]
    assert not any("no GPU was measured" in line for line in lines)


def test_the_documents_have_a_place_for_every_table() -> None:
    readme, cluster = ((ROOT / path).read_text() for path in ("benchmarks/README.md", "docs/cluster.md"))

    assert "| new |" in with_blocks(readme, dict.fromkeys(SECTIONS, "| new |"))
    assert "| new |" in with_blocks(cluster, {"costs": "| new |"})


def test_every_work_is_asked_of_vidlake_and_of_both_recipes() -> None:
    everywhere = {each.name for each in CONTENDERS if each.only is None}

    assert everywhere == {"vidlake", "Ray's recipe, tuned", "Ray's recipe, plain"}


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_wants_torch_torchvision_and_numpy_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE % (MISSING,)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_tables_of_an_earlier_run_are_written_without_measuring(tmp_path: Path) -> None:
    section: dict[str, Any] = {"rounds": {}, "failed": {"vidlake": "it broke"}, "at": "2026-01-01", "on": "a processor"}
    section |= {"rounds_run": 3, "took_s": 60.0, "load_before": 0.1}
    (tmp_path / "bench.json").write_text(json.dumps({"cores": 2, "cpu": "a processor", "driver": section}))

    words = ["-m", "benchmarks", "--json", str(tmp_path / "bench.json"), "--from-json"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "| vidlake |  |  |  |  | it broke |" in (tmp_path / "bench.md").read_text()
    assert "2 cores (a processor), rounds: 3, 1 min, load before 0.1." in (tmp_path / "bench.md").read_text()
