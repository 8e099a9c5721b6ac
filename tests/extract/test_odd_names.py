"""Files of any name through the whole command: each is a row, and none ends the run."""

import os
from pathlib import Path

import pytest
from conftest import ClipFactory
from lakes import MODEL, features, statuses, table, vidlake

pytestmark = pytest.mark.slow


def test_whatever_a_name_is_it_is_a_row(tmp_path: Path, clips: ClipFactory, shared_ray: str) -> None:
    folder, out = tmp_path / os.fsdecode(b"c\xe2m"), tmp_path / "lake"
    folder.mkdir()
    names = [b"caf\xe9.mp4", b"new\nline.mp4", "\u00fcn\u00ef.mp4".encode(), b"100% #1 [a]?.mp4", b"-rf.mp4"]
    for name in names:
        os.link(clips(num_frames=25), folder / os.fsdecode(name))
    (folder / os.fsdecode(b"empty\xe9.mp4")).touch()
    vidlake("extract", folder, "--out", out, *MODEL, "--address", shared_ray)
    shown = {name.decode(errors="backslashreplace"): "ok" for name in names} | {"empty\\xe9.mp4": "failed"}
    assert statuses(out) == shown
    assert {name for name, _ in features(out)} == {name for name, status in shown.items() if status == "ok"}
    assert {Path(uri).parent.name for uri in table(out, "videos")["uri"].to_pylist()} == {"c\\xe2m"}
    vidlake("extract", folder, "--out", out, *MODEL, "--address", shared_ray)
    assert len(table(out, "videos")) == len(names) + 1
    assert set(table(out, "videos")["is_current"].to_pylist()) == {True}
