"""The model at work: model inputs in, float vectors out. The batch actor and the Serve replica hold the same one."""

import copy
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.network import LoadedModel
from pipeline.models.transfer import Feeder, HostFeeder, PinnedFeeder
from pipeline.records.model_info import ModelInfo, Precision, Preprocessing

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class PicturesToFeatures(nn.Module):
    """What runs on the device: scale and normalise in ``float32``, then the backbone in its own precision."""

    def __init__(
        self, backbone: nn.Module, *, preprocessing: Preprocessing, dtype: torch.dtype, takes_pixels: bool = False
    ) -> None:
        super().__init__()
        self.takes_pixels = takes_pixels
        self.backbone = backbone
        self.dtype = dtype
        self.mean: Tensor
        self.std: Tensor
        per_colour = (1, 3, *(1 for _ in preprocessing.input_shape[:-1]))
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(per_colour), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(per_colour), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``uint8[B, H, W, 3]``, which as ``[B, 3, H, W]`` is channels_last, to ``float32[B, D]``.

        Of clips ``uint8[B, N, H, W, 3]``.
        """
        if self.takes_pixels:
            outputs: Tensor = self.backbone(pictures)
            return outputs.float()
        scaled = pictures.movedim(-1, 1).float() / 255
        normalised = (scaled - self.mean) / self.std
        features: Tensor = self.backbone(normalised.to(self.dtype))
        return features.float()


class Embedder:
    """A model on its device, fed in batches of fixed shapes.

    Building one sets what torch keeps for the whole process: TF32 off, and ``num_threads``. cuDNN's search for the
    fastest kernels is set with each call, for one process may hold models of several precisions: it picks anew in every
    process, and in ``fp32`` those kernels differ by more than we promise, so it is for reduced precision alone.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        precision: Precision = "fp32",
        compile: bool = False,
        batch_size: int = 32,
        device: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        """Put a model to work.

        Args:
            model: used itself, its convolutions laid out anew, where the precision is ``fp32`` and the device the CPU;
                else copied.
            precision: of the backbone; normalisation, head and features are ``float32`` in any case.
            compile: by ``torch.compile``, for one static shape; ``warm_up`` then takes the time that this needs.
            batch_size: the most pictures that the model sees at once; a model of clips sees so many in whole clips, and
                at least one clip.
            device: torch's name; ``cuda`` where there is one, else ``cpu``.
            num_threads: of torch's computation on the CPU; torch's own choice without it.

        Raises:
            ValueError: a batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.info: ModelInfo = model.info
        self.classes: tuple[str, ...] = model.classes
        self.precision: Precision = precision
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.num_threads: int = torch.get_num_threads()
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        self._is_searching_kernels = precision != "fp32"

        dtype = DTYPES[precision]
        is_changed = dtype != torch.float32 or self.device.type != "cpu"
        backbone = copy.deepcopy(model.backbone) if is_changed else model.backbone
        backbone = backbone.eval().to(device=self.device, dtype=dtype)
        window = model.info.preprocessing.window
        batch_size = max(1, batch_size // (window or 1))
        if window is None:
            backbone = backbone.to(memory_format=torch.channels_last)
        module = PicturesToFeatures(
            backbone, preprocessing=model.info.preprocessing, dtype=dtype, takes_pixels=model.takes_pixels
        ).to(self.device)
        self._width = model.info.dim * model.rows_per_input
        self.is_compiled: bool = compile
        self._forward = torch.compile(module, dynamic=False) if compile else module
        self._text_tower = model.text_tower
        self._head = None if model.head is None else copy.deepcopy(model.head).eval().to(self.device, torch.float32)
        self.num_classes: int = 0 if self._head is None else self._outputs_of(self._head)
        """Columns of ``probabilities``, whether or not ``classes`` names them; 0: there is no such layer."""

        self.batch_shapes: tuple[int, ...] = (batch_size,)
        """Numbers of inputs that the model is called with, ascending. An eager CPU takes any; the rest want one."""
        if self.device.type == "cpu" and not compile:
            self.batch_shapes = (*_powers_of_two_below(batch_size), batch_size)
        self._input_shape = model.info.preprocessing.input_shape
        self._feeder = self._new_feeder()
        self._lock = Lock()

    def twin(self, *, num_threads: int) -> "Embedder":
        """Another one over the same weights, for the calling thread and that many of torch's: both can work at once.

        How many threads torch computes with belongs to the thread that asks, and any new number costs all threads what
        oneDNN has prepared: set it once.
        """
        torch.get_num_threads()  # the first time it asks, a thread gets what another one set last
        torch.set_num_threads(num_threads)
        twin = copy.copy(self)
        twin.num_threads = num_threads
        twin._feeder = twin._new_feeder()
        twin._lock = Lock()
        return twin

    def _new_feeder(self) -> Feeder:
        shape = (self.batch_shapes[-1], *self._input_shape)
        if self.device.type == "cuda":
            return PinnedFeeder(shape=shape, device=self.device)
        return HostFeeder(shape=shape)

    def _outputs_of(self, head: nn.Module) -> int:
        with torch.inference_mode():
            outputs: Tensor = head(torch.zeros(1, self.info.dim, device=self.device))
        return outputs.shape[1]

    def warm_up(self) -> None:
        """Run one batch: compiles, allocates, and lets cuDNN choose.

        It is of the smallest shape. Only an eager CPU has several, and prepares the others with what they are first
        called with: that takes a quarter more time once, where running each took a server seconds to start.
        """
        self.embed([np.zeros((self.batch_shapes[0], *self._input_shape), np.uint8)])

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Turn the samples of several segments into features, batches running across the segments' borders.

        Threads that call at the same time take turns.

        Args:
            pictures: model inputs, RGB ``uint8[n_i, H, W, 3]``, or clips ``uint8[n_i, N, H, W, 3]``, ``n_i`` of any
                length; read-only ones do.

        Returns:
            ``float32[sum n_i, D]``, in the order of the input; several features of one input stand side by side.

        Raises:
            ValueError: an array of another shape or type.
            UsageError: a feature is not finite, as when ``fp16`` overflows.
        """
        for array in pictures:
            if array.dtype != np.uint8 or array.shape[1:] != self._input_shape:
                raise ValueError(f"pictures must be uint8[n, {self._input_shape}], not {array.dtype}{array.shape}")
        num_pictures = sum(len(array) for array in pictures)
        with self._lock, torch.inference_mode():
            torch.backends.cudnn.benchmark = self._is_searching_kernels
            results = self._feeder.results(num_pictures, self._width)
            done = 0
            for part in batches_of(pictures, lengths=batch_lengths(num_pictures, shapes=self.batch_shapes)):
                num_rows = sum(map(len, part))
                results[done : done + num_rows].copy_(self._embed_batch(part)[:num_rows], non_blocking=True)
                done += num_rows
            self._feeder.finish()
        # A copy where the memory is page-locked: that belongs back to the next call.
        features: NDArray[np.float32] = np.array(results.numpy(), copy=self.device.type == "cuda")
        if not np.isfinite(features).all():
            advice = "use --precision bf16 or fp32" if self.precision == "fp16" else "check the model and its weights"
            raise UsageError(f"--model {self.info.name}: features in {self.precision} are not finite numbers; {advice}")
        return features

    def _embed_batch(self, arrays: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Features on the device of one batch's rows, and of the padding behind them."""
        buffer = self._feeder.rows()
        filled = 0
        for array in arrays:
            buffer[filled : filled + len(array)] = array
            filled += len(array)
        num_rows = next(shape for shape in self.batch_shapes if shape >= filled)
        buffer[filled:num_rows] = 0
        features: Tensor = self._forward(self._feeder.send(num_rows))
        self._feeder.release()
        return features

    @property
    def class_layer(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Weights ``float32[classes, D]`` and biases of the classification layer; ``None``: there is no linear one."""
        if not isinstance(self._head, nn.Linear):
            return None
        with torch.inference_mode():
            weights: NDArray[np.float32] = self._head.weight.cpu().numpy()
            biases = np.zeros(len(weights), np.float32) if self._head.bias is None else self._head.bias.cpu().numpy()
        return weights, biases

    def embed_text(self, text: str) -> NDArray[np.float32] | None:
        """The feature ``float32[D]`` of a text; ``None``: the model has no text tower.

        Raises:
            UsageError: what its text tower gives is no feature of this length.
        """
        if self._text_tower is None:
            return None
        with self._lock, torch.inference_mode():
            feature: NDArray[np.float32] = self._text_tower([text]).detach().float().cpu().numpy()
        if feature.shape != (1, self.info.dim) or not np.isfinite(feature).all():
            raise UsageError(f"--model {self.info.name}: embed_text gives {feature.shape}, not (1, {self.info.dim})")
        return feature.reshape(-1)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the model's own classification layer.

        Args:
            features: ``float32[N, D]`` from ``embed``.

        Returns:
            ``float32[N, classes]``, the softmax; ``classes`` names the columns where the weights say.

        Raises:
            UsageError: the model has no such layer.
        """
        if self._head is None:
            raise UsageError(f"--model {self.info.name}: has no classification layer; train a head on its features")
        with torch.inference_mode():
            inputs = torch.tensor(features, dtype=torch.float32, device=self.device)
            classes: NDArray[np.float32] = self._head(inputs).softmax(dim=1).cpu().numpy()
        return classes


def _powers_of_two_below(limit: int) -> Iterator[int]:
    power = 1
    while power < limit:
        yield power
        power *= 2


def batch_lengths(num_pictures: int, *, shapes: Sequence[int]) -> Iterator[int]:
    """Cut ``num_pictures`` into batches for a model that is called with ``shapes``, ascending, alone.

    Full batches first. A shape that the rest fills by three quarters or more is padded; otherwise padding costs more
    than a further call, and the largest shape that is full goes first.
    """
    left = num_pictures
    while left:
        above = next((shape for shape in shapes if shape >= left), None)
        below = max((shape for shape in shapes if shape <= left), default=None)
        is_nearly_full = above is not None and 4 * left >= 3 * above
        length = left if below is None or is_nearly_full else below
        yield length
        left -= length


def batches_of(pictures: Sequence[NDArray[np.uint8]], *, lengths: Iterator[int]) -> Iterator[list[NDArray[np.uint8]]]:
    """Cut arrays, end to end, into batches of so many rows, which are as many as there are: views, no copies."""
    part: list[NDArray[np.uint8]] = []
    room = next(lengths, 0)
    for array in pictures:
        start = 0
        while start < len(array):
            view = array[start : start + room]
            part.append(view)
            start += len(view)
            room -= len(view)
            if room == 0:
                yield part
                part, room = [], next(lengths, 0)


def gpu_names() -> list[str]:
    """The CUDA devices of this machine."""
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
