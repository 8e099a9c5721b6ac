"""A decoder that is taken over gets nothing: each attack is refused, changes nothing, and would work if it could."""

import contextlib
import errno
import hashlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from attacks import ATTACKS
from sandboxes import BytesReader, extract, job
from videos import X265, sequential, video_bytes

from pipeline.errors import Corrupt
from pipeline.media.process.decoder_process import DecoderProcess
from pipeline.media.process.sandbox import Sandbox
from pipeline.media.process.system_calls import (
    AUDIT_ARCHES,
    CONNECTING,
    NUMBERS,
    Architecture,
    filter_program,
    own_architecture,
)
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Sizing

pytestmark = pytest.mark.skipif(own_architecture() is None, reason="no list of system calls for this machine")

REFUSED = [-1, errno.EPERM]
SLEEP = "/bin/sleep"


@dataclass(frozen=True, slots=True)
class Victim:
    """This process, with all that an attack is aimed at, and a file of its own."""

    file: Path
    listener: socket.socket
    buffer: object = field(default_factory=lambda: create_string_buffer(b"UNHARMED"))
    signals: list[int] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def state(self, attacker: int) -> dict[str, object]:
        """All that an attack may change."""
        with contextlib.suppress(BlockingIOError):
            self.connections.append(self.listener.accept()[0])
        [tracer] = [line for line in Path("/proc/self/status").read_text().splitlines() if "TracerPid" in line]
        process = psutil.Process(attacker)
        return {
            "files": sorted((p.name, p.lstat().st_mode, p.lstat().st_size) for p in self.file.parent.iterdir()),
            "signals": len(self.signals),
            "limit": resource.getrlimit(resource.RLIMIT_CORE),
            "niceness": os.getpriority(os.PRIO_PROCESS, 0),
            "cores": os.sched_getaffinity(0),
            "memory": bytes(self.buffer),  # type: ignore[call-overload]
            "connections": len(self.connections),
            "tracer": tracer,
            "program": process.cmdline(),
            "offspring": len(process.children()),
            "session": os.getsid(attacker),
            "group": os.getpgid(attacker),
            "namespaces": [os.readlink(path) for path in Path(f"/proc/{attacker}/ns").iterdir()],
            "limits of the attacker": Path(f"/proc/{attacker}/limits").read_text(),
        }


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    file = tmp_path / "folder" / "precious"
    file.parent.mkdir()
    file.write_text("precious")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        victim = Victim(file, listener)
        before = signal.signal(signal.SIGUSR1, lambda number, frame: victim.signals.append(number))
        yield victim
        signal.signal(signal.SIGUSR1, before)
        for connection in victim.connections:
            connection.close()


@pytest.fixture(scope="module")
def attacker() -> Iterator[DecoderProcess]:
    process = DecoderProcess("attacks:attack", DecodeLimits())
    yield process
    process.kill()


def ask(attacker: DecoderProcess, name: str, *arguments: object) -> list[int]:
    """Have the confined decoder try something; returns what the call returned, and its errno."""
    attacker.send(json.dumps([name, *arguments]).encode(), uri="an attack", timeout_s=10)
    answer: list[int] = json.loads(attacker.receive(uri="an attack", timeout_s=10))
    return answer


def arguments_of(name: str, victim: Victim) -> list[object]:
    """What each kind of attack is told of its victim."""
    by_path = {"unlink", "rename", "link", "symlink", "mkdir", "chmod", "truncate"}
    if name in by_path or name.startswith("open"):
        return [str(victim.file)]
    if name in {"execve", "memfd and execveat"}:
        return [SLEEP]
    if name in {"process_vm_writev", "/proc/PID/mem"}:
        return [os.getpid(), addressof(victim.buffer)]  # type: ignore[arg-type]
    if name == "connect":
        return [victim.listener.getsockname()[1]]
    if name in {"setpgid", "kill the parent's group"}:
        return [os.getpgid(0)]
    aimed = ("kill", "tgkill", "tkill", "rt_sig", "pidfd", "fcntl", "prlimit", "setpriority", "sched", "ptrace")
    return [os.getpid()] if name.startswith(aimed) else []


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - {"every other call"}))
def test_attack_is_refused_and_changes_nothing(name: str, victim: Victim, attacker: DecoderProcess) -> None:
    before = victim.state(attacker.pid)

    answer = ask(attacker, name, *arguments_of(name, victim))

    assert answer == ([-1, errno.ENOSYS] if name == "fork by clone3" else REFUSED)
    assert victim.state(attacker.pid) == before


@pytest.mark.parametrize(
    "name",
    [
        *("unlink", "rename", "link", "symlink", "mkdir", "chmod", "truncate", "open for writing"),
        *("fork", "fork by clone3", "execve", "memfd and execveat", "connect"),
        *("kill", "tgkill", "tkill", "rt_sigqueueinfo", "pidfd_send_signal", "fcntl F_SETOWN"),
    ],
)
@pytest.mark.quick_one_in(4)
def test_attack_works_where_nothing_refuses_it(name: str, victim: Victim) -> None:
    """Or the test before would prove nothing."""
    words = json.dumps([name, *arguments_of(name, victim)])
    command = [sys.executable, "-c", "import attacks; input(); attacks.main()", words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0) as bare:
        assert bare.stdin is not None
        before = victim.state(bare.pid)
        bare.stdin.write(b"go\n")
        bare.stdin.flush()
        try:
            _await_change(victim, bare, before)
        finally:
            os.killpg(bare.pid, signal.SIGKILL)


def _await_change(victim: Victim, bare: "subprocess.Popen[bytes]", before: dict[str, object]) -> None:
    deadline = time.monotonic() + 30
    assert bare.stdin is not None
    while victim.state(bare.pid) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        bare.stdin.write(b".")  # so that its owner is signalled
        bare.stdin.flush()


def test_no_call_outside_the_list_is_made(attacker: DecoderProcess) -> None:
    is_x86 = own_architecture() == "x86_64"
    listed = [pair[0 if is_x86 else 1] for name, pair in NUMBERS.items() if name not in {"seccomp", *CONNECTING}]
    probes = [335, 336] if is_x86 else []  # no filter sees them; they kill whoever is not being traced by the kernel

    assert ask(attacker, "every other call", [number for number in listed if number is not None] + probes) == REFUSED


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_list_says_the_same_on_each_architecture(architecture: Architecture) -> None:
    """Read as the kernel would: not every machine that the tests run on is of both kinds."""
    column = 0 if architecture == "x86_64" else 1
    program = filter_program(architecture=architecture, pid=77)
    thread = 0x3D0F00
    for name, arguments, verdict in [
        *[(name, [2, 1, 0], "EPERM") for name in CONNECTING],
        *[("read", [], "allowed"), ("seccomp", [], "EPERM"), ("clone3", [], "ENOSYS")],
        *[("kill", [77, 9], "allowed"), ("kill", [78, 9], "EPERM"), ("tgkill", [77, 1, 6], "allowed")],
        *[("clone", [thread], "allowed"), ("clone", [17], "EPERM"), ("clone", [thread | 0x20000], "EPERM")],
        *[("mmap", [0, 4096, 3], "allowed"), ("mmap", [0, 4096, 5], "EPERM"), ("mprotect", [0, 0, 4], "EPERM")],
        *[("prlimit64", [0, 7, 0], "allowed"), ("prlimit64", [0, 7, 1 << 40], "EPERM")],
        *[("prlimit64", [5, 7, 0], "EPERM"), ("madvise", [0, 0, 4], "allowed"), ("madvise", [0, 0, 100], "EPERM")],
    ]:
        assert interpreted(program, call(name, arguments, architecture)) == verdict, (name, arguments)
    other = AUDIT_ARCHES["aarch64" if architecture == "x86_64" else "x86_64"]
    assert interpreted(program, struct.pack("=IIQ6Q", NUMBERS["read"][column] or 0, other, *[0] * 7)) == "EPERM"


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_a_live_decoder_may_make_one_tcp_connection(architecture: Architecture) -> None:
    program = filter_program(architecture=architecture, pid=77, connection_fd=9)
    close_on_exec, set_owner, set_status = 0o2000000, 8, 4
    for name, arguments, verdict in [
        *[("socket", [2, 1, 0], "allowed"), ("socket", [2, 1 | close_on_exec, 6], "allowed")],
        *[("socket", [1, 1, 0], "EPERM"), ("socket", [10, 1, 0], "EPERM"), ("socket", [2, 2, 0], "EPERM")],
        *[("socket", [2, 1, 132], "EPERM"), ("socket", [2, 3, 6], "EPERM"), ("socket", [17, 3, 0], "EPERM")],
        *[("connect", [9, 0, 16], "allowed"), ("connect", [3, 0, 16], "EPERM"), ("getsockopt", [9], "allowed")],
        *[("fcntl", [9, set_status, 0o4000], "allowed"), ("fcntl", [9, set_owner, 1], "EPERM")],
        *[("fcntl", [3, set_status, 0], "EPERM"), ("seccomp", [1], "allowed"), ("kill", [78, 9], "EPERM")],
    ]:
        assert interpreted(program, call(name, arguments, architecture)) == verdict, (name, arguments)


def call(name: str, arguments: list[int], architecture: Architecture) -> bytes:
    """A call as a filter sees it (``struct seccomp_data``)."""
    number = NUMBERS[name][0 if architecture == "x86_64" else 1] or 0
    return struct.pack("=IIQ6Q", number, AUDIT_ARCHES[architecture], 0, *arguments, *[0] * (6 - len(arguments)))


def interpreted(program: bytes, data: bytes) -> str:
    """What a filter says to a call (``struct seccomp_data``)."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    place = value = 0
    while True:
        code, if_true, if_false, operand = instructions[place]
        place += 1
        if code == 0x06:
            return "allowed" if operand == 0x7FFF0000 else errno.errorcode[operand & 0xFFFF]
        if code == 0x20:
            [value] = struct.unpack_from("=I", data, operand)
        else:
            place += if_true if (value == operand if code == 0x15 else value & operand) else if_false


def test_decoder_that_closes_its_lifeline_dies_with_its_parent() -> None:
    script = """
from pipeline.media.process.decoder_process import DecoderProcess
from pipeline.records.resources import DecodeLimits
process = DecoderProcess("attacks:close_everything_and_hang", DecodeLimits())
process.send(b"{}", uri="x", timeout_s=1)
print(process.pid, flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.3)  # it closes what it can
        assert child.status() == psutil.STATUS_RUNNING
        parent.kill()
    child.wait(timeout=10)


def test_decoder_is_alone_in_a_group_that_is_killed_whole(attacker: DecoderProcess) -> None:
    assert os.getpgid(attacker.pid) == attacker.pid
    assert "NoNewPrivs:\t1" in Path(f"/proc/{attacker.pid}/status").read_text()


CODECS = [
    pytest.param("libx264", None, "mp4", "yuv420p", id="h264"),
    pytest.param("libx265", X265, "mp4", "yuv420p", id="hevc"),
    pytest.param("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "webm", "yuv420p", id="vp9"),
    pytest.param("libsvtav1", {"preset": "12"}, "mp4", "yuv420p", id="av1"),
    pytest.param("mpeg4", None, "avi", "yuv420p", id="mpeg4"),
    pytest.param("mpeg2video", None, "mpegts", "yuv420p", id="mpeg2"),
    pytest.param("mjpeg", None, "avi", "yuvj420p", id="mjpeg"),
    pytest.param("prores_ks", None, "mov", "yuv422p10le", id="prores"),
    pytest.param("gif", None, "gif", "rgb8", id="gif"),
]


@pytest.mark.parametrize(("codec", "options", "kind", "pix_fmt"), CODECS)
@pytest.mark.quick_one_in(4)
def test_confined_decoder_gives_the_pixels_of_a_free_one(
    codec: str, options: dict[str, str] | None, kind: str, pix_fmt: str
) -> None:
    video = video_bytes(codec, options, kind=kind, pix_fmt=pix_fmt, num_frames=30)
    with Sandbox(DecodeLimits()) as sandbox:
        outcome = extract(sandbox, BytesReader(video), "all")

    got = [pixels for pictures in outcome.pictures.values() for pixels in pictures]
    expected = [picture for _, _, picture in sequential(video)]
    assert len(got) == len(expected) == 30
    assert np.array_equal(got, expected)
    assert all(ended.failure is None for ended in outcome.ended)


@pytest.mark.parametrize(("codec", "options", "kind", "pix_fmt"), CODECS)
@pytest.mark.quick_one_in(4)
def test_confined_decoder_may_use_threads(codec: str, options: dict[str, str] | None, kind: str, pix_fmt: str) -> None:
    """Those of FFmpeg and of dav1d, which make them anew for each file."""
    video = video_bytes(codec, options, kind=kind, pix_fmt=pix_fmt, num_frames=30)
    with Sandbox(DecodeLimits(), entry="attacks:decode_with_threads") as sandbox, pytest.raises(Corrupt) as caught:
        sandbox.plan(BytesReader(video), job(), sizing=Sizing())

    digest = hashlib.sha256(b"".join(picture.tobytes() for _, _, picture in sequential(video))).hexdigest()
    assert caught.value.detail == digest


def test_kernel_that_checks_no_calls_is_named_once_and_decoding_goes_on(tmp_path: Path) -> None:
    """As in a container whose own filter refuses another one."""
    video = tmp_path / "video.mp4"
    video.write_bytes(video_bytes(num_frames=30))
    script = f"""
import errno, logging
from pathlib import Path
from pipeline.media.process import system_calls
from pipeline.media.process.sandbox import Sandbox
from pipeline.records.resources import DecodeLimits
from sandboxes import BytesReader, extract
logging.basicConfig(format="%(name)s %(message)s")
architecture = system_calls.own_architecture()
number = system_calls.NUMBERS["seccomp"][0 if architecture == "x86_64" else 1]
refuse = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | errno.ENOSYS), (0x06, 0, 0, 0x7FFF0000)]
assert system_calls.install(system_calls.assembled(refuse), architecture=architecture) is None
for _ in range(2):
    with Sandbox(DecodeLimits()) as sandbox:
        print(len(extract(sandbox, BytesReader(Path({str(video)!r}).read_bytes())).ended))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.split() == ["2", "2"]
    assert done.stderr.count("decoders run without a list of the system calls") == 1
    assert "seccomp: Function not implemented" in done.stderr
