"""Videos that failed, listed once more for ``retry``: as ``extract`` would list them now."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pyarrow as pa

from pipeline.extract.listing import listed_schema
from pipeline.inputs.identify import identified
from pipeline.inputs.manifests import Entry
from pipeline.inputs.sources import listed_video
from pipeline.lake.pending import failed_plans
from pipeline.lake.planned import Planned
from pipeline.records.ids import Ids
from pipeline.records.rows import table_of
from pipeline.records.videos import ListedVideo
from pipeline.storage.retry import DEFAULT_RETRY
from pipeline.storage.schemes import locator_of


class Relisting:
    """One pass over the videos that could not be planned; ``replaced`` is complete when ``videos`` has come to its end.

    A file that came back, or was replaced, is another video, with an id of its own, whoever lists it: so that the next
    ``extract`` finds it done. It begins with its first attempt, once, however many failures were about its name.

    Attributes:
        replaced: the ids of such videos, by those of the failures.
    """

    def __init__(self, planned: Planned) -> None:
        self.replaced: dict[str, str] = {}
        self._planned = planned
        self._new = Ids()

    def videos(self) -> Iterator[pa.Table]:
        """The videos to plan, as rows of ``listed_schema``; those of signed addresses, which nobody kept, are left out.

        Raises:
            StorageError: a store failed, after retries.
        """
        schema = listed_schema(self._planned.schema)
        for failed in failed_plans(self._planned):
            rows = [{**row, "locator": locator_of(row["uri"])} for row in failed.to_pylist()]
            videos = [video for video in map(ListedVideo.from_row, rows) if not video.is_signed]
            again = [video.to_row() for video in self._again(videos)]
            if again:
                yield table_of(again, schema)

    def _again(self, videos: Iterable[ListedVideo]) -> Iterator[ListedVideo]:
        before = list(videos)
        for failed, source in zip(before, identified(map(_entry, before), retry=DEFAULT_RETRY), strict=True):
            video = listed_video(source, attempts=1)
            if video.video_id == failed.video_id:
                yield replace(video, attempts=failed.attempts + 1)
                continue
            self.replaced[failed.video_id] = video.video_id
            if video.video_id not in self._planned.ids and video.video_id not in self._new:
                self._new.add(video.video_id)
                yield video


def _entry(video: ListedVideo) -> Entry:
    start_s, end_s = video.time_range.start, video.time_range.end
    return Entry(locator=video.locator, start_s=start_s, end_s=end_s, columns=dict(video.further))
