"""The YAML file of ``--config``: the options of a command under the same names."""

from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from pipeline.errors import UsageError


def read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Make the YAML file's values the defaults of the command."""
    if path is None:
        return
    try:
        document = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"cannot read --config {path}: {reason}") from None
    if document is None:
        return
    if not isinstance(document, dict):
        raise UsageError(f"--config {path}: expected one 'option: value' a line")
    known = {parameter.name for parameter in context.command.params} - {"config"}
    values = {str(key).lstrip("-").replace("-", "_"): value for key, value in document.items()}
    values = {"inputs" if key == "input" else key: value for key, value in values.items()}
    values = _by_parameters(values, context.command.params)
    if "models" in known:
        values = _with_models(values, path=path)
    unknown = sorted(set(values) - known)
    if unknown:
        names = ", ".join(sorted(str(name).replace("_", "-") for name in known))
        raise UsageError(f"--config {path}: unknown key {unknown[0]!r}; known are {names}")
    context.default_map = {**(context.default_map or {}), **values}


def _by_parameters(values: dict[str, object], parameters: Sequence[click.Parameter]) -> dict[str, object]:
    """The same values by the parameters' own names: ``line`` is one of ``lines``, and a single one a list of one."""
    for parameter in parameters:
        name, option = parameter.name, parameter.opts[0].lstrip("-").replace("-", "_")
        if name is None or name == "models" or not getattr(parameter, "multiple", False):
            continue
        given = values.pop(option, values.pop(name, None))
        if given is not None:
            values[name] = given if isinstance(given, list) else [given]
    return {name: _unlike_yaml(value, name, parameters) for name, value in values.items()}


def _unlike_yaml(value: object, name: str, parameters: Sequence[click.Parameter]) -> object:
    """YAML reads the word ``off`` as false; an option that is no flag means the word."""
    is_word = any(parameter.name == name and parameter.type is not click.BOOL for parameter in parameters)
    return "off" if value is False and is_word else value


def _with_models(values: dict[str, object], *, path: str) -> dict[str, object]:
    """The same values with ``model``, of a single one, as the list ``models``."""
    if "model" in values:
        if "models" in values:
            raise UsageError(f"--config {path}: model is for a single one, and models for several: give one of both")
        values = {"models" if name == "model" else name: value for name, value in values.items()}
    models = values.get("models", [])
    names = models if isinstance(models, list) else [models]
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"--config {path}: models is a list of NAME or NAME=WEIGHTS, and not {str(models)[:80]}")
    return {**values, "models": names} if "models" in values else values
