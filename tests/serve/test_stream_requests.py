"""What a stream may be asked for with, over HTTP and in a streams file, and what of it the operator allows."""

import pickle
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.cameras.pulling.source import Credentials
from pipeline.errors import UsageError
from pipeline.records.geometry import Line, Zone
from pipeline.records.streams import MotionLevel
from serve.cameras.requests import StreamRequest, read_streams_file
from serve.cameras.sources import Sources, check_cameras
from serve.problems import Forbidden, Problem
from serve.settings import CameraSettings

HOST = "camera.example:554"
CAMERA = f"rtsp://{HOST}/cam"
SECRET = "pw-never-to-be-seen"


def sources(*allowed: str, record: str | None = None) -> Sources:
    return Sources(CameraSettings(lake="lake", allowed_sources=allowed, record=record))


def request(**words: object) -> StreamRequest:
    return StreamRequest.model_validate({"name": "gate", "source": CAMERA, **words})


def streams_file(folder: Path, text: str) -> str:
    path = folder / "streams.yaml"
    path.write_text(text)
    return str(path)


def test_request_says_how_the_stream_is_watched() -> None:
    checked = sources("rtsp://camera.example:554", record="rec").of_a_post(
        request(
            source="rtsp://viewer:secret@camera.example/cam?token=1",
            sample="fps:2.50",
            motion="medium",
            detect="motion",
            detect_rate=12.5,
            lines=["ROAD:0,0.5,1,0.5"],
            zones=["FLOOR:0,0,1,0,1,1"],
            head="people",
            record=True,
        )
    )
    spec = checked.spec
    assert (spec.name, spec.source) == ("gate", "rtsp://camera.example/cam")
    assert (spec.rate_hz, spec.detect_rate_hz) == (Fraction(5, 2), Fraction(25, 2))
    assert (spec.motion, spec.detect, spec.head, spec.record) == (MotionLevel.MEDIUM, "motion", "people", "rec")
    assert spec.lines == (Line.parse("ROAD:0,0.5,1,0.5"),)
    assert spec.zones == (Zone.parse("FLOOR:0,0,1,0,1,1"),)
    assert checked.source.credentials == Credentials(user="viewer", password="secret")
    assert pickle.loads(pickle.dumps(checked.source)) == checked.source, "it travels to the host of the streams"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        pytest.param({"name": "../x"}, "name", id="a name that is a path"),
        pytest.param({"name": "x" * 65}, "name", id="a long name"),
        pytest.param({"sample": "every:3"}, "fps:R", id="another rule"),
        pytest.param({"sample": "fps:0"}, "fps:R", id="no rate"),
        pytest.param({"motion": "wild"}, "low", id="no such level"),
        pytest.param({"lines": ["L:0,0"]}, "NAME:x1,y1,x2,y2", id="half a line"),
        pytest.param({"lines": ["L:0,0,1,1", "L:0,1,1,0"]}, "two of a name", id="two lines of a name"),
        pytest.param({"lines": "L:0,0,1,1"}, "tuple", id="a line and no list"),
        pytest.param({"zones": ["Z:0,0,1,1"]}, "three points", id="a zone of two points"),
        pytest.param({"detect_rate": 0}, "greater than 0", id="no pictures"),
        pytest.param({"detect": f"http://a:{SECRET}@b/score"}, "no user and no password", id="a secret extension"),
        pytest.param({"lines": ["L:0,0,1,1"]}, "go by objects", id="a line without objects"),
        pytest.param({"speed": 3}, "Extra inputs", id="a word that is none"),
        pytest.param({"source": ""}, "at least 1", id="no source"),
    ],
)
def test_mistake_is_told_with_what_to_write_and_without_the_source(words: dict[str, object], advice: str) -> None:
    with pytest.raises(ValidationError) as refused:
        request(**{"source": f"rtsp://a:{SECRET}@b/c", "password": SECRET, **words})
    assert advice in str(refused.value)
    assert SECRET not in str(refused.value)


def test_request_does_not_show_its_secrets() -> None:
    assert SECRET not in repr(request(source=f"rtsp://a:{SECRET}@b/c", password=SECRET))


@pytest.mark.parametrize(
    ("words", "variables", "expected"),
    [
        pytest.param({"source": f"rtsp://u:p@{HOST}"}, {}, ("u", "p"), id="in the address"),
        pytest.param({"user": "me", "password": "mine"}, {}, ("me", "mine"), id="beside it"),
        pytest.param(
            {"source": f"rtsp://u:p@{HOST}", "user": "me", "password": "mine"}, {}, ("me", "mine"), id="beside it first"
        ),
        pytest.param({}, {"USER": "env", "PASSWORD": "var"}, ("env", "var"), id="in variables"),
        pytest.param({"user": "me"}, {"PASSWORD": "var"}, ("me", "var"), id="half and half"),
    ],
)
def test_credentials_come_from_the_request_the_variables_or_the_address(
    words: dict[str, object],
    variables: dict[str, str],
    expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"VIDLAKE_STREAM_BACK_GATE_2_{name}", value)
    found = sources("rtsp://camera.example:554").of_a_post(request(name="back.gate-2", **words)).source.credentials
    assert found is not None
    assert (found.user, found.password) == expected


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://other.example:554/cam",
        "rtsp://camera.example:555/cam",
        "rtsps://camera.example:554/cam",
        "http://camera.example:554/cam",
        "rtsp://camera.example:554@other.example/cam",
        "file:/etc/passwd",
        "concat:rtsp://camera.example:554/a",
        "tcp://camera.example:554",
        "device:lavfi:testsrc",
    ],
)
def test_posted_stream_reaches_what_is_allowed_and_nothing_else(source: str) -> None:
    with pytest.raises(Forbidden):
        sources("rtsp://camera.example:554").of_a_post(request(source=source))


def test_nothing_may_be_posted_by_default() -> None:
    with pytest.raises(Forbidden, match="--allow-source rtsp://camera"):
        sources().of_a_post(request())


def test_posted_extension_is_an_address_that_must_be_allowed_too() -> None:
    rules = sources("rtsp://camera.example:554", "http://model.example:8000")
    rules.of_a_post(request(detect="http://model.example:8000/score"))
    for detect in ("http://model.example:9000/score", "https://model.example:8000/score", "file:/etc/passwd"):
        with pytest.raises(Forbidden):
            rules.of_a_post(request(detect=detect))


@pytest.mark.parametrize("record", ["elsewhere", "/", "recs", "rec/../../etc", "s3://bucket/rec"])
def test_posted_stream_records_below_the_servers_folder_alone(record: str) -> None:
    with pytest.raises(Forbidden):
        sources("rtsp://camera.example:554", record="rec").of_a_post(request(record=record))


@pytest.mark.parametrize(("record", "expected"), [(True, "rec"), (False, None), ("rec/gate", "rec/gate")])
def test_recordings_go_where_the_server_says(record: object, expected: str | None) -> None:
    rules = sources("rtsp://camera.example:554", record="rec/")
    assert (rules.of_a_post(request(record=record)).spec.record or "").rstrip("/") == (expected or "")


def test_posting_a_recording_needs_a_server_that_records() -> None:
    with pytest.raises(Forbidden, match="--record"):
        sources("rtsp://camera.example:554").of_a_post(request(record=True))


def test_posted_word_that_is_no_address_is_a_mistake() -> None:
    with pytest.raises(Problem) as refused:
        sources("rtsp://camera.example:554").of_a_post(request(source="camera"))
    assert not isinstance(refused.value, Forbidden)


def test_streams_file_holds_what_a_post_takes(tmp_path: Path) -> None:
    path = streams_file(
        tmp_path,
        """\
streams:
  - name: gate
    source: rtsp://camera.example/cam
    sample: fps:5
    motion: off
    detect: off
  - {name: clip, source: 'file:clip.mp4', detect: motion}
""",
    )
    gate, clip = read_streams_file(path)
    assert (gate.name, gate.sample, gate.motion, gate.detect) == ("gate", "fps:5", MotionLevel.OFF, "off")
    rules = sources()
    assert rules.of_the_file(gate).source.uri == "rtsp://camera.example/cam", "its own address needs no pattern"
    assert rules.of_the_file(clip).spec.source.endswith("clip.mp4"), "files are for the operator"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        pytest.param("streams: [{name: a}]", "streams.0.source: Field required", id="no source"),
        pytest.param(f"streams: [{{name: a, source: b, pasword: {SECRET}}}]", "streams.0.pasword", id="a misspelling"),
        pytest.param("cameras: []", "streams: Field required", id="no streams"),
        pytest.param("just words", "the document", id="no document"),
        pytest.param("", "the document", id="nothing"),
        pytest.param(f"streams: [{SECRET}\n  :", "is no YAML, line", id="no YAML"),
        pytest.param("streams: [{name: a, source: b}, {name: a, source: c}]", "names a twice", id="a name twice"),
        pytest.param("streams: [{name: a, source: b}]", "stream a: bad source", id="no address"),
        pytest.param("streams: [{name: a, source: 'rtmp://b/c'}]", "'rtmp' is not pulled", id="not pulled"),
        pytest.param("streams: [{name: a, source: 'rtsp://b/c', record: yes}]", "--record", id="nowhere to record"),
    ],
)
def test_bad_streams_file_is_one_line_without_its_secrets(tmp_path: Path, text: str, advice: str) -> None:
    path = streams_file(tmp_path, text)
    with pytest.raises(UsageError) as refused:
        check_cameras(CameraSettings(lake="lake", streams_file=path))
    assert advice in str(refused.value)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_streams_file_that_is_not_there_is_told_so() -> None:
    with pytest.raises(UsageError, match=r"--streams none.yaml cannot be read: No such file"):
        check_cameras(CameraSettings(lake="lake", streams_file="none.yaml"))


@pytest.mark.parametrize("settings", [{"streams_file": "a"}, {"allowed_sources": ("b",)}, {"record": "c"}])
def test_streams_need_a_lake(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="--out"):
        CameraSettings.model_validate(settings)
