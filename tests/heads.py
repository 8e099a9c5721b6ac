"""Heads for tests: what is known of one, and numbers for it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.heads.networks import network_of
from pipeline.models.heads.steps import shapes_of
from pipeline.records.heads import Backbone, HeadInfo, HeadKind
from pipeline.records.model_info import FeatureType, ModelInfo, Preprocessing
from pipeline.records.units import Unit, VideoSamples


def backbone(*, name: str = "tiny", dim: int = 6, dtype: FeatureType = "float32") -> Backbone:
    preprocessing = Preprocessing(resize_px=32, crop_px=(32, 32))
    model = ModelInfo(name=name, dim=dim, weights_digest=f"sha256:{'0' * 64}", preprocessing=preprocessing)
    return Backbone(model=model, weights="random:0", precision="fp32", dtype=dtype)


def head_info(
    kind: str = "linear",
    *,
    unit: str = "frame",
    steps: tuple[str, ...] = (),
    pool: tuple[str, ...] = ("mean",),
    labels: tuple[str, ...] = ("ant", "bee", "cat"),
    is_multi_label: bool = False,
    temperature: float | None = None,
    backbones: tuple[Backbone, ...] = (backbone(),),
) -> HeadInfo:
    name, _, hidden = kind.partition(":")
    return HeadInfo(
        kind=HeadKind(name=name, hidden=int(hidden) if hidden else None),
        labels=labels,
        unit=Unit.parse(unit),
        steps=steps,
        pool=pool,
        is_multi_label=is_multi_label,
        thresholds=(0.5,) * len(labels) if is_multi_label else (),
        temperature=temperature,
        backbones=backbones,
        sample="fps:5",
        lake="lake",
        labels_digest=f"sha256:{'1' * 64}",
        seed=0,
        versions={"torch": "2"},
    )


def network_arrays(info: HeadInfo, *, seed: int = 0) -> Mapping[str, NDArray[Any]]:
    """Numbers of a head that is a network, with steps of a kind that changes things."""
    rng = np.random.default_rng(seed)
    shapes, dim = shapes_of(info.steps, dim=info.dim)
    steps = {name: rng.uniform(0.5, 2, shape.sizes).astype(np.float32) for name, shape in shapes.items()}  # type: ignore[arg-type]
    if not info.kind.takes_sequences:
        dim *= len(info.pool)
    torch.manual_seed(seed)
    state = network_of(info.kind, dim=dim, num_labels=len(info.labels)).state_dict()
    return {**steps, **{f"network.{name}": tensor.numpy() for name, tensor in state.items()}}


def samples(num: int, *, fps: float = 5.0, epochs: tuple[int, ...] = ()) -> VideoSamples:
    """Samples of a video at a constant rate; ``epochs`` are the places where another one begins."""
    at = np.arange(num)
    numbers = np.searchsorted(np.array(epochs), at, side="right").astype(np.int32)
    return VideoSamples(epochs=numbers, pts=at.astype(np.int64), times_s=at / fps, end_s=num / fps)
