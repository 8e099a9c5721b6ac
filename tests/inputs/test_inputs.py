"""From INPUT words to sources: what is listed, in which order, and what is refused."""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import Source
from pipeline.lake.dataset import Dataset
from pipeline.storage.reader import Identity
from pipeline.storage.retry import RetryPolicy
from pipeline.storage.schemes import stat

QUICK = RetryPolicy(attempts=2, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.01, jitter_s=0.0)
SECRET = "s3cr3t"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    for name in ("b.mp4", "a/2.ts", "a/1.csv", "a.mkv", "a/deep/x.mp4", ".hidden.mp4", ".git/y.mp4", "[1].mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


EVERYTHING = ["[1].mp4", "a.mkv", "a/1.csv", "a/2.ts", "a/deep/x.mp4", "b.mp4"]


def listed(words: Sequence[object], *, below: Path, exclude: Path | None = None) -> list[str]:
    inputs = Inputs([str(word) for word in words], exclude=None if exclude is None else str(exclude), retry=QUICK)
    return [os.path.relpath(source.uri, below) for source in inputs]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder; names that begin with ``busy`` are answered with 503."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if "/busy" in self.path:
            self.send_error(503)
        else:
            super().do_GET()


@pytest.fixture
def site(archive: Path) -> Iterator[str]:
    def handler(*args: object) -> QuietHandler:
        return QuietHandler(*args, directory=str(archive))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# Files, folders, patterns


def test_file_is_a_source_with_its_identity(archive: Path) -> None:
    path = str(archive / "b.mp4")
    assert list(Inputs([path])) == [
        Source(uri=path, locator=path, identity=stat(path), start_s=None, end_s=None, failure=None, columns={})
    ]


def test_folder_is_listed_whole_sorted_by_path_without_hidden_names(archive: Path) -> None:
    assert listed([archive], below=archive) == EVERYTHING


def test_relative_words_become_absolute(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive)
    assert [source.uri for source in Inputs(["a/deep", "b.mp4"])] == [f"{archive}/a/deep/x.mp4", f"{archive}/b.mp4"]


def test_links_to_files_are_followed_and_folders_listed_once(archive: Path) -> None:
    (archive / "0.mp4").symlink_to("b.mp4")
    (archive / "a" / "loop").symlink_to("..")
    (archive / "0latest").symlink_to("a")
    (archive.parent / "disk2").mkdir()
    (archive.parent / "disk2" / "z.mp4").touch()
    (archive / "0disk").symlink_to("../disk2")
    assert listed([archive], below=archive) == ["0.mp4", *EVERYTHING, "0disk/z.mp4"]


def test_link_that_leads_nowhere_is_one_unreadable_source(archive: Path) -> None:
    (archive / "c.mp4").symlink_to("absent")
    *_, broken = Inputs([str(archive)], retry=QUICK)
    assert broken.uri == str(archive / "c.mp4")
    assert broken.failure == ("unreadable", "does not exist")
    assert broken.identity == Identity()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("*.mp4", ["[1].mp4", "b.mp4"], id="star"),
        pytest.param("?.mp4", ["b.mp4"], id="question-mark"),
        pytest.param("[ab].*", ["a.mkv", "b.mp4"], id="set"),
        pytest.param("[1].mp4", ["[1].mp4"], id="a-literal-path-wins"),
        pytest.param("**/*.mp4", ["[1].mp4", "b.mp4", "a/deep/x.mp4"], id="two-stars-reach-any-depth"),
        pytest.param("a/**", ["a/1.csv", "a/2.ts", "a/deep/x.mp4"], id="two-stars-at-the-end-are-a-folder"),
        pytest.param("*/deep", ["a/deep/x.mp4"], id="a-folder-that-matches-is-expanded"),
        pytest.param("*/*.csv", ["a/1.csv"], id="a-list-that-matches-is-a-file-like-any"),
        pytest.param(".*.mp4", [".hidden.mp4"], id="hidden-names-only-when-asked-for"),
    ],
)
def test_pattern_matches(archive: Path, pattern: str, names: list[str]) -> None:
    assert listed([archive / pattern], below=archive) == names


def test_words_keep_their_order_and_what_is_named_twice_comes_once(archive: Path) -> None:
    words = [archive / "b.mp4", archive / "*.mp4", archive / "b.mp4", archive / "a.mkv"]
    assert listed(words, below=archive) == ["b.mp4", "[1].mp4", "a.mkv"]


def test_inputs_can_be_iterated_again(archive: Path) -> None:
    inputs = Inputs([str(archive)])
    assert list(inputs) == list(inputs)


@pytest.mark.parametrize("word", ["", "*", "**/*.mp4", "a/.."], ids=["folder", "star", "two-stars", "roundabout"])
def test_dataset_inside_the_input_is_passed_over(archive: Path, word: str) -> None:
    out = archive / "out"
    (out / "features").mkdir(parents=True)
    (out / "features" / "part.mp4").touch()
    assert not [name for name in listed([archive / word], below=archive, exclude=out) if name.startswith("out")]
    (archive.parent / "link").symlink_to(archive)
    linked = listed([archive / word], below=archive, exclude=archive.parent / "link" / "out")
    assert not [name for name in linked if name.startswith("out")]


@pytest.mark.parametrize("word", ["absent.mp4", "absent.csv", "*.avi", "**/*.avi", "empty"])
def test_word_that_matches_nothing_is_a_usage_error(archive: Path, word: str) -> None:
    (archive / "empty").mkdir()
    with pytest.raises(UsageError, match="no such input: "):
        Inputs([str(archive / word)])


def test_an_empty_word_is_a_usage_error_and_not_the_current_folder(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive)
    for words in ([""], ["b.mp4", ""]):
        with pytest.raises(UsageError, match="INPUT is empty"):
            Inputs(words)
    with pytest.raises(UsageError, match="address is empty"):
        Dataset.at("")


def test_scheme_without_a_reader_is_a_usage_error_that_names_it() -> None:
    with pytest.raises(UsageError, match="s4://") as caught:
        Inputs([f"s4://me:{SECRET}@bucket/a.mp4"])
    assert SECRET not in str(caught.value)


# Manifests


def write_manifest(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        lines = [",".join(rows[0]), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_manifest_gives_addresses_ranges_and_typed_columns(archive: Path, suffix: str) -> None:
    rows: list[dict[str, object]] = [
        {"uri": "b.mp4", "camera": 3, "label": "cat", "start_s": 1.1, "end_s": 2.5},
        {"uri": str(archive / "a.mkv"), "camera": 4, "label": "dog", "start_s": None, "end_s": 3.0},
        {"uri": (archive / "[1].mp4").as_uri(), "camera": 5, "label": "cow", "start_s": 0.0, "end_s": None},
        {"uri": "absent.mp4", "camera": 6, "label": "owl", "start_s": None, "end_s": None},
    ]
    inputs = Inputs([str(write_manifest(archive / f"list.{suffix}", rows))], retry=QUICK)
    assert inputs.fields == [pa.field("camera", pa.int64()), pa.field("label", pa.string())]
    sources = list(inputs)
    assert [os.path.basename(source.uri) for source in sources] == ["b.mp4", "a.mkv", "[1].mp4", "absent.mp4"]
    assert [(source.start_s, source.end_s) for source in sources] == [
        (Fraction(11, 10), Fraction(5, 2)),
        (None, Fraction(3)),
        (Fraction(0), None),
        (None, None),
    ]
    assert [source.columns for source in sources][:2] == [{"camera": 3, "label": "cat"}, {"camera": 4, "label": "dog"}]
    assert [source.failure for source in sources] == [None, None, None, ("unreadable", "does not exist")]


def test_text_manifest_is_an_address_a_line(archive: Path) -> None:
    (archive / "list.txt").write_bytes(b"\xef\xbb\xbfb.mp4\r\n\r\n# a comment\n  a.mkv  \n")
    assert listed([archive / "list.txt"], below=archive) == ["b.mp4", "a.mkv"]


def test_csv_may_begin_with_a_byte_order_mark_and_quote_names(archive: Path) -> None:
    (archive / "x, y.mp4").touch()
    (archive / "list.csv").write_text('uri,n\r\n"x, y.mp4",1\r\n', encoding="utf-8-sig")
    assert listed([archive / "list.csv"], below=archive) == ["x, y.mp4"]


def test_addresses_that_look_like_numbers_stay_text(archive: Path) -> None:
    (archive / "007").touch()
    (archive / "list.csv").write_text("uri,n\n007,1\n")
    assert listed([archive / "list.csv"], below=archive) == ["007"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["007", "8", "12"], id="leading-zeros"),
        pytest.param(["1e5", "2e5"], id="exponents"),
        pytest.param(["1", "NaN", "3"], id="nan-among-numbers"),
        pytest.param(["nan", "inf", "-inf"], id="no-numbers-that-are-words-for-some"),
        pytest.param(["null", "NULL", "NA", "N/A", "None"], id="words-for-nothing"),
        pytest.param(["true", "false"], id="truth"),
        pytest.param(["2024-05-01", "2024-05-02"], id="dates"),
        pytest.param(["2024-05-01 10:00:00", "2024-05-01T10:00:00Z"], id="times"),
        pytest.param(["10:30", "11:45:10"], id="times-of-day"),
        pytest.param(["1.10", "1.9"], id="versions"),
        pytest.param(["12345678901234567890", "1"], id="longer-than-an-integer"),
        pytest.param(["9007199254740993", "0.5"], id="longer-than-a-fraction-can-hold"),
        pytest.param(["+49", "-0", "1,5", "1_000", " 7", "0x1f", "½"], id="other-ways-to-write-numbers"),
        pytest.param(["1.", ".5"], id="points-without-digits"),
    ],
)
def test_a_csv_field_stays_as_it_is_written(archive: Path, fields: list[str]) -> None:
    lines = [f'b.mp4#{index},"{field}"' for index, field in enumerate(fields)]
    (archive / "list.csv").write_text("\n".join(["uri,id", *lines]))
    inputs = Inputs([str(archive / "list.csv")], retry=QUICK)
    assert inputs.fields == [pa.field("id", pa.string())]
    assert [source.columns["id"] for source in inputs] == fields


@pytest.mark.parametrize(
    ("fields", "kind", "values"),
    [
        pytest.param(["3", "", "-40", "0"], pa.int64(), [3, None, -40, 0], id="whole"),
        pytest.param(["9223372036854775807"], pa.int64(), [2**63 - 1], id="the-largest"),
        pytest.param(["0.5", "", "-2.25", "1.0"], pa.float64(), [0.5, None, -2.25, 1.0], id="fractions"),
        pytest.param(["0", "0.5", "1"], pa.float64(), [0.0, 0.5, 1.0], id="mixed"),
        pytest.param(["", ""], pa.string(), ["", ""], id="nothing"),
        pytest.param(["", "x"], pa.string(), ["", "x"], id="text"),
    ],
)
def test_csv_numbers_are_numbers(archive: Path, fields: list[str], kind: pa.DataType, values: list[object]) -> None:
    lines = [f"b.mp4#{index},{field}" for index, field in enumerate(fields)]
    (archive / "list.csv").write_text("\n".join(["uri,n", *lines]))
    inputs = Inputs([str(archive / "list.csv")], retry=QUICK)
    assert inputs.fields == [pa.field("n", kind)]
    assert [source.columns["n"] for source in inputs] == values


def test_csv_seconds_may_be_written_in_any_way(archive: Path) -> None:
    rows = ["uri,start_s,end_s", "b.mp4,0,1.10", "b.mp4,1e-1,007", "b.mp4,NA,", "b.mp4, 2 ,NaN"]
    (archive / "list.csv").write_text("\n".join(rows))
    sources = list(Inputs([str(archive / "list.csv")]))
    assert [(source.start_s, source.end_s) for source in sources] == [
        (Fraction(0), Fraction(11, 10)),
        (Fraction(1, 10), Fraction(7)),
        (None, None),
        (Fraction(2), None),
    ]


def test_the_last_row_may_decide_a_columns_type(archive: Path) -> None:
    rows = ["uri,label", *(f"b.mp4#{index:030d},{index}" for index in range(60_000)), "b.mp4,unknown"]
    (archive / "list.csv").write_text("\n".join(rows))
    assert Inputs([str(archive / "list.csv")]).fields == [pa.field("label", pa.string())]


def test_dictionaries_and_empty_columns_are_plain_strings(archive: Path) -> None:
    columns = {"uri": ["b.mp4"], "camera": pa.array(["x"]).dictionary_encode(), "note": pa.nulls(1)}
    pq.write_table(pa.table(columns), archive / "list.parquet")
    inputs = Inputs([str(archive / "list.parquet")])
    assert inputs.fields == [pa.field("camera", pa.string()), pa.field("note", pa.string())]
    assert [source.columns for source in inputs] == [{"camera": "x", "note": None}]


def test_folder_in_a_manifest_is_expanded_with_its_columns(archive: Path) -> None:
    manifest = write_manifest(archive / "list.csv", [{"uri": "a", "camera": 3}])
    sources = list(Inputs([str(manifest)]))
    assert [os.path.relpath(source.uri, archive) for source in sources] == ["a/1.csv", "a/2.ts", "a/deep/x.mp4"]
    assert all(source.columns == {"camera": 3} for source in sources)


def test_one_video_may_be_listed_with_several_ranges(archive: Path) -> None:
    rows: list[dict[str, object]] = [{"uri": "b.mp4", "end_s": end} for end in (1, 2, 1)]
    sources = list(Inputs([str(write_manifest(archive / "list.csv", rows))]))
    assert [source.end_s for source in sources] == [1, 2]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param("", "empty", id="empty-file"),
        pytest.param("uri\n", "names no videos", id="no-rows"),
        pytest.param("url,n\na,1\n", "no column uri; its columns: url, n", id="no-uri-column"),
        pytest.param("uri,n\na,1\n,2\n", "row 2: no uri", id="empty-uri"),
        pytest.param("uri,n,n\na,1,2\n", "twice: n", id="column-twice"),
        pytest.param("uri,status\na,1\n", "vidlake's own; rename them: status", id="reserved-column"),
        pytest.param("uri,start_s\na,-1\n", "row 1: start_s must be", id="negative-start"),
        pytest.param("uri,start_s\na,1\nb,inf\n", "row 2: start_s must be", id="endless-start"),
        pytest.param("uri,start_s\na,soon\n", "row 1: start_s must be", id="text-as-start"),
        pytest.param("uri,start_s,end_s\na,1,2\nb,2,2\n", "row 2: end_s must be greater", id="empty-range"),
        pytest.param("uri,end_s\na,0\n", "row 1: end_s must be greater", id="range-that-ends-at-zero"),
        pytest.param("uri,n\ns4://b/a,1\n", "row 1: s4://", id="unknown-scheme"),
        pytest.param("uri,n\nfile://far/a,1\n", "row 1: file://far/", id="file-of-another-host"),
        pytest.param(f"uri,n\nhttp://h/a?sig={SECRET},1,2\n", "Expected 2 columns, got 3", id="ragged-row"),
        pytest.param(f"uri\nhttp://me:{SECRET}@[x/a\n", "row 1: not a valid http:// address", id="bad-address"),
    ],
)
def test_bad_manifest_is_a_usage_error_of_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(content)
    with pytest.raises(UsageError) as caught:
        Inputs([str(manifest)], reserved=frozenset({"uri", "start_s", "end_s", "status"}))
    message = str(caught.value)
    assert complaint in message
    assert str(manifest) in message
    assert "\n" not in message
    assert SECRET not in message


@pytest.mark.parametrize("name", ["list.parquet", "list.txt", "list.csv"])
def test_manifest_of_junk_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"uri\n\xff\xfe\x00junk" * 100)
    with pytest.raises(UsageError, match=f"manifest .*{name}: "):
        Inputs([str(tmp_path / name)])


def test_manifests_that_disagree_about_a_column_are_a_usage_error(tmp_path: Path) -> None:
    first = write_manifest(tmp_path / "1.csv", [{"uri": "a", "camera": 1}])
    second = write_manifest(tmp_path / "2.csv", [{"uri": "a", "camera": "left"}])
    with pytest.raises(UsageError, match=r"camera is string here and int64"):
        Inputs([str(first), str(second)])


# Remote


def test_remote_file_keeps_its_signature_out_of_its_uri(site: str) -> None:
    (source,) = Inputs([f"{site}/b.mp4?sig={SECRET}"])
    assert (source.uri, source.locator) == (f"{site}/b.mp4", f"{site}/b.mp4?sig={SECRET}")
    assert source.identity.size_bytes == len("b.mp4")


def test_missing_remote_file_costs_one_video_and_order_is_kept(archive: Path, site: str) -> None:
    names = [f"{site}/{name}" for name in ("b.mp4", "absent.mp4", "a/2.ts")] + ["a.mkv"]
    names += [f"{site}/absent-{index}.mp4" for index in range(200)]
    (archive / "list.txt").write_text("\n".join(names))
    sources = list(Inputs([str(archive / "list.txt")], retry=QUICK))
    assert [os.path.basename(source.uri) for source in sources] == [os.path.basename(name) for name in names]
    assert [source.failure is None for source in sources[:4]] == [True, False, True, True]
    assert sources[1].failure == ("unreadable", "HTTP 404 Not Found")


def test_store_that_stays_busy_fails_the_run_and_no_video(archive: Path, site: str) -> None:
    (archive / "list.txt").write_text(f"b.mp4\n{site}/busy.mp4?token={SECRET}\n")
    with pytest.raises(StorageError, match="503") as caught:
        list(Inputs([str(archive / "list.txt")], retry=QUICK))
    assert SECRET not in str(caught.value)


def test_every_server_that_fails_is_named_once(archive: Path, site: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        absent = f"http://127.0.0.1:{closed.getsockname()[1]}"
        names = [f"{site}/busy-1.mp4", f"{absent}/1.mp4", f"{site}/b.mp4", f"{absent}/2.mp4?sig={SECRET}", "b.mp4"]
        (archive / "list.txt").write_text("\n".join(names))
        with pytest.raises(StorageError, match=f"{site}/busy-1.mp4: HTTP 503 .*{absent}/1.mp4: connection") as caught:
            list(Inputs([str(archive / "list.txt")], retry=QUICK))
    message = str(caught.value)
    assert (message.count(site), message.count(absent)) == (1, 1)
    assert message.endswith("; run the same command again once they answer")
    assert SECRET not in message


@pytest.mark.parametrize("suffix", ["csv", "parquet", "txt"])
def test_remote_manifest_names_what_lies_beside_it(archive: Path, site: str, suffix: str) -> None:
    if suffix == "txt":
        (archive / "a" / "list.txt").write_text("2.ts\n../b.mp4\n")
    else:
        write_manifest(archive / "a" / f"list.{suffix}", [{"uri": "2.ts"}, {"uri": "../b.mp4"}])
    sources = list(Inputs([f"{site}/a/list.{suffix}?token={SECRET}"]))
    assert [source.uri for source in sources] == [f"{site}/a/2.ts", f"{site}/b.mp4"]
    assert all(source.failure is None for source in sources)


@pytest.mark.parametrize(("name", "error"), [("absent.csv", UsageError), ("busy.csv", StorageError)])
def test_remote_manifest_that_cannot_be_had_stops_the_run(site: str, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Inputs([f"{site}/{name}"], retry=QUICK)
