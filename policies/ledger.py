"""The books of a training run: counters, metrics, TensorBoard and the progress that people see."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from torch.utils.tensorboard import SummaryWriter

from policies.checkpoint import Counters
from policies.config import TrainConfig
from policies.evaluation import EvaluationResult
from policies.films import EncodedPicture, Film
from policies.metrics import EvaluationRow, MetricsFile, Row, TrainRow, read_metrics
from policies.pace import Pace
from policies.workers import EpisodeRecord

#: Episodes behind the success rate of the progress line.
_RECENT = 100
#: Decisions between two rows of training metrics.
_ROW_EVERY = 250
_PROGRESS_EVERY_S = 0.25
_NOTHING_YET = Counters(0, 0, 0, 0.0, 0, None, 0, 0)

Phase = Literal["train", "evaluate", "film", "export"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `success_rate` and `mean_return` are of the last training episodes: exploring, so worse.

    `scalars` is what the learner said of its last updates, by name. The rates are of the last seconds of learning.
    `eta_s` is the time to the end of the budget: the run ends earlier when it is good enough. None: not known yet.
    """

    phase: Phase
    decisions: int
    max_decisions: int
    episodes: int
    updates: int
    success_rate: float | None
    mean_return: float | None
    evaluations: tuple[EvaluationRow, ...]
    scalars: Mapping[str, float]
    stage: int | None
    decisions_per_s: float | None
    updates_per_s: float | None
    wall_s: float
    eta_s: float | None


class Ledger:
    """Keeps `counters` up to date and writes them where they belong. `resumed` holds those of a checkpoint.

    A disk that is full when the run is under way ends no run: `on_note` is told.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        resumed: Counters | None,
        on_progress: Callable[[Progress], None],
        on_note: Callable[[str], None],
    ) -> None:
        self.counters = resumed or _NOTHING_YET
        self._config, self._on_progress, self._on_note = config, on_progress, on_note
        metrics = folder / "metrics.jsonl"
        self._metrics = MetricsFile(metrics, resumed.decisions if resumed else None)
        # Of a resumed run, what came after the checkpoint will come again.
        purge = resumed.decisions + 1 if resumed else None
        self._board: SummaryWriter | None = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        self._recent: deque[EpisodeRecord] = deque(maxlen=_RECENT)
        self._row: list[EpisodeRecord] = []
        self._row_at = self._began_at = self.counters.decisions
        self._wall_before_s = self.counters.wall_s
        self._start_s = self._began_s = self._shown_s = time.monotonic()
        self._pace = Pace()
        self._evaluations = tuple(row for row in read_metrics(metrics) if isinstance(row, EvaluationRow))
        self._scalars: Mapping[str, float] = {}
        self._stage: int | None = None

    def close(self) -> None:
        """Close the files."""
        try:
            self._metrics.close()
        except OSError as error:
            self._on_note(f"the last rows of metrics could not be written: {error}")
        self._on_board(SummaryWriter.close)

    def begin_learning(self) -> None:
        """Start the clock behind the time that remains: starting the workers says nothing about it."""
        self._began_s = time.monotonic()

    def count(self, decisions: int, updates: int, finished: list[EpisodeRecord]) -> None:
        """Take in where the learner stands and the episodes that ended."""
        self._recent.extend(finished)
        self._row.extend(finished)
        self.counters = msgspec.structs.replace(
            self.counters,
            decisions=decisions,
            episodes=self.counters.episodes + len(finished),
            updates=updates,
            wall_s=self._wall_before_s + time.monotonic() - self._start_s,
        )

    # Progress --------------------------------------------------------------------------------------------------------
    def show(self, phase: Phase) -> None:
        """Report the progress."""
        self._shown_s = time.monotonic()
        counters, budget = self.counters, self._config.max_decisions
        spent_s = self._shown_s - self._began_s
        rate = (counters.decisions - self._began_at) / spent_s if spent_s > 0 else 0.0
        self._pace.take_in(self._shown_s, counters.decisions, counters.updates, learning=phase == "train")
        recent = self._recent
        progress = Progress(
            phase=phase,
            decisions=counters.decisions,
            max_decisions=budget,
            episodes=counters.episodes,
            updates=counters.updates,
            success_rate=sum(e.success for e in recent) / len(recent) if recent else None,
            mean_return=sum(e.total for e in recent) / len(recent) if recent else None,
            evaluations=self._evaluations,
            scalars=self._scalars,
            stage=self._stage,
            decisions_per_s=self._pace.decisions_per_s,
            updates_per_s=self._pace.updates_per_s,
            wall_s=counters.wall_s,
            eta_s=max(0.0, (budget - counters.decisions) / rate) if rate > 0 else None,
        )
        self._on_progress(progress)

    def show_now_and_then(self) -> None:
        """Report the progress when the last report is a while ago."""
        if time.monotonic() - self._shown_s >= _PROGRESS_EVERY_S:
            self.show("train")

    # Rows ------------------------------------------------------------------------------------------------------------
    @property
    def row_is_due(self) -> bool:
        """Whether enough has happened for a row of training metrics."""
        return self.counters.decisions - self._row_at >= _ROW_EVERY

    def write_row(self, scalars: Mapping[str, float], stage: int | None) -> None:
        """Write the training episodes since the last row, and the curriculum's present stage when there is one.

        `scalars` is what the learner says of its updates since then.
        """
        episodes, counters = self._row, self.counters
        self._row, self._row_at = [], counters.decisions
        self._scalars, self._stage = dict(scalars), stage
        if not episodes:
            return
        row = TrainRow(
            decisions=counters.decisions,
            episodes=counters.episodes,
            updates=counters.updates,
            wall_s=counters.wall_s,
            success_rate=float(np.mean([e.success for e in episodes])),
            mean_return=float(np.mean([e.total for e in episodes])),
            mean_decisions=float(np.mean([e.decisions for e in episodes])),
            learner=dict(scalars),
            stage=stage,
        )
        self._keep(row)
        said = {
            "success_rate": row.success_rate,
            "return": row.mean_return,
            "decisions": row.mean_decisions,
        }
        said |= {"stage": float(stage)} if stage is not None else {}
        self._show_on_board("train", said)
        self._show_on_board("learner", scalars)

    def write_evaluation(self, judged: EvaluationResult) -> bool:
        """Write an evaluation and count it; return whether it is the best so far."""
        counters = self.counters
        score = (judged.success_rate, judged.mean_return)
        best = counters.best_score is None or score >= counters.best_score
        good = judged.success_rate >= self._config.stop_success_rate
        self.counters = msgspec.structs.replace(
            counters,
            last_evaluation=counters.decisions,
            streak=counters.streak + 1 if good else 0,
            best_score=score if best else counters.best_score,
            best_decisions=counters.decisions if best else counters.best_decisions,
        )
        row = EvaluationRow(
            decisions=counters.decisions,
            wall_s=counters.wall_s,
            successes=judged.successes,
            episodes=judged.episodes,
            mean_return=judged.mean_return,
            mean_decisions=judged.mean_decisions,
        )
        self._keep(row)
        self._evaluations += (row,)
        self._show_on_board("evaluation", {"success_rate": judged.success_rate, "return": judged.mean_return})
        return best

    def _keep(self, row: Row) -> None:
        try:
            self._metrics.write(row)
        except OSError as error:
            self._on_note(f"a row of metrics waits for the next: {error}")

    def _show_on_board(self, group: str, values: Mapping[str, float]) -> None:
        def show(board: SummaryWriter) -> None:
            for name, value in values.items():
                board.add_scalar(f"{group}/{name}", value, self.counters.decisions)

        self._on_board(show)

    def _on_board(self, write: Callable[[SummaryWriter], None]) -> None:
        if self._board is None:
            return
        try:
            write(self._board)
        except OSError as error:
            self._board = None  # its thread ended with the error, and takes no more
            self._on_note(f"TensorBoard shows no more of this run until it is resumed: {error}")

    # Pictures --------------------------------------------------------------------------------------------------------
    def show_film(self, film: Film) -> None:
        """Put a film on the board, with the picture that the policy read."""
        self._show_picture("film", film.episode)
        if film.seen is not None:
            self._show_picture("seen", film.seen)

    def _show_picture(self, group: str, picture: EncodedPicture) -> None:
        image = Summary.Image(
            height=picture.height_px, width=picture.width_px, colorspace=3, encoded_image_string=picture.data
        )
        summary = Summary(value=[Summary.Value(tag=f"{group}/{picture.name}", image=image)])
        # The writer's own methods for images know no GIF: they encode pixels.

        def show(board: SummaryWriter) -> None:
            assert board.file_writer is not None
            board.file_writer.add_summary(summary, self.counters.decisions)

        self._on_board(show)
