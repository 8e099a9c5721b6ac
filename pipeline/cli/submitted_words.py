"""The words of a job, checked before they travel, by the parser that will read them on the cluster."""

import os
from collections.abc import Iterable, Sequence
from typing import cast

import click

from pipeline.cli.options import ClusterWords, ExtractWords, request_of, run_options_of
from pipeline.errors import UsageError
from pipeline.inputs.manifests import is_manifest
from pipeline.storage.addresses import has_secret, scheme_of

NAMES = ("extract", "retry")
"""The commands that make sense as a job of a cluster."""


def check_words(command: click.Command | None, words: Sequence[str]) -> bool:
    """Make sure that ``command`` takes these words, and that they mean the same on the cluster.

    Call it in the folder that will be uploaded: that is where the job runs.

    Returns:
        Whether they ask for one JSON document.

    Raises:
        UsageError, click.ClickException: they do not fit.
    """
    if command is None or command.name not in NAMES:
        raise UsageError(f"submit runs {' or '.join(NAMES)}: vidlake submit --address URL extract INPUT... --out URI")
    with command.make_context(command.name, list(words)) as context:
        values = {**context.params, "address": "auto"}
        if context.params["address"] is not None:
            raise UsageError("the job joins its own cluster: give --address before the command alone")
    if command.name == "extract":
        request = request_of(cast(ExtractWords, values))
        _check_inputs(request.inputs)
        _check_output(request.out)
    else:
        run_options_of(cast(ClusterWords, values))
        _check_output(values["uri"])
    return bool(values["is_json"])


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
