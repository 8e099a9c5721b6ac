"""A still picture is no video, motion JPEG is one, and an encrypted video is one clear row."""

import io
import struct

import numpy as np
import pytest
from media import extract, plan
from odd_videos import box, rebuilt_mp4
from videos import MATROSKA_TO_EDIT, X265, pixels, sequential, video_bytes

from pipeline.errors import InputError

Image = pytest.importorskip("PIL.Image")
ENCRYPTION = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "00112233445566778899aabbccddeeff",
    "encryption_kid": "00112233445566778899aabbccddeeff",
}


def jpeg(index: int = 0, *, size: tuple[int, int] = (96, 64), quality: int = 75, progressive: bool = False) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels(index, width=size[0], height=size[1]))
    picture.save(file, "JPEG", quality=quality, progressive=progressive)
    return file.getvalue()


def multi_picture_jpeg() -> bytes:
    file = io.BytesIO()
    left, right = (Image.fromarray(pixels(index, width=96, height=64)) for index in (0, 1))
    left.save(file, "MPO", save_all=True, append_images=[right])
    return file.getvalue()


def avif(*, num_frames: int) -> bytes:
    return video_bytes("libsvtav1", {"preset": "12"}, kind="avif", num_frames=num_frames)


def heic_brands(data: bytes) -> bytes:
    return data.replace(b"ftypavif", b"ftypheic").replace(b"avifmif1miafMA1B", b"heicmif1miafMA1B")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(), id="jpeg"),
        pytest.param(jpeg(progressive=True), id="progressive-jpeg"),
        pytest.param(jpeg(size=(1200, 800), quality=98)[:90_000], id="jpeg-cut-short"),
        pytest.param(jpeg() + b"SEFT" * 1000, id="jpeg-with-a-trailer"),
        pytest.param(multi_picture_jpeg(), id="jpeg-of-two-pictures"),
        pytest.param(avif(num_frames=1), id="avif"),
        pytest.param(heic_brands(avif(num_frames=1)), id="heic"),
    ],
)
def test_still_picture_is_no_video(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        plan(data)
    assert caught.value.reason == "not_video"


def test_animated_avif_is_a_video() -> None:
    decoded = extract(avif(num_frames=12), "all")
    assert len(decoded.marks) == 12
    assert decoded.failures == []


def multipart(pictures: list[bytes], *, has_lengths: bool, start: bytes = b"", end: bytes = b"") -> bytes:
    """What a camera's HTTP answer is when it is saved as it comes."""
    parts = [start]
    for picture in pictures:
        length = b"Content-Length: %d\r\n" % len(picture) if has_lengths else b""
        parts.append(b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + picture + b"\r\n")
    return b"".join([*parts, end])


SMALL = [jpeg(index) for index in range(40)]
LARGE = [jpeg(index, size=(1280, 720), quality=97) for index in range(6)]
MOTION_JPEGS = {
    "raw": (b"".join(SMALL), SMALL),
    "raw-padded": (b"".join(picture + bytes(-len(picture) % 512) for picture in SMALL), SMALL),
    "raw-progressive": (b"".join(jpeg(index, progressive=True) for index in range(40)), None),
    "raw-of-large-pictures": (b"".join(LARGE), LARGE),
    "raw-of-two": (b"".join(SMALL[:2]), SMALL[:2]),
    "multipart": (multipart(SMALL, has_lengths=True), SMALL),
    "multipart-without-lengths": (multipart(SMALL, has_lengths=False), SMALL),
    "multipart-closed": (multipart(SMALL, has_lengths=True, end=b"--frame--\r\n"), SMALL),
    "multipart-after-a-line": (multipart(SMALL, has_lengths=True, start=b"\r\n"), SMALL),
    "multipart-of-large-pictures": (multipart(LARGE, has_lengths=True), LARGE),
}


@pytest.mark.parametrize("name", MOTION_JPEGS)
@pytest.mark.parametrize("segment_s", [1e6, 0.4])
def test_motion_jpeg_is_a_video_of_all_its_pictures(name: str, segment_s: float) -> None:
    data, pictures = MOTION_JPEGS[name]
    decoded = extract(data, "all", segment_s=segment_s)
    num_pictures = 40 if pictures is None else len(pictures)
    assert [round(mark.time_s, 3) for mark in decoded.marks] == [round(at / 25, 3) for at in range(num_pictures)]
    assert decoded.failures == []
    if pictures is not None and num_pictures > 2:
        middle = num_pictures // 2
        [(_, _, right)] = sequential(pictures[middle])
        assert np.array_equal(decoded.pictures[middle], right)


def test_multipart_that_is_cut_keeps_what_is_whole() -> None:
    data = multipart(SMALL, has_lengths=True)
    assert 20 <= len(extract(data[: len(data) * 2 // 3], "all").marks) <= 30


def declared_encrypted(data: bytes) -> bytes:
    """An MP4 whose sample entry says that its frames are encrypted with one constant vector."""
    protection = box(b"frma", b"avc1") + box(b"schm", b"\0\0\0\0cbcs\0\1\0\0")
    protection += box(b"schi", box(b"tenc", b"\1\0\0\0" + b"\0\x19\1\0" + bytes(16) + b"\x10" + bytes(16)))

    def edit(content: bytes) -> bytes:
        (size,) = struct.unpack(">I", content[8:12])
        return content[:8] + box(b"encv", content[16 : 8 + size] + box(b"sinf", protection)) + content[8 + size :]

    return rebuilt_mp4(data, {b"stsd": edit})


def ebml(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (0x10000000 | len(content)).to_bytes(4, "big") + content


def encrypted_matroska() -> bytes:
    """A Matroska whose track says that its blocks are encrypted (its Tracks element comes last but for clusters)."""
    data = video_bytes(kind="matroska", num_frames=30, seekable=False, muxer=MATROSKA_TO_EDIT)
    tracks = data.rindex(bytes.fromhex("1654ae6b"))
    entry = data.index(b"\xae", tracks + 5)
    entry_bytes = int.from_bytes(data[entry + 1 : entry + 9], "big") & (1 << 56) - 1
    end = entry + 9 + entry_bytes
    key = ebml("5035", ebml("47e1", b"\5") + ebml("47e2", bytes(16)))
    encoding = ebml("6240", ebml("5031", b"\0") + ebml("5032", b"\1") + ebml("5033", b"\1") + key)
    new_entry = ebml("ae", data[entry + 9 : end] + ebml("6d80", encoding))
    following = data.index(bytes.fromhex("1f43b675"), end)
    return data[:tracks] + ebml("1654ae6b", new_entry) + data[following:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(video_bytes(num_frames=50, muxer=ENCRYPTION), id="cenc-h264"),
        pytest.param(video_bytes("libx265", X265, num_frames=50, muxer=ENCRYPTION), id="cenc-hevc"),
        pytest.param(video_bytes("mpeg4", {"g": "24"}, num_frames=50, muxer=ENCRYPTION), id="cenc-mpeg4"),
        pytest.param(
            video_bytes(num_frames=50, muxer={**ENCRYPTION, "movflags": "frag_keyframe+empty_moov"}),
            id="cenc-fragmented",
        ),
        pytest.param(declared_encrypted(video_bytes(num_frames=50)), id="cbcs"),
        pytest.param(encrypted_matroska(), id="matroska"),
    ],
)
@pytest.mark.parametrize("rule", ["fps:1", "all"])
def test_encrypted_video_is_one_clear_row(data: bytes, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(data, rule)
    assert caught.value.reason == "unsupported_codec"
    assert "encrypted" in caught.value.detail
