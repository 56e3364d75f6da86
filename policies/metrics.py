"""What a training run writes down as it goes: one JSON object a line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from calibration.artifacts import write_atomic


class TrainRow(msgspec.Struct, frozen=True, tag="train", tag_field="kind", forbid_unknown_fields=True):
    """The training episodes since the row before: exploring, so worse than the policy itself.

    `learner` is what the updates since then said of themselves. `stage` is the number of the curriculum's stage at the
    end; None without one.
    """

    decisions: int
    episodes: int
    updates: int
    wall_s: float
    success_rate: float
    mean_return: float
    mean_decisions: float
    learner: dict[str, float]
    stage: int | None = None


class EvaluationRow(msgspec.Struct, frozen=True, tag="evaluation", tag_field="kind", forbid_unknown_fields=True):
    """One evaluation of the deterministic policy."""

    decisions: int
    wall_s: float
    successes: int
    episodes: int
    mean_return: float
    mean_decisions: float

    @property
    def success_rate(self) -> float:
        """Share of episodes that succeeded."""
        return self.successes / self.episodes


Row = TrainRow | EvaluationRow


class MetricsFile:
    """`metrics.jsonl` of a run, one line per row, flushed as it is written."""

    def __init__(self, path: Path, keep_until: int | None = None) -> None:
        """Open the file; on a resumed run drop the rows after decision `keep_until`: they will be made again."""
        rows = [] if keep_until is None or not path.exists() else read_metrics(path)
        kept = [msgspec.json.encode(r) + b"\n" for r in rows if keep_until is not None and r.decisions <= keep_until]
        write_atomic(path, b"".join(kept))
        self._file = path.open("ab")

    def write(self, row: Row) -> None:
        """Append one row; raises OSError where there is no room for it: then it is written with the next."""
        self._file.write(msgspec.json.encode(row) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[Row]:
    """Return the rows of a metrics file; a last line cut off by a crash is left out."""
    lines = path.read_bytes().split(b"\n")
    return [msgspec.json.decode(line, type=Row) for line in lines[:-1] if line]
