"""What a decoder that is taken over tries, by raw system calls; run as a decoder, or bare to see that it would work."""

import ctypes
import errno
import hashlib
import json
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

import av

from pipeline.media.process.messages import read_request
from pipeline.media.process.remote_file import RemoteFile
from pipeline.media.process.wire import Channel, HungUp

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
_IS_ARM = platform.machine() == "aarch64"
# x86_64, aarch64
NUMBERS = {
    name: pair[_IS_ARM]
    for name, pair in {
        "bpf": (321, 280),
        "chdir": (80, 49),
        "clone": (56, 220),
        "clone3": (435, 435),
        "close": (3, 57),
        "close_range": (436, 436),
        "connect": (42, 203),
        "dup": (32, 23),
        "execve": (59, 221),
        "execveat": (322, 281),
        "fchmodat": (268, 53),
        "fcntl": (72, 25),
        "io_uring_setup": (425, 425),
        "keyctl": (250, 219),
        "kill": (62, 129),
        "linkat": (265, 37),
        "memfd_create": (319, 279),
        "mkdirat": (258, 34),
        "mmap": (9, 222),
        "mount": (165, 40),
        "mprotect": (10, 226),
        "openat": (257, 56),
        "perf_event_open": (298, 241),
        "pidfd_getfd": (438, 438),
        "pidfd_open": (434, 434),
        "pidfd_send_signal": (424, 424),
        "prlimit64": (302, 261),
        "process_vm_writev": (311, 271),
        "ptrace": (101, 117),
        "renameat2": (316, 276),
        "rt_sigqueueinfo": (129, 138),
        "sched_setaffinity": (203, 122),
        "seccomp": (317, 277),
        "setpgid": (109, 154),
        "setpriority": (141, 140),
        "setsid": (112, 157),
        "setuid": (105, 146),
        "socket": (41, 198),
        "symlinkat": (266, 36),
        "tgkill": (234, 131),
        "tkill": (200, 130),
        "truncate": (76, 45),
        "unlinkat": (263, 35),
        "unshare": (272, 97),
        "userfaultfd": (323, 282),
    }.items()
}
_AT_FDCWD = -100
_THREAD = 0x3D0F00  # the flags that pthread_create gives
Answer = tuple[int, int]
"""What a call returned, and its errno."""


def call(name: str, *arguments: int | bytes) -> Answer:
    ctypes.set_errno(0)
    converted = [part if isinstance(part, bytes) else ctypes.c_long(part) for part in arguments]
    returned = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *converted)
    return returned, ctypes.get_errno()


def _any_number(number: int) -> Answer:
    ctypes.set_errno(0)
    returned = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    return returned, ctypes.get_errno()


def fork() -> Answer:
    answer = call("clone", signal.SIGCHLD, 0, 0, 0, 0)
    if answer[0] == 0:
        time.sleep(60)
        os._exit(0)
    return answer


def fork_by_clone3() -> Answer:
    answer = call("clone3", struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, *[0] * 6), 88)
    if answer[0] == 0:
        time.sleep(60)
        os._exit(0)
    return answer


def execute(path: str) -> Answer:
    arguments = (ctypes.c_char_p * 3)(path.encode(), b"60", None)
    return call("execve", path.encode(), ctypes.addressof(arguments), 0)


def execute_from_memory(path: str) -> Answer:
    answer = call("memfd_create", b"program", 0)
    if answer[0] < 0:
        return answer
    with open(path, "rb") as program:
        os.write(answer[0], program.read())
    arguments = (ctypes.c_char_p * 3)(path.encode(), b"60", None)
    return call("execveat", answer[0], b"", ctypes.addressof(arguments), 0, 0x1000)


def open_for_writing(path: str) -> Answer:
    return call("openat", _AT_FDCWD, path.encode(), os.O_WRONLY | os.O_TRUNC, 0)


def open_after_raising_the_limit(path: str) -> Answer:
    call("prlimit64", 0, 7, struct.pack("=QQ", 1024, 1024), 0)
    return open_for_writing(path)


def signal_by_descriptor(victim: int) -> Answer:
    """The kernel signals a descriptor's owner on behalf of whoever made it the owner."""
    answer = call("fcntl", 0, 8, victim)  # F_SETOWN
    call("fcntl", 0, 10, signal.SIGUSR1)  # F_SETSIG
    call("fcntl", 0, 4, os.O_ASYNC)  # F_SETFL: from now on, whenever bytes come
    return answer


def signal_by_pidfd(victim: int) -> Answer:
    answer = call("pidfd_open", victim, 0)
    return answer if answer[0] < 0 else call("pidfd_send_signal", answer[0], signal.SIGUSR1, 0, 0)


def queue_signal(victim: int) -> Answer:
    information = struct.pack("=iii", signal.SIGUSR1, 0, -1).ljust(128, b"\0")
    return call("rt_sigqueueinfo", victim, signal.SIGUSR1, information)


def write_memory(victim: int, address: int) -> Answer:
    loot = ctypes.create_string_buffer(b"TAKEN")
    local, remote = struct.pack("=QQ", ctypes.addressof(loot), 5), struct.pack("=QQ", address, 5)
    return call("process_vm_writev", victim, local, 1, remote, 1, 0)


def write_memory_file(victim: int, address: int) -> Answer:
    answer = call("openat", _AT_FDCWD, f"/proc/{victim}/mem".encode(), os.O_RDWR, 0)
    if answer[0] >= 0:
        os.pwrite(answer[0], b"TAKEN", address)
    return answer


def connect(port: int) -> Answer:
    answer = call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    if answer[0] < 0:
        return answer
    return call("connect", answer[0], struct.pack("=HHI8x", 2, socket.htons(port), socket.htonl(0x7F000001)), 16)


def executable_memory() -> Answer:
    return call("mmap", 0, 4096, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)


def memory_made_executable() -> Answer:
    place = call("mmap", 0, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    assert place[0] > 0
    return call("mprotect", place[0], 4096, mmap.PROT_READ | mmap.PROT_EXEC)


def own_limits(resource: int) -> Answer:
    return call("prlimit64", 0, resource, struct.pack("=QQ", 1 << 40, 1 << 40), 0)


def thread_in_other_namespaces() -> Answer:
    clone_newns = 0x20000
    return call("clone", _THREAD & ~0x200 | clone_newns, 0, 0, 0, 0)


def every_other_call(allowed: list[int]) -> Answer:
    """The first number outside a list whose call is not refused with EPERM: its errno and number; or (-1, EPERM)."""
    if call("unlinkat", _AT_FDCWD, b"/no/such/file", 0) != (-1, errno.EPERM):
        return 0, 0  # nothing checks the calls: most of these would do harm
    for number in range(1024):
        if number not in allowed and _any_number(number) != (-1, errno.EPERM):
            return number, ctypes.get_errno()
    return -1, errno.EPERM


ATTACKS: dict[str, Callable[..., Answer]] = {
    "unlink": lambda path: call("unlinkat", _AT_FDCWD, path.encode(), 0),
    "rename": lambda path: call("renameat2", _AT_FDCWD, path.encode(), _AT_FDCWD, f"{path}.taken".encode(), 0),
    "link": lambda path: call("linkat", _AT_FDCWD, path.encode(), _AT_FDCWD, f"{path}.taken".encode(), 0),
    "symlink": lambda path: call("symlinkat", b"/etc/passwd", _AT_FDCWD, f"{path}.taken".encode()),
    "mkdir": lambda path: call("mkdirat", _AT_FDCWD, f"{path}.taken".encode(), 0o777),
    "chmod": lambda path: call("fchmodat", _AT_FDCWD, path.encode(), 0o777),
    "truncate": lambda path: call("truncate", path.encode(), 0),
    "open for writing": open_for_writing,
    "open with a higher limit": open_after_raising_the_limit,
    "fork": fork,
    "fork by clone3": fork_by_clone3,
    "execve": execute,
    "memfd and execveat": execute_from_memory,
    "kill": lambda victim: call("kill", victim, signal.SIGUSR1),
    "kill the parent's group": lambda group: call("kill", -group, signal.SIGUSR1),
    "tgkill": lambda victim: call("tgkill", victim, victim, signal.SIGUSR1),
    "tkill": lambda victim: call("tkill", victim, signal.SIGUSR1),
    "rt_sigqueueinfo": queue_signal,
    "pidfd_send_signal": signal_by_pidfd,
    "fcntl F_SETOWN": signal_by_descriptor,
    "prlimit": lambda victim: call("prlimit64", victim, 4, struct.pack("=QQ", 7 << 20, 7 << 20), 0),
    "setpriority": lambda victim: call("setpriority", 0, victim, 5),
    "sched_setaffinity": lambda victim: call("sched_setaffinity", victim, 8, struct.pack("=Q", 1)),
    "process_vm_writev": write_memory,
    "/proc/PID/mem": write_memory_file,
    "ptrace": lambda victim: call("ptrace", 0x4206, victim, 0, 0),
    "connect": connect,
    "setsid": lambda: call("setsid"),
    "setpgid": lambda group: call("setpgid", 0, group),
    "mmap for execution": executable_memory,
    "mprotect for execution": memory_made_executable,
    "raise RLIMIT_NOFILE": lambda: own_limits(7),
    "raise RLIMIT_DATA": lambda: own_limits(2),
    "thread in another namespace": thread_in_other_namespaces,
    "every other call": every_other_call,
    **{
        name: lambda name=name: call(name, 0, 0, 0, 0, 0, 0)
        for name in ("socket", "unshare", "mount", "io_uring_setup", "userfaultfd", "bpf", "perf_event_open")
    },
}


def attack(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Run the attacks that are asked for, and report how the calls ended; the process lives on."""
    while True:
        try:
            name, *arguments = json.loads(control.receive() or b"")
        except HungUp:
            return
        control.send(json.dumps(ATTACKS[name](*arguments)).encode())


def decode_with_threads(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Every frame of a video, with four threads; reports the digest of their pixels."""
    file = RemoteFile(source, size_bytes=read_request(control.receive()).size_bytes)
    digest = hashlib.sha256()
    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count, stream.codec_context.thread_type = 4, "AUTO"
        for frame in container.decode(stream):
            digest.update(frame.to_ndarray(format="rgb24").tobytes())
    control.send(json.dumps({"event": "failed", "reason": "corrupt", "detail": digest.hexdigest()}).encode())
    control.receive()


def close_everything_and_hang(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """So that nothing tells it that its parent is gone."""
    control.receive()
    for fd in range(64):
        call("close", fd)
    call("close_range", 0, 1 << 30, 0)
    while True:
        pass


def main() -> None:
    """Run one attack in a process that nothing confines, and wait."""
    name, *arguments = json.loads(sys.argv[1])
    ATTACKS[name](*arguments)
    time.sleep(60)


if __name__ == "__main__":
    main()
