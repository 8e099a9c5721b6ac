"""Where a model's numbers come from: the ``--weights`` option, weight files, digests."""

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.errors import InputError, UsageError
from pipeline.storage.addresses import canonical_uri, is_local

WRAPPING_KEYS = ("state_dict", "model_state_dict", "model")
"""Under these training scripts keep the state dict in a checkpoint that also holds an optimizer."""

WRAPPING_PREFIXES = ("module.", "_orig_mod.", "model.")
"""These DistributedDataParallel, torch.compile and Lightning put before every name."""

UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,  # torch: not a zip archive it knows, or a TorchScript one
    pickle.UnpicklingError,  # not a pickle, or one that holds more than tensors
    ValueError,
    LookupError,
    AttributeError,
    TypeError,  # the last four: what the unpickler says of bytes that are no pickle
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultWeights:
    """The library's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWeights:
    """``torch.manual_seed(seed)``, then the constructor."""

    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A state dict on disk, or behind an address; ``location`` holds no secret."""

    location: str


Weights = DefaultWeights | RandomWeights | WeightsFile


def parse_weights(text: str) -> Weights:
    """Read the value of ``--weights``: ``default``, ``random:SEED`` or a file's path or address.

    Raises:
        UsageError: neither of the three, a seed that is no number from 0 to 2**64 - 1, or no such file on this machine.
    """
    if text == "default":
        return DefaultWeights()
    if text.startswith("random:"):
        seed = text.removeprefix("random:")
        if not (seed.isascii() and seed.isdecimal() and int(seed) < 2**64):
            raise UsageError(f"--weights {text}: the seed must be a whole number from 0 to 2**64 - 1, as in random:0")
        return RandomWeights(seed=int(seed))
    location = text if is_local(text) else canonical_uri(text)
    if not location.endswith((".safetensors", ".pt", ".pth")):
        raise UsageError(
            f"--weights {location}: give default, random:SEED or a file that ends in .safetensors, .pt or .pth"
        )
    if is_local(location):
        location = str(Path(location).expanduser())
        if not os.path.isfile(location):
            raise UsageError(f"--weights {text}: there is no such file on this machine; check the path")
    return WeightsFile(location=location)


def read_state_dict(location: str) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.pt`` or ``.pth`` file into memory; no code in it is run.

    Checkpoints that wrap the state dict, or put a wrapper's name before each of its keys, are unwrapped.

    Raises:
        UsageError: there is no such object, or it does not hold a state dict.
        StorageError: its store failed, after retries.
    """
    source = location if is_local(location) else _downloaded(location)
    try:
        if location.endswith(".safetensors"):
            return _read_safetensors(source)
        file = source if isinstance(source, str) else io.BytesIO(source)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        advice = "give a file written by safetensors.torch.save_file or torch.save(model.state_dict(), ...)"
        raise UsageError(f"--weights {location}: cannot be read ({type(error).__name__}); {advice}") from error
    return _unwrapped(content, location=location)


def _downloaded(location: str) -> bytes:
    from pipeline.storage.schemes import open_reader  # a model of random numbers wants torch and torchvision alone

    try:
        with open_reader(location) as reader:
            return reader.read_at(0, reader.size_bytes)
    except InputError as error:
        raise UsageError(f"--weights {location}: {error.detail}; check the address and who may read it") from None


def _read_safetensors(source: str | bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        return load_file(source) if isinstance(source, str) else load(source)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _unwrapped(content: object, *, location: str) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPING_KEYS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise UsageError(
            f"--weights {location}: holds a {type(content).__name__}, not a state dict; save model.state_dict()"
        )
    odd = [key for key, value in content.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if odd:
        raise UsageError(f"--weights {location}: {odd[0]!r} is not a tensor; save model.state_dict() alone")
    return dict(content)


def without_prefix(state: Mapping[str, Tensor], *, names: set[str]) -> dict[str, Tensor]:
    """Strip what wrappers put before every key, unless the network's own ``names`` begin so."""
    stripped = dict(state)
    while stripped and not stripped.keys() & names:
        prefix = next((p for p in WRAPPING_PREFIXES if all(key.startswith(p) for key in stripped)), None)
        if prefix is None:
            break
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def fill(module: nn.Module, *, state: Mapping[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``module``, every tensor by name and shape; ``source`` is named in the error.

    Raises:
        UsageError: a tensor is missing, left over or of another shape; the first of each is named.
    """
    expected = module.state_dict()
    misfits = [
        (f"lacks {key}" for key in expected.keys() - state.keys()),
        (f"has {key} too" for key in state.keys() - expected.keys()),
        (
            f"has {key} of shape {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
            for key in expected.keys() & state.keys()
            if expected[key].shape != state[key].shape
        ),
    ]
    problems = [min(names) for names in map(list, misfits) if names]
    if problems:
        raise UsageError(f"{source}: not weights of this model: {', '.join(problems)}; give the --model they belong to")
    module.load_state_dict(dict(state))


def weights_digest(module: nn.Module) -> str:
    """Identify a network's numbers.

    Returns:
        ``sha256:`` and the hex digest over the state dict in the order of its names: each tensor's name, dtype,
        shape and bytes.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()}"
