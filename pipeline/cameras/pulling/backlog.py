"""What a puller has and its reader has not read yet: bounded, and the newest pictures win."""

import threading
import time
from collections import deque
from dataclasses import replace

import numpy as np

from pipeline.cameras.pulling.pulled import Ended, Frame, Pulled, PullLimits, Recorded

_MOST_FRAMES = 600
_LEAST_PICTURES = 2
_NO_LUMA = np.zeros((1, 1), np.uint8)


class Backlog:
    """A queue between the thread that hears the decoder and the reader. Putting never waits."""

    def __init__(self, limits: PullLimits) -> None:
        self._limits = limits
        self._items: deque[Pulled] = deque()
        self._num_pictures = 0
        self._picture_bytes = 0
        self._num_frames = 0
        self._recorded_bytes = 0
        self._is_skipping_recorded = False
        self._end: Ended | None = None
        self._changed = threading.Condition()

    def put(self, item: Pulled) -> None:
        """Take what comes next; older pictures may be given up for it, and of a recording what is too much is lost."""
        with self._changed:
            if self._end is not None or (isinstance(item, Recorded) and not self._has_room(item)):
                return
            self._items.append(item)
            self._count(item, 1)
            if isinstance(item, Ended):
                self._end = item
            while self._num_pictures > _LEAST_PICTURES and self._picture_bytes > self._limits.max_picture_bytes:
                self._give_up_picture()
            if self._num_frames > _MOST_FRAMES:
                self._thin_out()
            self._changed.notify()

    def get(self, timeout_s: float) -> Pulled | None:
        """The oldest item; ``None`` where none comes in that time. After the end, the end again and again."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._items:
                if self._end is not None:
                    return self._end
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    if self._items:
                        break
                    return self._end
            item = self._items.popleft()
            self._count(item, -1)
            return item

    def _count(self, item: Pulled, by: int) -> None:
        if isinstance(item, Recorded):
            self._recorded_bytes += by * len(item.data)
        elif isinstance(item, Frame):
            self._num_frames += by
            if item.picture is not None:
                self._num_pictures += by
                self._picture_bytes += by * item.picture.nbytes

    def _give_up_picture(self) -> None:
        for place, item in enumerate(self._items):
            if isinstance(item, Frame) and item.picture is not None:
                self._count(item, -1)
                self._items[place] = replace(item, picture=None)
                self._num_frames += 1
                return

    def _thin_out(self) -> None:
        """Leave out the older frames that nobody counts, and the luma of those that are counted."""
        newest = len(self._items) - _MOST_FRAMES // 2
        kept: deque[Pulled] = deque()
        for place, item in enumerate(self._items):
            if place < newest and isinstance(item, Frame):
                if item.slot is None and not item.detect:
                    self._num_frames -= 1
                    continue
                kept.append(replace(item, luma=_NO_LUMA))
            else:
                kept.append(item)
        self._items = kept
        self._num_frames = min(self._num_frames, _MOST_FRAMES)  # those that are counted may be more

    def _has_room(self, item: Recorded) -> bool:
        """Whether a part of the recording is kept; once one is lost, so is the rest of its file."""
        is_full = self._recorded_bytes + len(item.data) > self._limits.max_recorded_bytes
        self._is_skipping_recorded = is_full or (self._is_skipping_recorded and not item.is_first)
        return not self._is_skipping_recorded
