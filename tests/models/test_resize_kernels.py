"""torch's CPU library alone resizes as Python's ``torch`` does, bit for bit, and costs a process a fraction of it."""

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.models.resize_kernels import PythonTorch, ResizeKernels
from pipeline.models.torch_library import TorchLibrary
from pipeline.records.model_info import Interpolation

LIBRARY = TorchLibrary.load()
needs_library = pytest.mark.skipif(LIBRARY is None, reason="Python's torch alone is known to resize integers here")

WAYS = [
    pytest.param(np.uint8, "bilinear", True, id="bilinear"),
    pytest.param(np.uint8, "bicubic", True, id="bicubic"),
    pytest.param(np.uint8, "nearest", True, id="nearest"),
    pytest.param(np.float32, "bilinear", False, id="float-bilinear-without-antialias"),
    pytest.param(np.float32, "bicubic", False, id="float-bicubic-without-antialias"),
    pytest.param(np.float32, "bilinear", True, id="float-bilinear"),
]


@pytest.fixture
def library() -> ResizeKernels:
    assert LIBRARY is not None
    return LIBRARY


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(rng: np.random.Generator, kind: type[np.uint8] | type[np.float32]) -> NDArray[np.uint8 | np.float32]:
    height, width = rng.integers(1, 400, 2)
    return rng.integers(0, 256, (height, width, 3), np.uint8).astype(kind)


@needs_library
@pytest.mark.parametrize(("kind", "interpolation", "antialias"), WAYS)
def test_equals_pythons_torch_bit_for_bit(
    library: ResizeKernels, kind: type[np.uint8] | type[np.float32], interpolation: Interpolation, antialias: bool
) -> None:
    """Up and down, and by any factor: what a video, a crop of one, or a thumbnail asks for."""
    rng, reference = np.random.default_rng(0), PythonTorch()
    for _ in range(100):
        before, (height, width) = picture(rng, kind), rng.integers(1, 300, 2).tolist()
        after = [
            kernels.resized(before, size=(height, width), interpolation=interpolation, antialias=antialias)  # type: ignore[type-var]
            for kernels in (library, reference)
        ]
        assert after[0].dtype == before.dtype
        assert after[0].flags.c_contiguous
        np.testing.assert_array_equal(after[0], after[1])


@needs_library
def test_what_comes_out_has_memory_of_its_own(library: ResizeKernels) -> None:
    """The library frees neither picture, and keeps neither."""
    before = np.full((64, 64, 3), 7, np.uint8)
    after = [library.resized(before, size=(32, 32), interpolation="bilinear", antialias=True) for _ in range(100)]
    assert all(each.flags.owndata and (each == 7).all() for each in after)
    assert (before == 7).all()


@needs_library
def test_the_number_of_threads_is_one_setting_for_both(library: ResizeKernels) -> None:
    library.num_threads = 3
    assert (torch.get_num_threads(), PythonTorch().num_threads) == (3, 3)
    torch.set_num_threads(1)
    assert library.num_threads == 1


@needs_library
def test_what_torch_refuses_is_an_error_and_not_a_crash(library: ResizeKernels) -> None:
    with pytest.raises(RuntimeError, match=r"torch refuses: aten::_upsample_bilinear2d_aa"):
        library.resized(np.zeros((4, 4, 3), np.uint8), size=(0, 4), interpolation="bilinear", antialias=True)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["libabsent.so", "libc10.so"], ids=["absent", "without-the-interface"])
def test_without_the_library_pythons_torch_resizes(file: str) -> None:
    assert answers(file) == ["PythonTorch", True, 48]


@pytest.mark.slow
def test_where_torch_is_told_how_to_compute_pythons_torch_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert answers("ways") == ["PythonTorch", True, 48]


@needs_library
@pytest.mark.slow
def test_preparing_pictures_loads_no_torch_and_torch_may_follow() -> None:
    assert answers("ways") == ["TorchLibrary", False, 48]
    assert answers("torch-follows") == ["TorchLibrary", True, 48]


PROGRAM = """
import json, sys
import numpy as np
from pipeline.models import torch_library
from pipeline.models.preprocess import prepare
from pipeline.models.resize_kernels import resize_kernels
from pipeline.records.model_info import Preprocessing

if sys.argv[1].endswith(".so"):
    torch_library._FILE = sys.argv[1]
picture = np.full((9, 9, 3), 16, np.uint8)
pixels = prepare(picture, preprocessing=Preprocessing(resize_px=4, crop_px=(1, 1)))
if sys.argv[1] == "torch-follows":
    import torch
    assert (torch.nn.Linear(4, 4)(torch.ones(2, 4)) @ torch.ones(4, 4)).isfinite().all()
    pixels = prepare(picture, preprocessing=Preprocessing(resize_px=4, crop_px=(1, 1)))
print(json.dumps([type(resize_kernels()).__name__, "torch" in sys.modules, int(pixels.sum())]))
"""


def answers(case: str) -> list[str | bool | int]:
    """Which kernels a fresh process takes, whether it has Python's torch then, and the sum of a pixel."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, case], capture_output=True, text=True, check=True)
    found: list[str | bool | int] = json.loads(done.stdout)
    return found
