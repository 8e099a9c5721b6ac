"""Which videos a label is of."""

import pytest
from labelling import row

from pipeline.errors import UsageError
from pipeline.training.labels.matching import match_videos

VIDEOS = [("id1", "/archive/cam1/a.mp4"), ("id2", "/archive/cam2/b.mp4"), ("id3", "s3://bucket/cam1/c.mp4")]


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        pytest.param("/archive/cam1/a.mp4", ["id1"], id="uri"),
        pytest.param("file:///archive/cam1/a.mp4", ["id1"], id="another-way-to-write-it"),
        pytest.param("s3://bucket/cam1/c.mp4", ["id3"], id="address"),
        pytest.param("b.mp4", ["id2"], id="file-name"),
        pytest.param("[ab].mp4", ["id1", "id2"], id="glob-of-names"),
        pytest.param("cam1/*.mp4", ["id1", "id3"], id="glob-of-the-end-of-paths"),
        pytest.param("/archive/*", ["id1", "id2"], id="glob-of-whole-paths"),
        pytest.param("mp4", [], id="no-part-of-a-name"),
        pytest.param("A.mp4", [], id="no-other-case"),
        pytest.param("id1", [], id="an-id-in-the-column-uri"),
    ],
)
def test_a_row_matches(text: str, matched: list[str]) -> None:
    matches = match_videos([row(text, "x")], VIDEOS)

    assert sorted(matches.rows_of) == matched
    assert matches.unmatched == (() if matched else (0,))


def test_an_id_matches_its_video_alone() -> None:
    matches = match_videos([row("id2", "x", is_id=True), row("id9", "x", is_id=True)], VIDEOS)

    assert matches.rows_of == {"id2": (0,)}
    assert matches.unmatched == (1,)


def test_a_name_that_reads_like_a_glob_is_a_name() -> None:
    videos = [("id1", "/take[1].mp4"), ("id2", "/take1.mp4")]

    assert match_videos([row("take[1].mp4", "x")], videos).rows_of == {"id1": (0,)}


def test_a_file_name_that_fits_two_uris_is_refused() -> None:
    videos = [("id1", "/a/x.mp4"), ("id2", "/b/x.mp4")]

    with pytest.raises(UsageError, match=r"x\.mp4 of row 1 of the labels fits both /a/x\.mp4 and /b/x\.mp4"):
        match_videos([row("x.mp4", "y")], videos)


def test_ranges_of_one_file_share_its_name() -> None:
    videos = [("id1", "/a/x.mp4"), ("id2", "/a/x.mp4")]

    assert match_videos([row("x.mp4", "y")], videos).rows_of == {"id1": (0,), "id2": (0,)}


def test_all_rows_of_a_video_are_found_in_their_order() -> None:
    rows = [row("*.mp4", "x"), row("a.mp4", "y"), row("/archive/cam1/a.mp4", "z")]

    assert match_videos(rows, VIDEOS).rows_of["id1"] == (0, 1, 2)
