"""Sessions of a camera, as a stream begins them."""

from datetime import datetime
from fractions import Fraction

from pipeline.records.streams import Session


def camera_session(
    video_id: str,
    *,
    started_at: datetime,
    stream: str = "gate",
    uri: str = "rtsp://gate/cam",
    time_base: Fraction = Fraction(1, 1000),
    start_pts: int = 0,
    size: tuple[int, int] = (64, 48),
) -> Session:
    """H.264 by RTSP; ``size`` is (width, height)."""
    width, height = size
    return Session(
        video_id=video_id,
        uri=uri,
        stream=stream,
        started_at=started_at,
        time_base=time_base,
        start_pts=start_pts,
        container="rtsp",
        codec="h264",
        width=width,
        height=height,
        rotation=0,
        pix_fmt="yuv420p",
    )
