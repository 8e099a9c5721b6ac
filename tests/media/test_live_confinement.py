"""A live decoder that is taken over: it may connect once, and then nowhere."""

import json
import os
import socket
import subprocess
import sys

import pytest

from pipeline.media.process.system_calls import own_architecture

pytestmark = pytest.mark.skipif(own_architecture() is None, reason="no list of system calls for this machine")

ATTACKS = """
import errno, json, os, socket, sys
from pipeline.media.process.child import lock_in
from pipeline.media.process.system_calls import prepared_denial

address, other = ("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", int(sys.argv[2]))
deny = prepared_denial()
number = os.open(os.devnull, os.O_RDONLY)
os.close(number)
told = {"complaint": lock_in(memory_bytes=1 << 32, num_fds=number + 1, connection_fd=number)}

def attempt(name, work):
    try:
        work()
        told[name] = "done"
    except OSError as error:
        told[name] = errno.errorcode[error.errno]

attempt("local socket", lambda: socket.socket(socket.AF_UNIX))
attempt("datagrams", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
connection = socket.socket()
attempt("connect", lambda: connection.connect(address))
attempt("talk", lambda: connection.sendall(b"hello"))
attempt("another socket", socket.socket)
attempt("open", lambda: os.open("/etc/hostname", os.O_RDONLY))
attempt("listen", lambda: connection.listen())
told["denied"] = deny()
attempt("connect again", lambda: connection.connect(other))
attempt("another socket later", socket.socket)
attempt("talk on", lambda: connection.sendall(b"!"))
os.write(1, json.dumps(told).encode())
os._exit(0)
"""


def test_the_decoder_of_a_relay_connects_once_and_then_nowhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as relay, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        ports = [str(each.getsockname()[1]) for each in (relay, elsewhere)]
        answer = subprocess.run(
            [sys.executable, "-c", ATTACKS, *ports], capture_output=True, check=True, timeout=60, cwd=os.getcwd()
        )
        connection, _ = relay.accept()
        with connection:
            assert connection.recv(100) == b"hello!"
        elsewhere.settimeout(0.1)
        with pytest.raises(TimeoutError):
            elsewhere.accept()

    assert json.loads(answer.stdout) == {
        "complaint": None,
        "local socket": "EPERM",
        "datagrams": "EPERM",
        "connect": "done",
        "talk": "done",
        "another socket": "EMFILE",
        "open": "EPERM",
        "listen": "EPERM",
        "denied": None,
        "connect again": "EPERM",
        "another socket later": "EPERM",
        "talk on": "done",
    }
