"""The small inputs from the field, which lie beside the project where it is judged: FFmpeg's own list is right."""

from pathlib import Path

import numpy as np
import pytest
from media import decode, extract, plan
from videos import sequential

from pipeline.errors import InputError

FIELD = Path(__file__).resolve().parents[2].parent / "shared" / "media" / "field"
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason="the inputs from the field are not here")


def field(name: str) -> bytes:
    return (FIELD / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "times_s", "duration_s"),
    [
        pytest.param("dup_head.mkv", [0, 1, 2.5, 4, 7, 9, 12, 15], 15.04, id="time-repeats-at-the-head"),
        pytest.param("avi_600_bf.avi", [0, 1, 2, 3, 4, 5], 6, id="avi-header-ticks-faster"),
        pytest.param("live_cmaf.mp4", [0, 1, 2, 3, 4, 5], 6, id="fragments-start-late"),
        pytest.param("new_parameters_once.mkv", list(range(8)), 8, id="parameters-change-half-way"),
        pytest.param("cam.mjpeg", [0, 1], 2, id="motion-jpeg-of-a-camera"),
    ],
)
@pytest.mark.parametrize("segment_s", [60, 1])
def test_one_sample_a_second_and_nothing_is_missing(
    name: str, times_s: list[float], duration_s: float, segment_s: float
) -> None:
    planned = plan(field(name), segment_s=segment_s)
    assert planned.facts.duration_s == pytest.approx(duration_s, abs=0.05)
    decoded = decode(field(name), planned)
    assert [round(mark.time_s, 2) for mark in decoded.marks] == times_s
    assert decoded.failures == []


@pytest.mark.parametrize("name", ["new_parameters_once.mkv", "pix_rawpal8.avi"])
@pytest.mark.parametrize("rule", ["fps:10", "all", "uniform:5"])
@pytest.mark.parametrize("segment_s", [60, 1, 0.1])
@pytest.mark.quick_one_in(5)
def test_pictures_are_those_of_one_pass_for_every_cut(name: str, rule: str, segment_s: float) -> None:
    one_pass = {pts: picture for pts, _, picture in sequential(field(name))}
    decoded = extract(field(name), rule, segment_s=segment_s)
    num_samples = {"all": len(one_pass), "uniform:5": 5, "fps:10": 80 if name.endswith("mkv") else 4}
    assert len(decoded.marks) == num_samples[rule]
    for mark, picture in zip(decoded.marks, decoded.pictures, strict=True):
        assert np.array_equal(picture, one_pass[mark.pts])
        assert not mark.is_corrupt


def test_photograph_in_tiles_is_no_video() -> None:
    with pytest.raises(InputError) as caught:
        plan(field("grid.avif"))
    assert caught.value.reason == "not_video"
