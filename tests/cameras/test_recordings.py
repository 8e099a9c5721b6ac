"""Recordings: files that can be read alone, whole under their names whatever dies, and gone when they are too old."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from media import extract
from patience import PATIENCE_S
from recordings import STARTED_AT, parts_of, record, session
from rows import new_dataset
from videos import video_bytes

from pipeline.cameras.recordings import writer as writing
from pipeline.cameras.recordings.files import Recording, RecordingFiles
from pipeline.cameras.recordings.names import RecordingName
from pipeline.cameras.recordings.places import RecordingPlace, remembered
from pipeline.cameras.recordings.writer import RecordingWriter
from pipeline.errors import UsageError
from pipeline.storage.schemes import locator_of, open_reader

STREAM = video_bytes(num_frames=96)
SESSION = session(data=STREAM)
PARTS = parts_of(STREAM, longest_s=0.9)


@pytest.fixture
def lake(tmp_path: Path) -> str:
    dataset, _ = new_dataset(tmp_path / "lake")
    return dataset.store.uri


def recorded(place: str, lake: str, **how: object) -> RecordingFiles:
    writer = RecordingWriter(place, SESSION, lake=lake, **how)  # type: ignore[arg-type]
    record(writer, PARTS)
    writer.close(timeout_s=60)
    assert writer.error is None
    return RecordingFiles(place)


def content(recording: Recording) -> bytes:
    with open_reader(locator_of(recording.uri)) as reader:
        return reader.read_at(0, reader.size_bytes)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def test_names_tell_stream_session_and_time() -> None:
    name = RecordingName(stream="a-b_1.c", session="0" * 20, part=7, started_at=STARTED_AT, duration_ms=300_200)

    assert str(name) == f"a-b_1.c/20261126T061230123Z-300200ms-{'0' * 20}-00007.mp4"
    assert RecordingName.parse(str(name)) == name
    assert name.ended_at - name.started_at == timedelta(seconds=300.2)


@pytest.mark.parametrize("other", ["gate/notes.txt", "gate/20261126T061230123Z.mp4", "gate/.hidden.mp4", "gate"])
def test_files_of_others_are_no_recordings(other: str) -> None:
    assert RecordingName.parse(other) is None


def test_a_session_becomes_files_that_follow_each_other(tmp_path: Path, lake: str) -> None:
    files = recorded(str(tmp_path / "rec"), lake).closed("gate")

    assert [each.name.part for each in files] == [0, 1, 2, 3]
    assert {each.name.session for each in files} == {SESSION.video_id}
    assert [each.name.started_at for each in files] == [STARTED_AT + timedelta(seconds=0.96 * at) for at in range(4)]
    assert [each.name.duration_ms for each in files] == [960] * 4
    assert [pts for each in files for pts in extract(content(each), "all").pts] == extract(STREAM, "all").pts
    assert hidden(tmp_path / "rec") == []


def test_a_session_becomes_files_in_a_bucket(bucket_place: str, tmp_path: Path, lake: str) -> None:
    files = recorded(f"{bucket_place}/rec", lake).closed("gate")

    assert [each.name.part for each in files] == [0, 1, 2, 3]
    assert [pts for each in files for pts in extract(content(each), "all").pts] == extract(STREAM, "all").pts


def test_the_lake_remembers_where_a_stream_was_recorded(tmp_path: Path, lake: str) -> None:
    first, second = str(tmp_path / "one"), str(tmp_path / "two")
    recorded(first, lake)
    recorded(second, lake, keep=timedelta(days=10_000))
    recorded(first, lake, keep=timedelta(days=10_000))

    places = [RecordingPlace(uri=uri, keep=timedelta(days=10_000)) for uri in (second, first)]
    assert remembered(lake) == remembered(lake, stream="gate") == {"gate": places}
    assert remembered(lake, stream="another") == {}


def test_recordings_are_removed_once_they_are_older_than_keep(tmp_path: Path, lake: str) -> None:
    """By when they end, of this stream alone; a file of somebody else in the folder stays."""
    place = tmp_path / "rec"
    old = RecordingName(
        stream="gate", session="a" * 20, part=0, started_at=datetime.now(UTC) - timedelta(hours=26), duration_ms=1000
    )
    long = RecordingName(
        stream="gate",
        session="a" * 20,
        part=1,
        started_at=datetime.now(UTC) - timedelta(hours=25),
        duration_ms=7_200_000,
    )
    for name in (str(old), str(long), str(old).replace("gate/", "door/"), "gate/notes.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x")

    writer = RecordingWriter(str(place), SESSION, lake=lake, keep=timedelta(hours=24))
    writer.close(timeout_s=60)

    assert [each.name.part for each in RecordingFiles(str(place)).closed("gate")] == [1]
    assert (place / "gate" / "notes.txt").exists()
    assert len(RecordingFiles(str(place)).closed("door")) == 1


DYING = """
import sys, time
sys.path[:0] = sys.argv[3:]
from recordings import *
from videos import video_bytes
data = video_bytes(num_frames=96)
at = session(data=data)
writer = RecordingWriter(sys.argv[1], at, lake=sys.argv[2])
parts = parts_of(data)
record(writer, parts[:40])
while writer._waiting_bytes: time.sleep(0.01)
print("written", flush=True)
time.sleep(600)
"""


def test_what_a_killed_writer_left_is_closed_by_the_next(tmp_path: Path, lake: str) -> None:
    """Also where it ends in the middle of a fragment; while the writer lives, nobody touches its file."""
    place, folders = tmp_path / "rec", [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    files = RecordingFiles(str(place))
    with subprocess.Popen([sys.executable, "-c", DYING, place, lake, *folders], stdout=subprocess.PIPE) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"written\n"
        files.finish_left_over("gate")
        assert files.closed("gate") == []
        (left,) = hidden(place)
        dying.kill()
    with open(place / "gate" / left, "ab") as part:
        part.write(PARTS[-1].data[:-1])

    files.finish_left_over("gate")

    (recording,) = files.closed("gate")
    assert recording.name.session == SESSION.video_id
    assert hidden(place) == []
    found = extract(content(recording), "all")
    assert found.failures == []
    assert found.pts[:36] == extract(STREAM, "all").pts[:36]


def test_a_part_without_a_picture_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "gate"
    folder.mkdir()
    name = RecordingName(stream="gate", session="a" * 20, part=0, started_at=STARTED_AT, duration_ms=0)
    (folder / f".{Path(str(name)).name}.part").write_bytes(PARTS[0].data[:500])
    files = RecordingFiles(str(tmp_path))

    files.finish_left_over("gate")

    assert list(folder.iterdir()) == []


def test_a_store_that_fails_costs_the_files_that_it_meets(tmp_path: Path, lake: str) -> None:
    """Recording goes on with the next file once it answers again; a number is left out where something is missing."""
    place = tmp_path / "rec"
    place.mkdir()
    (place / "gate").write_bytes(b"a file where the stream's folder should be")
    firsts = [at for at, each in enumerate(PARTS) if each.is_first]
    writer = RecordingWriter(str(place), SESSION, lake=lake)

    record(writer, PARTS[: firsts[1]])
    waited_until(lambda: writer.error is not None)
    assert "gate" in str(writer.error)
    (place / "gate").unlink()
    record(writer, PARTS[firsts[1] :])
    writer.close(timeout_s=60)

    assert writer.error is None
    assert [each.name.part for each in RecordingFiles(str(place)).closed("gate")] == [2, 3, 4]


def test_a_store_that_is_too_slow_costs_whole_files_and_never_blocks(
    tmp_path: Path, lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would leave a hole in a file is left out up to the next file."""
    monkeypatch.setattr(writing, "_MOST_WAITING_BYTES", sum(len(each.data) for each in PARTS[:30]))
    is_quick = threading.Event()
    monkeypatch.setattr(RecordingWriter, "_prepare", lambda self: is_quick.wait(60))
    firsts = [at for at, each in enumerate(PARTS) if each.is_first]
    writer = RecordingWriter(str(tmp_path / "rec"), SESSION, lake=lake)

    record(writer, PARTS[: firsts[2]])
    assert writer.error == "the store is too slow: recordings are lost"
    is_quick.set()
    waited_until(lambda: writer._waiting_bytes == 0)
    record(writer, PARTS[firsts[2] :])
    writer.close(timeout_s=60)

    files = RecordingFiles(str(tmp_path / "rec")).closed("gate")
    assert [each.name.part for each in files] == [0, 1, 3, 4]
    assert all(extract(content(each), "all").failures == [] for each in files)


def test_a_place_that_takes_no_files_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(UsageError, match="cannot record to"):
        RecordingFiles(str(tmp_path / "file" / "rec")).ensure_writable()
    with pytest.raises(UsageError, match="cannot be kept"):
        RecordingFiles("https://camera.example/rec")
    RecordingFiles(str(tmp_path / "new" / "rec")).ensure_writable()
    assert list((tmp_path / "new" / "rec").iterdir()) == []


def waited_until(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
