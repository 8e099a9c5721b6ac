"""The words of a job, checked before they travel, by the parser that will read them on the cluster."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import click

from pipeline.cli.finetune_command import FinetuneWords, finetune_request_of
from pipeline.cli.options import ClusterWords, ExtractWords, request_of, run_options_of
from pipeline.cli.predict_command import PredictWords, predict_request_of
from pipeline.cli.shots_command import ShotsWords, shots_request_of
from pipeline.errors import UsageError
from pipeline.inputs.manifests import is_manifest
from pipeline.storage.addresses import has_secret, scheme_of


def check_words(command: click.Command | None, words: Sequence[str]) -> bool:
    """Make sure that ``command`` takes these words, and that they mean the same on the cluster.

    Call it in the folder that will be uploaded: that is where the job runs.

    Returns:
        Whether they ask for one JSON document.

    Raises:
        UsageError, click.ClickException: they do not fit.
    """
    check = None if command is None else _CHECKS.get(command.name or "")
    if command is None or check is None:
        *names, last = _CHECKS
        known = f"{', '.join(names)} or {last}"
        raise UsageError(f"submit runs {known}: vidlake submit --address URL extract INPUT... --out URI")
    with command.make_context(command.name, list(words)) as context:
        values = {**context.params, "address": "auto"}
        if context.params["address"] is not None:
            raise UsageError("the job joins its own cluster: give --address before the command alone")
    check(values)
    return bool(values["is_json"])


def _check_extract(values: dict[str, Any]) -> None:
    request = request_of(cast(ExtractWords, values))
    _check_inputs(request.inputs)
    _check_output(request.out)
    if request.run.shots is not None:
        _check_output(request.run.shots)


def _check_retry(values: dict[str, Any]) -> None:
    run_options_of(cast(ClusterWords, values))
    _check_output(values["uri"])


def _check_predict(values: dict[str, Any]) -> None:
    request = predict_request_of(cast(PredictWords, values))
    _check_output(request.lake)
    _check_head(request.head)
    _check_output(request.out)


def _check_finetune(values: dict[str, Any]) -> None:
    request = finetune_request_of(cast(FinetuneWords, values))
    _check_inputs([*request.inputs, request.labels])
    _check_output(request.out)


def _check_shots(values: dict[str, Any]) -> None:
    request = shots_request_of(cast(ShotsWords, values))
    _check_inputs(request.inputs)
    _check_output(request.out)


_CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "extract": _check_extract,
    "retry": _check_retry,
    "predict": _check_predict,
    "finetune": _check_finetune,
    "shots": _check_shots,
}
"""Of the commands that make sense as a job of a cluster."""


def _check_head(word: str) -> None:
    """The job reads the head and hands it to its workers, so that it may come along in the working dir."""
    _refuse_secret(word, instead="let the nodes have the right to read there")
    folder = word.rstrip("/")
    name = folder.rpartition("/")[2]
    if _is_relative(word) and not os.path.isdir(folder[: len(folder) - len(name)] + name.partition("@")[0]):
        raise UsageError(
            f"no such head: {word} is not in the working dir; give that folder, an address, or the absolute path of a "
            "folder that all nodes share"
        )


def _check_inputs(inputs: Iterable[str]) -> None:
    for word in inputs:
        _refuse_secret(word, instead="put it into a manifest that only the nodes can read")
        if not _is_relative(word):
            continue
        if not is_manifest(word):
            raise UsageError(
                f"{word} is a path of this machine: give an address, a manifest in the working dir, or the absolute "
                "path of a folder that all nodes share"
            )
        if not os.path.isfile(word):
            raise UsageError(f"no such input: {word} is not in the working dir")


def _check_output(uri: str) -> None:
    _refuse_secret(uri, instead="let the nodes have the right to write there")
    if _is_relative(uri):
        raise UsageError(
            f"a dataset at {uri} would be lost with the job: give an address, or the absolute path of a folder that "
            "all nodes share"
        )


def _refuse_secret(word: str, *, instead: str) -> None:
    if has_secret(word):
        raise UsageError(
            f"an address holds a password or a signature, which the cluster would show in its list of jobs: {instead}"
        )


def _is_relative(word: str) -> bool:
    return scheme_of(word) == "file" and "://" not in word and not os.path.isabs(word)
