"""Opening a video so that it can open nothing else (runs in the decoder process)."""

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import BinaryIO

import av
from av.container import InputContainer
from av.format import ContainerFormat
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.errors import Corrupt, NotVideo, NoVideoStream, TooLarge, Truncated, UnsupportedCodec
from pipeline.media.still_pictures import Jpeg, is_heif, jpeg_kind, moving_streams

# Playlists and scripts name other files; devices and network protocols are no files at all; the rest are single
# pictures.
_POINTING_ELSEWHERE = (
    "concat dash ffmetadata hls imf lavfi rtp rtsp sap sdp webm_dash_manifest vapoursynth avisynth image2 image2pipe "
    "vobsub"
)
_DEVICES = (
    "alsa bktr decklink dshow dv1394 fbdev gdigrab iec61883 jack kmsgrab libcdio libdc1394 openal oss pulse sndio "
    "v4l2 video4linux2 vfwcap x11grab xcbgrab avfoundation android_camera bluray dvdvideo"
)
_STILL_PICTURES = "alias_pix brender_pix fits ico ilbc iff jpegxl_anim pgmyuv tty xbin bin adf idf"
# Of a Matroska track whose blocks are encrypted.
_ENCRYPTION_TAG = "enc_key_id"
ENCRYPTED = "the video is encrypted: decrypt it first"
# FFmpeg asks the parent for this much at a time: one block of a remote object.
_READ_BYTES = 1 << 18


def _allowed_demuxers() -> str:
    denied = {*_POINTING_ELSEWHERE.split(), *_DEVICES.split(), *_STILL_PICTURES.split()}
    allowed = []
    for name in sorted(av.formats_available):
        names = set(name.split(","))
        if names & denied or any(part.endswith("_pipe") for part in names):
            continue
        try:
            ContainerFormat(name, "r")
        except ValueError:  # known to FFmpeg for writing alone
            continue
        allowed.append(name)
    return ",".join(allowed)


ALLOWED_DEMUXERS = _allowed_demuxers()
"""Every self-contained demuxer of this FFmpeg, as its ``format_whitelist`` takes them."""


def _refuse(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a video may not open {url!r}")


def open_container(file: BinaryIO, *, uri: str, max_pixels: int) -> InputContainer:
    """Open a nameless, seekable file object; no other file or address is opened whatever its content says.

    Raises:
        NotVideo: no allowed demuxer knows the content.
    """
    jpeg = jpeg_kind(file)
    if jpeg is Jpeg.STILL:
        raise NotVideo(uri, "a still picture (JPEG)")
    # FFmpeg takes motion JPEG for a photograph where its first pictures are large.
    demuxer = "mjpeg" if jpeg is Jpeg.MOTION else None
    return open_confined(file, uri=uri, demuxer=demuxer, max_pixels=max_pixels, read_bytes=_READ_BYTES)


def open_confined(
    file: object,
    *,
    uri: str,
    demuxer: str | None,
    max_pixels: int,
    read_bytes: int,
    probing: Mapping[str, str] = MappingProxyType({}),
) -> InputContainer:
    """Open bytes, from whatever gives them, so that they can open nothing else.

    Args:
        file: what PyAV reads from.
        uri: what errors name.
        demuxer: FFmpeg's name; ``None``: it looks for itself among those that are allowed.
        max_pixels: of a frame.
        read_bytes: how much is asked for at a time.
        probing: options of the demuxer that say how long it looks before it begins.

    Raises:
        NotVideo: no allowed demuxer knows the content.
    """
    confined = {"format_whitelist": ALLOWED_DEMUXERS, "protocol_whitelist": "none", "max_pixels": str(max_pixels)}
    try:
        return av.open(
            file,
            "r",
            format=demuxer,
            options={**probing, **confined},
            metadata_errors="replace",
            buffer_size=read_bytes,
            io_open=_refuse,
        )
    except MemoryError:
        raise
    except (av.FFmpegError, PermissionError, ValueError) as error:
        raise NotVideo(uri, f"no demuxer opens it ({describe(error)})") from None


def best_stream(container: InputContainer, *, uri: str, max_pixels: int) -> VideoStream:
    """The best video stream that is no cover picture, set to decode on one thread.

    Raises:
        NotVideo: the file is a photograph.
        NoVideoStream: there is none.
        Truncated: an MP4 lost the header that lists its streams.
        UnsupportedCodec: this FFmpeg has no decoder for it, or it is encrypted.
        TooLarge: its frames have more than ``max_pixels`` pixels.
    """
    if not container.streams:
        raise Truncated(uri, "no stream is listed: the header is missing")
    best = container.streams.best("video")
    candidates = [best, *container.streams.video] if isinstance(best, VideoStream) else []
    moving = moving_streams(container, candidates)
    if not moving and is_heif(container):
        raise NotVideo(uri, "a still picture (AVIF or HEIC)")
    if not moving:
        raise NoVideoStream(uri, f"{container.format.name} holds {_kinds(container)} but no video")
    stream = moving[0]
    codec = getattr(stream, "codec_context", None)
    if codec is None:
        raise UnsupportedCodec(uri, f"no decoder for the video in {container.format.name}")
    if _ENCRYPTION_TAG in stream.metadata:
        raise UnsupportedCodec(uri, ENCRYPTED)
    if codec.width * codec.height > max_pixels:
        raise TooLarge(uri, f"{codec.width} x {codec.height} is more than {max_pixels} pixels")
    codec.options = {"max_pixels": str(max_pixels)}
    codec.thread_count = 1
    codec.thread_type = "NONE"
    return stream


def _kinds(container: InputContainer) -> str:
    return " and ".join(sorted({stream.type for stream in container.streams})) or "nothing"


def time_base_of(stream: VideoStream) -> Fraction:
    """The stream's time base; every demuxer sets one."""
    if stream.time_base is None:
        raise AssertionError("a demuxed stream has a time base")
    return stream.time_base


def open_decoder(codec: VideoCodecContext, *, uri: str) -> None:
    """Open a stream's decoder.

    Raises:
        Corrupt: it refuses the stream's parameters.
    """
    try:
        codec.open(strict=False)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise Corrupt(uri, f"its decoder does not open ({describe(error)})") from None


def describe(error: BaseException) -> str:
    """FFmpeg's own words, without the repeated call that PyAV appends."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
