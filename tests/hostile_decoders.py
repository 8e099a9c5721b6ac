"""Decoders that misbehave, run in place of the real one; each is a ``Work`` of ``media.process.child``."""

import ctypes
import json
import mmap
import os
import signal
import struct
import threading
import time

from pipeline.media.process.wire import Channel, HungUp

LIBC = ctypes.CDLL(None)
LIBC_WITH_GIL = ctypes.PyDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
MARK = {"epoch": 0, "pts": 0, "time_s": 0.0, "is_keyframe": True, "is_corrupt": False}
PLACE = {"shape": [4, 4, 3], "offset": 0, "whole_px": [4, 4], "is_last_in_slot": True}
PICTURE = {"event": "painted", "segment": 0, "count": 1, "ordinal": 0, "begins": False, "mark": MARK, **PLACE}


def segfault(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    ctypes.string_at(0)


def abort(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    os.abort()


def leave(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    os._exit(0)


def raise_error(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    raise RuntimeError("a bug in the decoder")


def kill_itself(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    os.kill(os.getpid(), signal.SIGKILL)


def die_of_a_nameless_signal(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    os.kill(os.getpid(), signal.SIGRTMIN + 5)


def hang_in_c(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    LIBC_WITH_GIL.sleep(3600)


def hang_in_python(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    while True:
        pass


def never_listen(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    time.sleep(3600)


def balloon_in_python(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    kept = []
    while True:
        kept.append(bytearray(b"x") * (16 << 20))


def balloon_in_c(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    while True:
        LIBC.memset(LIBC.malloc(8 << 20), 1, 8 << 20)


def start_threads_without_end(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    threading.stack_size(64 << 10)
    while True:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        time.sleep(0.001)


def balloon_slowly(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    kept = []
    while True:
        kept.append(bytearray(b"x") * (2 << 20))
        time.sleep(0.005)


def say_garbage(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    control.send(b"\xff\x00{not json")
    time.sleep(3600)


def say(document: object, control: Channel) -> None:
    control.receive()
    control.send(json.dumps(document).encode())
    time.sleep(3600)


def say_list(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say([1, 2, 3], control)


def say_unknown_event(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "surprise"}, control)


def say_unknown_reason(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "failed", "reason": "boredom", "detail": ""}, control)


def say_deep_nesting(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    control.send(b"[" * 1_000_000)
    time.sleep(3600)


def paint_outside(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "offset": len(shared) - 10}, control)


def paint_before(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "offset": -48}, control)


def paint_hugely(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "shape": [1 << 40, 1 << 40, 3]}, control)


def paint_backwards(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "shape": [-4, -4, 3]}, control)


def paint_a_part(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "whole_px": [4, 8]}, control)


def paint_of_a_giant(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "whole_px": [1 << 40, 1 << 40]}, control)


def paint_for_another_segment(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "segment": 77}, control)


def mark_with_text(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "mark": {**MARK, "pts": "soon"}}, control)


def mark_beyond_64_bits(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({**PICTURE, "mark": {**MARK, "pts": 1 << 70}}, control)


FACTS = {
    **{"stream_index": 0, "time_base": "1/25", "origin_pts": 0, "start_pts": 0, "is_sequential": False},
    **{"frame_rate_hz": "25/1", "container": "mp4", "codec": "h264", "pix_fmt": "yuv420p", "width": 4, "height": 4},
    **{"rotation": 0, "duration_s": 1.0, "creation_time": None},
}


def plan_with_an_endless_fraction(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "planned", "facts": {**FACTS, "time_base": "1e999999999"}, "segments": []}, control)


def plan_with_a_fraction_over_nothing(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "planned", "facts": {**FACTS, "time_base": "1/0"}, "segments": []}, control)


def plan_with_a_fraction_beyond_64_bits(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "planned", "facts": {**FACTS, "time_base": f"1/{1 << 70}"}, "segments": []}, control)


def plan_with_half_a_character(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "planned", "facts": {**FACTS, "codec": "\ud800"}, "segments": []}, control)


def explain_at_length(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "failed", "reason": "corrupt", "detail": "x" * (1 << 20)}, control)


def draw_instead(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "drawn", "shape": [4, 4, 3], "offset": 0, "whole_px": [4, 4]}, control)


def draw_outside(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "drawn", "shape": [4, 4, 3], "offset": len(shared), "whole_px": [4, 4]}, control)


def draw_a_part(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "drawn", "shape": [4, 4, 3], "offset": 0, "whole_px": [4, 8]}, control)


def say_more_than_asked(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "done", "surprise": True}, control)


def finish_without_segments(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    say({"event": "done"}, control)


def end_twice(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    for _ in range(2):
        control.send(json.dumps({"event": "ended", "segment": 0, "failure": None}).encode())
    time.sleep(3600)


def promise_too_much(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    control._socket.sendall(b"\xff\xff\xff\xff")
    time.sleep(3600)


def stall_half_way(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    control._socket.sendall(b"\x10\x00\x00\x00half")
    time.sleep(3600)


def talk_for_ever(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    while True:
        control.send(b'{"event": "dropped", "segment": 0}')


def paint_for_ever(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    while True:
        control.send(json.dumps(PICTURE).encode())


def write_for_ever(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    while True:
        os.write(2, b"x" * 65536)


def ask_for_nonsense(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    source.send(b"give me everything")
    source.receive()


def ask_beyond_the_end(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    source.send(struct.pack("<QI", 1 << 63, 10))
    source.receive()


def shrink_the_pictures(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    control.receive()
    try:
        shared.resize(4096)
        detail = "shrunk"
    except (OSError, SystemError, ValueError):
        detail = "refused"
    control.send(json.dumps({"event": "failed", "reason": "corrupt", "detail": detail}).encode())


def open_something(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Reports what it managed to open."""
    import contextlib
    import socket

    while True:
        try:
            control.receive()
        except HungUp:
            return
        opened = []
        for path in ("/etc/passwd", "/dev/null", "/proc/self/maps"):
            with contextlib.suppress(OSError):
                opened.append(os.open(path, os.O_RDONLY))
        with contextlib.suppress(OSError):
            opened.append(socket.socket().fileno())
        with contextlib.suppress(OSError):
            opened += os.pipe()
        with contextlib.suppress(OSError):
            opened.append(os.memfd_create("x"))
        control.send(json.dumps({"event": "failed", "reason": "corrupt", "detail": f"opened {opened}"}).encode())
