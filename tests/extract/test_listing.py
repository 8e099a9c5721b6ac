"""The input as a run goes through it: all that it holds, and what of that the run is to process."""

from pathlib import Path

import pytest

from pipeline.extract.listing import Listing
from pipeline.extract.request import RunOptions
from pipeline.inputs.input_words import Inputs
from pipeline.records.ids import Ids

NUM_VIDEOS = 5


@pytest.mark.parametrize(("limit", "num_chosen"), [(None, 5), (0, 0), (2, 2), (5, 5), (9, 5)])
def test_a_limit_leaves_videos_out_of_what_is_processed_and_not_of_what_the_input_holds(
    limit: int | None, num_chosen: int, tmp_path: Path
) -> None:
    for number in range(NUM_VIDEOS):
        (tmp_path / f"{number}.mp4").write_bytes(b"")
    listing = Listing(Inputs([str(tmp_path)]), RunOptions(limit=limit), planned=Ids())
    assert sum(len(batch) for batch in listing.new_videos()) == num_chosen
    assert len(listing.chosen.ids) == listing.chosen.num_videos == num_chosen
    assert len(listing.videos) == NUM_VIDEOS
    assert listing.videos.find(listing.chosen.ids.to_bytes()).min(initial=0) >= 0
