"""Which model a folder of heads is for, decided before anything is started."""

import os
from collections.abc import Mapping

from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.trust import is_own_model, is_own_weights, shown
from pipeline.models.heads.artifact import read_document
from pipeline.models.heads.files import HEAD_JSON
from pipeline.models.heads.registry import Heads
from pipeline.records.heads import Backbone, HeadInfo
from pipeline.storage.addresses import is_in_bucket, is_local, local_locator, local_path
from serve.settings import ModelSettings

_MOST_NAMED = 10


def folder_at(uri: str) -> str:
    """The address of a folder of heads, which a replica understands wherever it runs.

    Raises:
        UsageError: heads cannot be kept there, or there is no such folder.
    """
    if not uri or not (is_local(uri) or is_in_bucket(uri)):
        raise UsageError(f"--heads {uri!r}: give a local folder, az://, s3:// or gs://")
    if not is_local(uri):
        return uri
    path = local_path(uri)
    if not os.path.isdir(path):
        raise UsageError(f"--heads {uri}: there is no such folder; train makes it with --out {uri.rstrip('/')}/NAME")
    return local_locator(path)


def require_head(uri: str, name: str) -> None:
    """Make sure that a folder of heads has one of this name.

    Raises:
        UsageError: it has none.
        StorageError: the store failed.
    """
    names = Heads(backend_at(uri).store).names()
    if name not in names:
        there = ", ".join(names[:_MOST_NAMED]) if names else "none"
        raise UsageError(f"--default-head {name}: there is no such head in {uri}; there is {there}")


def model_of_heads(uri: str, *, weights: str | None) -> ModelSettings:
    """The model, weights and precision of the heads in use.

    Args:
        uri: of the folder.
        weights: the command line's ``--weights``, if any: where they lie by now.

    Raises:
        UsageError: no head is in use, or they differ, or the model is code or the weights lie at an address, which
            only the command line may name.
        StorageError: the store failed.
    """
    backbones = _backbones(uri)
    if not backbones:
        raise UsageError(f"--heads {uri}: no head in use there says which model to serve; give --model")
    if len({backbone.fingerprint for backbone in backbones.values()}) > 1:
        differing = list(backbones.items())
        named = ", ".join(f"{name} of {_words(backbone)}" for name, backbone in differing[:_MOST_NAMED])
        more = "" if len(differing) <= _MOST_NAMED else " and more"
        raise UsageError(
            f"the heads of {uri} are of different models: {named}{more}; give --model, --weights and --precision"
        )
    # Heads of one model may have found its weights in different places.
    backbone = min(backbones.values(), key=lambda backbone: not is_own_weights(backbone.weights))
    if not is_own_model(backbone.model.name):
        raise UsageError(
            f"the model of {uri} is not vidlake's own; if you trust it, add --model {shown(backbone.model.name)} "
            f"--weights {shown(weights or backbone.weights)} --precision {backbone.precision}"
        )
    if weights is None and not is_own_weights(backbone.weights):
        raise UsageError(
            f"the model of {uri} is not vidlake's own; if you trust it, add --weights {shown(backbone.weights)}"
        )
    return ModelSettings(
        name=backbone.model.name,
        weights=weights or backbone.weights,
        precision=backbone.precision,
        weights_digest=backbone.model.weights_digest,
        window=backbone.model.preprocessing.window,
    )


def _backbones(uri: str) -> Mapping[str, Backbone]:
    """Those of all heads in use that have one; what is broken, the server reports later."""
    store = backend_at(uri).store
    heads = Heads(store)
    backbones = {}
    for name in heads.names():
        try:
            version = heads.current(name)
            if version is None:
                continue
            info = HeadInfo.from_json(read_document(store, f"{name}/{version}/{HEAD_JSON}"))
        except (UsageError, KeyError, TypeError, ValueError):
            continue
        if len(info.backbones) == 1:
            backbones[name] = info.backbones[0]
    return backbones


def _words(backbone: Backbone) -> str:
    model = backbone.model
    return f"{shown(model.name)} ({shown(backbone.weights)}, {backbone.precision}, {backbone.fingerprint})"
