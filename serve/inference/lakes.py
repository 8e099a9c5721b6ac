"""The lake that a server shows: its videos, and pictures of their samples within the limits of requests."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipeline.explore.viewing.lake_view import LakeView
from pipeline.explore.viewing.pictures import SamplePictures
from pipeline.records.resources import DecodeLimits
from serve.settings import Limits


class ServedLake:
    """One dataset behind the page.

    Attributes:
        view: its videos as they are now.
    """

    def __init__(self, uri: str, *, limits: Limits) -> None:
        """Open the dataset at ``uri``.

        Raises:
            UsageError: there is none, or a folder of several.
        """
        self.view = LakeView(uri)
        decoders = limits.decoders or len(os.sched_getaffinity(0))
        decode_limits = DecodeLimits(
            timeout_s=limits.max_seconds, memory_bytes=limits.decode_memory_bytes, max_pixels=limits.max_pixels
        )
        self._pictures = SamplePictures(self.view, limits=decode_limits, decoders=decoders)
        # Threads of their own: pictures that are decoded must not hold up those that are classified.
        self._threads = ThreadPoolExecutor(decoders, thread_name_prefix="picture")

    async def picture(self, video_id: str, *, epoch: int, pts: int, longest_px: int) -> bytes:
        """A sample as a JPEG. Raises as ``SamplePictures.jpeg``."""
        draw = partial(self._pictures.jpeg, video_id, epoch=epoch, pts=pts, longest_px=longest_px)
        return await asyncio.get_running_loop().run_in_executor(self._threads, draw)

    def close(self) -> None:
        """End the decoder processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pictures.close()
