"""`retry` goes by what the dataset says of itself, and what it must not decide alone stands on the command line."""

from pathlib import Path

import pytest
from rows import config

from pipeline.errors import UsageError
from pipeline.extract.jobs import run_retry
from pipeline.extract.progress import Display
from pipeline.extract.request import RunOptions
from pipeline.lake.dataset import Dataset, DatasetInfo

SPRINGS = """
from pathlib import Path
Path("sprung").touch()
def factory(): ...
"""


@pytest.mark.parametrize(
    ("model", "weights", "words"),
    [
        pytest.param("trap:factory", "default", "--model trap:factory", id="code"),
        pytest.param("resnet18", "/somewhere/w.pt", "--weights /somewhere/w.pt", id="a file"),
        pytest.param("resnet18", "http://elsewhere/w.pt", "--weights http://elsewhere/w.pt", id="an address"),
    ],
)
def test_a_dataset_chooses_neither_code_nor_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, weights: str, words: str
) -> None:
    (tmp_path / "trap.py").write_text(SPRINGS)
    monkeypatch.chdir(tmp_path)
    dataset = Dataset.at(str(tmp_path / "lake"))
    dataset.backend.store.ensure_writable()
    dataset.create(DatasetInfo(config=config(model=model), weights=weights))

    with pytest.raises(UsageError, match=f"add {words}"):
        run_retry(str(tmp_path / "lake"), RunOptions(), Display(is_quiet=True))

    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "lake/_vidlake/leases").exists(), "nothing was begun"
