"""What `tandem gap` has measured, on disk: a file for each stage of each lab unit, so that a run can go on later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from calibration.artifacts import write_atomic
from policies.evaluation import wilson_interval
from scripts.programs.calibrate_chain import StepReport

Stage = Literal["before", "after"]


class GapError(ValueError):
    """A folder of `tandem gap` that holds something else than what is asked for."""


class GapPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured. `policy_sha256` is that of the network: another policy of the same name is another plan."""

    policy: str
    policy_sha256: str
    level: str
    seeds: tuple[int, ...]
    episodes: int
    training_episodes: int
    views: int
    poses: int
    rounds: int


class GapAttempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attempt in the lab: what the camera took it for, what really happened, and why it failed."""

    seen: bool
    really: bool
    why: str


class GapCell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The attempts of one unit at one stage."""

    seed: int
    stage: Stage
    attempts: tuple[GapAttempt, ...]
    wall_s: float

    @property
    def successes(self) -> int:
        """How many really succeeded."""
        return sum(a.really for a in self.attempts)


class JointError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a joint stands from where its servo's calibration has it: where that says 0, and in the home pose."""

    joint: str
    zero_deg: float
    home_deg: float


class GapUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One unit's calibration, compared with the truth when all was over. `failed` is why there is none."""

    seed: int
    reports: tuple[StepReport, ...]
    failed: str
    before: tuple[JointError, ...]
    after: tuple[JointError, ...]
    focal_before: float
    focal_after: float
    wall_s: float


class TrainingWorld(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same policy where it was trained."""

    successes: int
    episodes: int


class GapTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything: `gap.json`."""

    plan: GapPlan
    training: TrainingWorld
    cells: tuple[GapCell, ...]
    units: tuple[GapUnit, ...]

    def counted(self, stage: Stage) -> tuple[int, int]:
        """Return (successes, attempts) of a stage over all units."""
        cells = [cell for cell in self.cells if cell.stage == stage]
        return sum(cell.successes for cell in cells), sum(len(cell.attempts) for cell in cells)

    def rate(self, stage: Stage) -> float:
        """Return the success rate of a stage."""
        successes, attempts = self.counted(stage)
        return successes / attempts if attempts else 0.0

    @property
    def not_calibrated(self) -> tuple[int, ...]:
        """Seeds of the labs whose calibration failed."""
        return tuple(unit.seed for unit in self.units if unit.failed)

    @property
    def kept_share(self) -> float:
        """The success after calibration, as a share of that in the training world."""
        rate = self.training.successes / self.training.episodes
        return self.rate("after") / rate if rate else 0.0

    def cell(self, seed: int, stage: Stage) -> GapCell | None:
        """Return one cell, None where it is missing."""
        return next((c for c in self.cells if (c.seed, c.stage) == (seed, stage)), None)


def interval(counted: tuple[int, int]) -> str:
    """Return a count as a rate with its 95 % interval."""
    successes, trials = counted
    low, high = wilson_interval(successes, trials)
    return f"{100 * successes / max(trials, 1):.1f} % ({100 * low:.0f}-{100 * high:.0f}), {successes} of {trials}"


Record = TypeVar("Record", GapPlan, GapCell, GapUnit, TrainingWorld)


class GapFolder:
    """The folder of one measurement; raises GapError where it holds another one."""

    def __init__(self, path: Path, plan: GapPlan) -> None:
        self.path, self.plan = path, plan
        known = self._load(path / "plan.json", GapPlan)
        if known is not None and not _goes_on(known, plan):
            raise GapError(
                f"{path} holds another measurement ({_differs(known, plan)}): give another --out, or remove it"
            )
        self.save("plan.json", plan)

    def seed_folder(self, seed: int) -> Path:
        """Return the folder of one unit."""
        return self.path / f"seed_{seed}"

    def cell(self, seed: int, stage: Stage) -> GapCell | None:
        """Return what has been measured of a stage of a unit."""
        return self._load(self.seed_folder(seed) / f"{stage}.json", GapCell)

    def unit(self, seed: int) -> GapUnit | None:
        """Return the calibration of a unit."""
        return self._load(self.seed_folder(seed) / "calibration.json", GapUnit)

    def training(self) -> TrainingWorld | None:
        """Return what has been measured in the training world."""
        return self._load(self.path / "training.json", TrainingWorld)

    def table(self) -> GapTable | None:
        """Return everything, None while something is missing."""
        training = self.training()
        cells = [self.cell(seed, stage) for seed in self.plan.seeds for stage in ("before", "after")]
        units = [self.unit(seed) for seed in self.plan.seeds]
        found, calibrated = _all(cells), _all(units)
        if training is None or found is None or calibrated is None:
            return None
        return GapTable(self.plan, training, found, calibrated)

    def save(self, name: str, record: GapPlan | GapCell | GapUnit | TrainingWorld | GapTable) -> Path:
        """Write one file, whole or not at all."""
        path = self.path / name
        write_atomic(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
        return path

    @staticmethod
    def _load(path: Path, kind: type[Record]) -> Record | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise GapError(f"{path} cannot be read: {error}; remove it to measure it again") from error


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


Item = TypeVar("Item")


def _all(items: Iterable[Item | None]) -> tuple[Item, ...] | None:
    found = tuple(items)
    return None if any(item is None for item in found) else tuple(item for item in found if item is not None)


def _goes_on(known: GapPlan, plan: GapPlan) -> bool:
    """Whether what was measured under `known` counts for `plan`: more seeds may be added."""
    return msgspec.structs.replace(known, seeds=plan.seeds) == plan


def _differs(known: GapPlan, plan: GapPlan) -> str:
    fields = [f for f in plan.__struct_fields__ if f != "seeds" and getattr(known, f) != getattr(plan, f)]
    return ", ".join(f"{f} {getattr(known, f)!s:.16} instead of {getattr(plan, f)!s:.16}" for f in fields)
