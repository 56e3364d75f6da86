"""What a demo leaves behind in numbers, and which promises it keeps."""

from __future__ import annotations

import math

import msgspec

from scripts.evaluate import EvaluateSummary
from scripts.run import RunSummary
from scripts.train import TrainSummary

EVALUATION_BAR = 0.95
LAB_BAR = 17 / 20
AGREEMENT_BAR = 19 / 20


class StageTimes(msgspec.Struct, forbid_unknown_fields=True):
    """Wall-clock seconds of each stage; None for one that did not run."""

    train_s: float | None = None
    evaluate_s: float | None = None
    lab_s: float | None = None
    film_s: float | None = None
    total_s: float = 0.0


class DemoSummary(msgspec.Struct, forbid_unknown_fields=True):
    """`summary.json`. `train`, `evaluate` and `run` are the JSON lines of those commands; None where not done."""

    policy: str
    rig: str
    seed: int
    started_utc: str
    machine: str
    git_commit: str
    versions: dict[str, str]
    train: TrainSummary | None = None
    evaluate: EvaluateSummary | None = None
    run: RunSummary | None = None
    wall: StageTimes = msgspec.field(default_factory=StageTimes)

    def shortfalls(self) -> list[str]:
        """Return what was promised and not met, in sentences; empty when all is well."""
        found: list[str] = []
        if self.evaluate is not None and self.evaluate.success_rate < EVALUATION_BAR:
            rate = 100 * self.evaluate.success_rate
            found.append(
                f"evaluation: {rate:.1f} % of the episodes succeeded, {100 * EVALUATION_BAR:.0f} % are asked for"
            )
        if self.run is not None:
            asked = math.ceil(LAB_BAR * self.run.episodes - 1e-9)
            if self.run.successes < asked:
                found.append(f"lab: {self.run.successes} of {self.run.episodes} succeeded, {asked} are asked for")
            asked = math.floor(AGREEMENT_BAR * self.run.episodes + 1e-9)
            if self.run.agreements is not None and self.run.agreements < asked:
                agreed = f"{self.run.agreements} of {self.run.episodes}"
                found.append(f"camera and truth agree on {agreed} attempts, {asked} are asked for")
        return found
