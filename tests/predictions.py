"""Heads on disk for tests of predictions, and predicting with them in this process, without Ray."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from heads import head_info, network_arrays

from pipeline.extract.predict_operators import HeadBytes, Predicting, Work, parts_of, predict_block, work_blocks
from pipeline.extract.results import PredictedPart
from pipeline.lake.dataset import Dataset, leased
from pipeline.lake.declarations import declare
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending_frames import PendingFrames
from pipeline.lake.predicted_videos import PendingVideos
from pipeline.lake.side_tables import Predictor, check_predictions, predictions_table
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.artifact import digest_of_head, head_bytes
from pipeline.models.heads.files import HEAD_JSON, WEIGHTS
from pipeline.models.heads.head import Head
from pipeline.records.heads import HeadInfo
from pipeline.records.periods import Period
from pipeline.records.shards import WHOLE

ALWAYS = Period()
KEY = ["video_id", "epoch", "time_s", "pts"]


def head_for(lake: Path | str, kind: str = "linear", *, unit: str = "frame", **how: object) -> HeadInfo:
    """A head for the features of a lake."""
    features = LakeFeatures.at(str(lake))
    return head_info(kind, unit=unit, backbones=features.backbones, **how)  # type: ignore[arg-type]


def write_head(folder: Path, info: HeadInfo, *, version: int = 1, seed: int = 0) -> Head:
    """``HEADS/NAME/VERSION``, in use from now on."""
    arrays = network_arrays(info, seed=seed)
    files = head_bytes(info, arrays)
    (folder / str(version)).mkdir(parents=True)
    for name, data in files.items():
        (folder / str(version) / name).write_bytes(data)
    (folder / "current").write_text(f"{version}\n")
    return Head(info, arrays, digest=digest_of_head(files[HEAD_JSON], files[WEIGHTS]))


class Here:
    """Predicts for a lake in this process, by the head in a folder."""

    def __init__(
        self, lake: Path | str, out: Path | str, heads: Path, info: HeadInfo, *, version: int = 1, digest: str = "d"
    ) -> None:
        self.head = write_head(heads / "h", info) if not (heads / "h").exists() else None
        folder = heads / "h" / "1"
        content = tuple((name, (folder / name).read_bytes()) for name in (HEAD_JSON, WEIGHTS))
        self._bytes = HeadBytes(uri=str(folder), content=content)
        self._predictor = Predictor(name="h", version=version, digest=digest, info=info, sample="fps:1")
        self._lake = str(lake)
        self.target = Dataset.at(str(out))

    def run(
        self,
        *,
        period: Period = ALWAYS,
        limit: int | None = None,
        piece_rows: int = 1000,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[PredictedPart]:
        """What a run does; it is killed after ``limit`` parts, and ``meanwhile`` happens before the first of them."""
        lake = LakeFeatures.at(self._lake)
        is_by_file = self._predictor.info.is_each_sample_alone and len(lake.datasets) == 1
        table = predictions_table(self._predictor, growth="appended" if is_by_file else "derived")
        check_predictions(self.target.files, table)
        with leased(self.target, slot=WHOLE) as token:
            declare(self.target.files, table, token=token)
            predicting = Predicting(
                head=self._bytes,
                features=tuple(dataset.files for dataset in lake.datasets),
                target=self.target.files,
                table=table,
                token=token,
            )
            work: Work
            if is_by_file:
                held = Ledger.of(self.target.appended(table.name).settled_parts())
                pending = PendingFrames(lake.datasets[0], lake.videos[0], held, period=period)
                work = [piece for wave in pending.pieces(piece_rows=piece_rows) for piece in wave]
                assert sum(piece.num_samples for piece in work) == pending.num_frames
            else:
                work = list(PendingVideos(lake, self.target.files, period=period).work())
            meanwhile()
            done = (each for block in blocks_of(work) for each in predict_block(block, predicting=predicting))
            return [part for rows in itertools.islice(done, limit) for part in parts_of(rows)]


def blocks_of(work: Work) -> list[pa.Table]:
    """What goes to a worker, where there are two."""
    return work_blocks(work, num_workers=2) if work else []


def predictions(out: Path | str) -> pa.Table:
    """All of them, in order."""
    rows = ds.dataset(Path(str(out)) / "predictions", format="parquet").to_table()
    return rows.sort_by([(name, "ascending") for name in KEY])
