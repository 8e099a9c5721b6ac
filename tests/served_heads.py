"""Heads in a folder, as ``train`` leaves them, for a server of ``video_cnn``: their numbers are by chance."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from heads import head_info, network_arrays
from numpy.typing import NDArray

from pipeline.lake.publishing.folder_store import FolderStore
from pipeline.models.heads.artifact import head_bytes
from pipeline.models.heads.head import Head
from pipeline.models.heads.registry import Heads, current_bytes
from pipeline.models.registry import load_model
from pipeline.records.heads import Backbone, HeadInfo
from pipeline.records.model_info import ModelInfo

LABELS = ("ant", "bee", "cat")
PARTS = ("head.json", "weights.safetensors")


@cache
def video_cnn() -> ModelInfo:
    return load_model("video_cnn", weights="random:0").info


def served_backbone(*, weights: str = "random:0", dtype: str = "float32") -> Backbone:
    return Backbone(
        model=video_cnn(), weights=weights, precision="fp32", dtype="float16" if dtype == "float16" else "float32"
    )


def put(
    folder: Path,
    name: str,
    kind: str = "linear",
    *,
    seed: int = 0,
    is_in_use: bool = True,
    score: float | None = 0.75,
    unit: str = "frame",
    steps: tuple[str, ...] = (),
    pool: tuple[str, ...] = ("mean",),
    labels: tuple[str, ...] = LABELS,
    is_multi_label: bool = False,
    sample: str = "fps:5",
    backbones: Sequence[Backbone] | None = None,
) -> Head:
    """Write the next version of a head."""
    info = head_info(
        kind,
        unit=unit,
        steps=steps,
        pool=pool,
        labels=labels,
        is_multi_label=is_multi_label,
        backbones=tuple(backbones or (served_backbone(),)),
    )
    info = replace(info, sample=sample)
    return put_head(folder, name, info, network_arrays(info, seed=seed), is_in_use=is_in_use, score=score)


def put_head(
    folder: Path, name: str, info: HeadInfo, arrays: object, *, is_in_use: bool = True, score: float | None = 0.75
) -> Head:
    heads = Heads(FolderStore(str(folder)))
    version = max(heads.versions(name), default=0) + 1
    place = folder / name / str(version)
    place.mkdir(parents=True)
    for file, data in head_bytes(info, arrays).items():  # type: ignore[arg-type]
        (place / file).write_bytes(data)
    test = {} if score is None else {"test": {"balanced_accuracy": score}}
    (place / "metrics.json").write_text(json.dumps(test))
    if is_in_use:
        use(folder, name, version)
    return heads.load(name, version).head


def use(folder: Path, name: str, version: int) -> None:
    """What ``vidlake heads HEADS/NAME --use VERSION`` does."""
    FolderStore(str(folder / name)).publish("current", current_bytes(version), overwrite=True)


def said(labels: list[dict[str, object]], names: Sequence[str] = LABELS) -> NDArray[np.float32]:
    """Probabilities in the order of the labels, from an answer that has them all."""
    by_name = {one["label"]: one["probability"] for one in labels}
    return np.array([by_name[name] for name in names], np.float32)
