"""From INPUT words to sources: what is listed, in which order, and what is refused."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from input_files import QUICK, SECRET, archive_in, listed, write_manifest

from pipeline.errors import StorageError, UsageError
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import Source
from pipeline.lake.dataset import Dataset
from pipeline.storage.reader import Identity
from pipeline.storage.schemes import stat


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return archive_in(tmp_path)


EVERYTHING = ["[1].mp4", "a.mkv", "a/1.csv", "a/2.ts", "a/deep/x.mp4", "b.mp4"]


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
