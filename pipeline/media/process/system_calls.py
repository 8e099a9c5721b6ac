"""The system calls that a decoder may make once it has started: a list, enforced by the kernel (seccomp).

Whoever takes a decoder over through a hostile file can compute and talk to the parent, and nothing else: the decoder
opens no file, socket or process, changes no name, signals no other process, and makes no memory executable.

The filter is a classic BPF program, assembled here. The package ``pyseccomp`` would do the same, but it takes 9 ms of
each decoder's start (searching for its library) against less than 1, and needs ``libseccomp``, which slim images lack.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

Architecture = Literal["x86_64", "aarch64"]

AUDIT_ARCHES: dict[Architecture, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""By which the kernel tells a filter what kind of call it looks at."""

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fcntl": (72, 25),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getpeername": (52, 205),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "poll": (7, None),
    "ppoll": (271, 73),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "recvfrom": (45, 207),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setsockopt": (54, 208),
    "sigaltstack": (131, 132),
    "socket": (41, 198),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "time": (201, None),
    "write": (1, 64),
    "writev": (20, 66),
}
"""On x86_64 and on aarch64; ``None``: the call does not exist there."""

# Whatever their arguments; the most frequent first, for the kernel compares one after another. Neither ``close`` nor
# ``fcntl`` is here: closing the lifeline would let the decoder outlive its parent, and ``F_SETOWN`` with ``F_SETSIG``
# has the kernel send any signal to any process.
_ALWAYS = (
    *("futex", "recvfrom", "sendto", "poll", "ppoll", "munmap", "mremap", "brk"),
    *("read", "write", "writev", "getpid", "gettid", "sched_yield", "sched_getaffinity", "getcpu", "sysinfo"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("rseq", "set_robust_list", "exit", "exit_group"),
)

CONNECTING = frozenset({"socket", "connect", "getsockopt", "setsockopt", "getpeername", "getsockname", "fcntl"})
"""What only a live decoder may call: that of RTSP, with its one connection."""

_PROT_EXEC = 0x4
_FIONBIO = 0x5421  # how Python's sockets set their time-outs
_CLONE_THREAD = 0x10000
# What threads of glibc and musl are made with; not one of the flags that make namespaces or descriptors.
_CLONE_OF_A_THREAD = 0x7D0F00
# NORMAL, WILLNEED, DONTNEED, FREE, (NO)HUGEPAGE, GUARD_INSTALL and _REMOVE; HWPOISON takes pages from the machine.
_ADVICE = (0, 3, 4, 8, 14, 15, 102, 103)

_STREAM_SOCKETS = tuple(
    socket.SOCK_STREAM | flags for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK, 0o2004000)
)
_FCNTL_OF_SOCKETS = (fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_GETFD, fcntl.F_SETFD)

_LOAD, _EQUALS, _HAS_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data

Instruction = tuple[int, int, int, int]
"""Code, instructions to skip if true, and if false, operand."""


def _return(error: int | None) -> Instruction:
    """End of the program: the call is allowed, or fails with this number."""
    return _RETURN, 0, 0, 0x7FFF0000 if error is None else 0x00050000 | error


_ALLOW, _DENY = _return(None), _return(errno.EPERM)


def _low(argument: int) -> Instruction:
    """Load an argument's low half, all that the kernel looks at where its type is ``int``."""
    return _LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument


def _high(argument: int) -> Instruction:
    return _LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument + 4


def _is_any_of(argument: int, values: Sequence[int]) -> list[Instruction]:
    """Allow the call if an ``int`` argument has one of these values."""
    tests = [(_EQUALS, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_low(argument), *tests, _DENY, _ALLOW]


def _is_not_executable(argument: int) -> list[Instruction]:
    return [_low(argument), (_HAS_BITS, 1, 0, _PROT_EXEC), _ALLOW, _DENY]


def _makes_a_thread() -> list[Instruction]:
    other_flags = 0xFFFFFFFF ^ _CLONE_OF_A_THREAD
    return [
        *(_low(0), (_HAS_BITS, 2, 0, other_flags)),
        *((_HAS_BITS, 0, 1, _CLONE_THREAD), _ALLOW),
        _DENY,
    ]


def _only_reads_its_own_limits() -> list[Instruction]:
    """``prlimit64``: of process 0, which is the caller, and with no new limits."""
    return [
        *(_low(0), (_EQUALS, 0, 5, 0)),
        *(_low(2), (_EQUALS, 0, 3, 0)),
        *(_high(2), (_EQUALS, 0, 1, 0)),
        *(_ALLOW, _DENY),
    ]


def _one_connection(fd: int) -> dict[str, list[Instruction]]:
    """What a live decoder makes its only connection with: one TCP socket, which has the number ``fd``.

    No filter sees the address, which lies in memory; so ``deny_connections`` follows once the connection stands.
    """
    return {
        "socket": [
            *(_low(0), (_EQUALS, 1, 0, socket.AF_INET), _DENY),
            *(_low(2), (_EQUALS, 2, 0, 0), (_EQUALS, 1, 0, socket.IPPROTO_TCP), _DENY),
            *_is_any_of(1, _STREAM_SOCKETS),
        ],
        **{name: _is_any_of(0, [fd]) for name in ("connect", "getsockopt", "setsockopt", "getpeername", "getsockname")},
        "fcntl": [*(_low(0), (_EQUALS, 1, 0, fd), _DENY), *_is_any_of(1, _FCNTL_OF_SOCKETS)],
        "seccomp": [_ALLOW],  # which can only take more away
    }


def filter_program(*, architecture: Architecture, pid: int, connection_fd: int | None = None) -> bytes:
    """The filter of the process ``pid``: what is not on the list fails with ``EPERM``, and changes nothing."""
    bodies: dict[str, list[Instruction]] = {name: [_ALLOW] for name in _ALWAYS}
    bodies |= {
        "mmap": _is_not_executable(2),
        "mprotect": _is_not_executable(2),
        "madvise": _is_any_of(2, _ADVICE),
        "ioctl": _is_any_of(1, [_FIONBIO]),
        "kill": _is_any_of(0, [pid]),
        "tgkill": _is_any_of(0, [pid]),  # how abort(3) ends a process
        "clone": _makes_a_thread(),
        # Its flags lie in memory, where no filter sees them; told that it does not exist, libc takes ``clone``.
        "clone3": [_return(errno.ENOSYS)],
        "prlimit64": _only_reads_its_own_limits(),
    }
    if connection_fd is not None:
        bodies |= _one_connection(connection_fd)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUALS, 1, 0, AUDIT_ARCHES[architecture]),
        _DENY,
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for name, body in bodies.items():
        number = _number(name, architecture)
        if number is not None:
            program += [(_EQUALS, 0, len(body), number), *body]
    return assembled([*program, _DENY])


def assembled(program: Iterable[Instruction]) -> bytes:
    """``struct sock_filter[]``."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def confine(*, pid: int, connection_fd: int | None = None) -> str | None:
    """Leave this process, all its threads, with the calls of the list; for good.

    Args:
        pid: its own.
        connection_fd: the number of the one socket that it may open and connect, until ``deny_connections``.

    Returns:
        ``None``, or why the kernel does not do it: then nothing has changed.
    """
    architecture = own_architecture()
    if architecture is None:
        return f"no list of system calls for {os.uname().machine}"
    program = filter_program(architecture=architecture, pid=pid, connection_fd=connection_fd)
    return install(program, architecture=architecture)


def prepared_denial() -> Callable[[], str | None]:
    """What takes from this process, once it is confined and connected, the calls that connect; as ``confine``."""
    architecture = own_architecture()  # which itself takes a call that is not on the list
    if architecture is None:
        return lambda: "no list of system calls"
    program: list[Instruction] = [(_LOAD, 0, 0, _NUMBER_AT)]
    for name in ("socket", "connect"):
        program += [(_EQUALS, 0, 1, _number(name, architecture) or 0), _DENY]
    return partial(_set_filter, assembled([*program, _ALLOW]), architecture=architecture)


def own_architecture() -> Architecture | None:
    """What this process runs on, if there is a list for it."""
    names: dict[str, Architecture] = {"x86_64": "x86_64", "aarch64": "aarch64"}
    is_64_bits = struct.calcsize("P") == 8  # a 32-bit Python on such a kernel makes other calls
    return names.get(os.uname().machine) if is_64_bits else None


def install(program: bytes, *, architecture: Architecture) -> str | None:
    """Put a filter before all threads of this process; as ``confine``."""
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges = 38
    if libc.prctl(set_no_new_privileges, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        return f"no_new_privs: {os.strerror(ctypes.get_errno())}"
    return _set_filter(program, architecture=architecture)


def _set_filter(program: bytes, *, architecture: Architecture) -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    set_filter, all_threads, allow_speculation = 1, 1, 4
    code = ctypes.create_string_buffer(program, len(program))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    # Without the last flag, kernels before 5.16 turn off speculation past stores, which slows decoding down.
    flags = ctypes.c_ulong(all_threads | allow_speculation)
    number = ctypes.c_long(_number("seccomp", architecture) or 0)
    if libc.syscall(number, ctypes.c_ulong(set_filter), flags, described):
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return None


def _number(name: str, architecture: Architecture) -> int | None:
    on_x86_64, on_aarch64 = NUMBERS[name]
    return on_x86_64 if architecture == "x86_64" else on_aarch64
