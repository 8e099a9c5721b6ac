"""The command line as a user runs it: a process of its own, forked from one that has imported what commands need."""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_IMPORTED = "pipeline.cli.main, serve.cli, serve.local, torchvision, duckdb, faiss, sklearn.linear_model"
_FORKING = f"""
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
import {_IMPORTED}
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        try:
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["environment"])
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for fd, path in enumerate(asked["paths"], start=1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
            sys.argv = ["vidlake", *asked["words"]]
            from pipeline.cli.starting import main
            main()
        finally:
            os._exit(99)  # the command leaves by itself
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def vidlake(*words: object) -> subprocess.CompletedProcess[str]:
    """What a command says and how it leaves; what takes it seconds to import, the tests of a process import once.

    As with the installed command, and unlike ``python -m``, no module is found because it lies in the working folder.
    """
    started = _what_forks()
    assert started.stdin is not None
    assert started.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "stdout"), Path(folder, "stderr")
        spelled = [str(word) for word in words]
        asked = {
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "paths": [str(path) for path in paths],
            "words": spelled,
        }
        started.stdin.write(json.dumps(asked) + "\n")
        started.stdin.flush()
        status = int(started.stdout.readline())
        said, complained = (path.read_text() for path in paths)
        return subprocess.CompletedProcess(spelled, status, said, complained)


def refused(*words: object) -> str:
    """The one line with which a command refuses its words."""
    done = vidlake(*words)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


def no_more_commands() -> None:
    """End what forks commands; the next command starts it again."""
    if _what_forks.cache_info().currsize:
        started = _what_forks()
        started.kill()
        started.communicate()
        _what_forks.cache_clear()


@cache
def _what_forks() -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-c", _FORKING, json.dumps([str(Path(__file__).parents[1])])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
