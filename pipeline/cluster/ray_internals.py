"""Every part of Ray that is not public and that we use all the same, each with the reason.

They may change with any release of Ray: that is why ``pyproject.toml`` bounds its version. A test sees to it that no
other module uses such parts.
"""

import logging
import site
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray._private.runtime_env import packaging
from ray.job_config import JobConfig
from typing_extensions import override

import pipeline
from pipeline.storage.addresses import shown


class InstalledPackages(JobConfig):
    """Has the workers import what the driver imports, whatever lies in the folder where the command was called.

    Ray puts that folder before all others on its workers' path, where a user's ``pipeline.py`` or ``av.py`` hides the
    installed package; it leaves the path alone where a job brings a working dir of its own.
    """

    def __init__(self) -> None:
        root = str(Path(pipeline.__file__).parents[1])
        is_installed = root in {*site.getsitepackages(), site.getusersitepackages()}
        super().__init__(_py_driver_sys_path=[] if is_installed else [root])

    @override
    def _runtime_env_has_working_dir(self) -> bool:
        return True


def show_the_command_line() -> None:
    """Have Ray tell its server the command line in plain text: a file's name may be none, and then nothing starts."""
    utils: Any = ray._private.utils
    command_line = shown(utils.get_entrypoint_name())
    utils.get_entrypoint_name = lambda: command_line


def walk_upload(
    folder: Path, *, excludes: Sequence[str], visit: Callable[[Path], None], logger: logging.Logger
) -> None:
    """Call ``visit`` for each path of a working dir that Ray would upload.

    Ray itself knows what a working dir takes up once it has packed it, and it packs gigabytes before it refuses them.
    """
    left_out = packaging._get_excludes(folder, list(excludes))
    packaging._dir_travel(folder, [left_out], visit, include_gitignore=True, logger=logger)


def raised_in_training(failure: BaseException) -> BaseException:
    """What a training worker raised: Ray Train wraps it in an error that is a traceback, and names no cause."""
    raised: BaseException = getattr(failure, "_base_exc", failure)
    return raised
