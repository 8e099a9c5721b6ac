"""What the decoder process does with videos: plans them and decodes their samples, until its parent is gone."""

import gc
import mmap
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any, BinaryIO, cast

from pipeline.errors import InputError
from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.decode.pixels import Painter
from pipeline.media.decode.segments import Restarted, decode_segments
from pipeline.media.probe.plan_video import PlanRequest, plan_video
from pipeline.media.process.remote_file import RemoteFile, StorageFault
from pipeline.media.process.slots import Slots
from pipeline.media.process.wire import Channel, receive_request, send_json
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.crops import part_of
from pipeline.records.model_info import Preprocessing
from pipeline.records.segments import FrameMark, Segment, Sizing, TimeRange, VideoFacts

# asdict copies deeply, for every picture.
_MARK = tuple(field.name for field in fields(FrameMark))


def serve(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Answer requests to plan and to decode, until the parent hangs up."""
    slots = Slots(control, shared)
    while True:
        request = receive_request(control)
        file = cast(BinaryIO, RemoteFile(source, size_bytes=request["size_bytes"]))
        try:
            if request["op"] == "plan":
                _plan(control, file, request)
            else:
                _decode(control, file, request, slots)
        except InputError as error:
            slots.settle()
            send_json(control, {"event": "failed", "reason": error.reason, "detail": error.detail})
        except StorageFault:
            slots.settle()
            send_json(control, {"event": "storage_failed"})
        gc.collect()  # PyAV's objects come in reference cycles, with a picture's memory in each


def _plan(control: Channel, file: BinaryIO, request: dict[str, Any]) -> None:
    plan = plan_video(
        file,
        PlanRequest(
            uri=request["uri"],
            size_bytes=request["size_bytes"],
            rule=parse_rule(request["rule"]),
            time_range=_time_range(request),
            sizing=Sizing(**request["sizing"]),
            max_pixels=request["max_pixels"],
        ),
    )
    segments = [segment.to_json() for segment in plan.segments]
    send_json(control, {"event": "planned", "facts": plan.facts.to_json(), "segments": segments})


def _decode(control: Channel, file: BinaryIO, request: dict[str, Any], slots: Slots) -> None:
    video = OpenVideo(
        file,
        uri=request["uri"],
        facts=VideoFacts.from_json(request["facts"]),
        rule=parse_rule(request["rule"]),
        time_range=_time_range(request),
        max_pixels=request["max_pixels"],
    )
    segments = [Segment.from_json(document) for document in request["segments"]]
    wanted = tuple(Preprocessing.from_json(document) for document in request["preprocessings"])
    painter = Painter()
    for event in decode_segments(video, segments):
        if isinstance(event, Picked):
            height_px, width_px, depth = painter.shape_of(event.frame)
            part = part_of(height_px, width_px, preprocessings=wanted)
            shape = (part[0].stop - part[0].start, part[1].stop - part[1].start, depth)
            room, offset = slots.claim(shape[0] * shape[1] * depth)
            painter.paint(event.frame, into=room.reshape(shape), part=part)
            place = {"shape": shape, "offset": offset, "whole": (height_px, width_px), "is_last": False}
            mark = {name: getattr(event.mark, name) for name in _MARK}
            slots.add({"event": "painted", "segment": event.segment, "mark": mark, **place})
            continue
        slots.hand_over()
        if isinstance(event, Restarted):
            send_json(control, {"event": "dropped", "segment": event.segment})
        else:
            failure = None if event.failure is None else asdict(event.failure)
            send_json(control, {"event": "ended", "segment": event.segment, "failure": failure})
    slots.settle()
    send_json(control, {"event": "done"})


def _time_range(request: dict[str, Any]) -> TimeRange:
    start, end = (None if text is None else Fraction(text) for text in request["time_range"])
    return TimeRange(start=start, end=end)
