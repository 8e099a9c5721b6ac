"""Manifests: addresses, ranges and typed columns, and what is refused before anything runs."""

import os
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from input_files import QUICK, SECRET, archive_in, listed, write_manifest

from pipeline.errors import UsageError
from pipeline.inputs.input_words import Inputs


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_in(tmp_path)


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
