"""What the decoder process does with videos: it plans them and decodes their samples."""

import gc
import mmap
from typing import BinaryIO, cast

from pipeline.errors import InputError
from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.decode.pixels import Painter
from pipeline.media.decode.segments import Restarted, decode_segments
from pipeline.media.probe.plan_video import PlanRequest, plan_video
from pipeline.media.process.messages import (
    Decode,
    Done,
    Dropped,
    Ended,
    Failed,
    Painted,
    Plan,
    Planned,
    StorageFailed,
    read_request,
    written,
)
from pipeline.media.process.remote_file import UNNAMED, RemoteFile, StorageFault
from pipeline.media.process.slots import Slots
from pipeline.media.process.wire import Channel
from pipeline.media.sampling.rules import read_rule
from pipeline.records.crops import part_of
from pipeline.records.model_info import Preprocessing


def serve(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Answer requests to plan and to decode, until the parent hangs up."""
    slots = Slots(control, shared)
    while True:
        request = read_request(control.receive())
        file = cast(BinaryIO, RemoteFile(source, size_bytes=request.size_bytes))
        try:
            if isinstance(request, Plan):
                control.send(written(_planned(file, request)))
            elif isinstance(request, Decode):
                _decode(control, file, request, slots)
        except InputError as error:
            slots.settle()
            control.send(written(Failed.of(error)))
        except StorageFault:
            slots.settle()
            control.send(written(StorageFailed()))
        gc.collect()  # PyAV's objects come in reference cycles, with a picture's memory in each


def _planned(file: BinaryIO, request: Plan) -> Planned:
    plan = plan_video(
        file,
        PlanRequest(
            uri=UNNAMED,
            size_bytes=request.size_bytes,
            rule=read_rule(request.rule).of_video(request.shots),
            time_range=request.time_range,
            windows=request.windows,
            sizing=request.sizing,
            max_pixels=request.max_pixels,
        ),
    )
    return Planned(facts=plan.facts, segments=plan.segments)


def _decode(control: Channel, file: BinaryIO, request: Decode, slots: Slots) -> None:
    video = OpenVideo(
        file,
        uri=UNNAMED,
        facts=request.facts,
        rule=read_rule(request.rule),
        time_range=request.time_range,
        max_pixels=request.max_pixels,
        windows=request.windows,
    )
    painter = Painter()
    told_frames = 0
    for event in decode_segments(video, request.segments):
        if isinstance(event, Picked):
            scaled_px = _scaled_px(request.preprocessings)
            height_px, width_px = scaled_px or painter.shape_of(event.frame)[:2]
            part = part_of(height_px, width_px, preprocessings=request.preprocessings)
            shape = (part[0].stop - part[0].start, part[1].stop - part[1].start, 3)
            room, offset = slots.claim(shape[0] * shape[1] * 3)
            if scaled_px is None:
                painter.paint(event.frame, into=room.reshape(shape), part=part)
            else:
                painter.paint_scaled(event.frame, into=room.reshape(shape))
            painted = Painted(
                segment=event.segment,
                count=event.taken.count,
                ordinal=event.taken.ordinal,
                begins=event.taken.begins,
                mark=event.mark,
                shape=shape,
                offset=offset,
                whole_px=(height_px, width_px),
                is_last_in_slot=False,
            )
            slots.add(painted)
            continue
        slots.hand_over()
        if isinstance(event, Restarted):
            control.send(written(Dropped(segment=event.segment)))
        else:
            new_frames = video.decoded_frames - told_frames
            told_frames = video.decoded_frames
            control.send(written(Ended(segment=event.segment, failure=event.failure, decoded_frames=new_frames)))
    slots.settle()
    control.send(written(Done()))


def _scaled_px(preprocessings: tuple[Preprocessing, ...]) -> tuple[int, int] | None:
    """The height and width that FFmpeg is to scale pictures to; such a way of preparing them comes alone."""
    if all(each.scaler == "torch" for each in preprocessings):
        return None
    if len(preprocessings) != 1:
        raise ValueError("pictures that FFmpeg scales serve one model alone")
    return preprocessings[0].crop_px
