"""Hand-eye calibration against the truth of made-up samples, and against OpenCV's closed forms on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from calibration.errors import BadSamples
from calibration.hand_eye import calibrate_hand_eye
from calibration.hand_eye_model import HandEyeNoise
from calibration.hand_eye_start import closed_form, see_board
from scripts.programs.figures import Row, at_most
from scripts.programs.hand_eye_trials import INTRINSICS, Reading, Trial, TrialMaker, read_counts, read_degrees
from urdf.description import ArmDescription, load_arm

_TRIALS, _POSES, _PIXEL_PX = 20, 15, 0.3
_CLOSED_FORMS = ("TSAI", "PARK", "HORAUD", "DANIILIDIS")


@dataclass(slots=True)
class Tally:
    """Errors of every trial, (millimetres, degrees): ours, and those of each closed form."""

    ours: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    closed: dict[str, list[tuple[float, float]]] = field(default_factory=dict[str, list[tuple[float, float]]])

    def median(self) -> tuple[float, float]:
        """Return our median errors."""
        way_mm, turn_deg = np.median(np.array(self.ours), axis=0)
        return float(way_mm), float(turn_deg)

    def best_closed_mm(self) -> tuple[str, float]:
        """Return the closed form whose median is the smallest, and that median."""
        medians = {name: float(np.median([e[0] for e in errors])) for name, errors in self.closed.items()}
        name = min(medians, key=lambda n: medians[n])
        return name, medians[name]


def rows_of(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return the rows of both ways to read joints."""
    description = load_arm("dofbot")
    rows: list[Row] = []
    for what, reading, step_deg, bars in (
        ("raw counts", read_counts, 180 / 2200, (0.5, 0.1, 0.2)),
        ("whole degrees", read_degrees, 1.0, (2.0, math.nan, 0.5)),
    ):
        tally = tally_of(description, reading, math.radians(step_deg), _TRIALS, on_progress)
        rows += _rows(what, tally, bars)
    return rows


def tally_of(
    description: ArmDescription,
    reading: Reading,
    step_rad: float,
    trials: int,
    on_progress: Callable[[str, float], None],
) -> Tally:
    """Return the errors of so many trials of 15 poses; the same number draws the same trials."""
    maker, tally = TrialMaker(description, reading, _PIXEL_PX), Tally()
    noise = HandEyeNoise.of_read_back(_PIXEL_PX, [step_rad] * description.arm_joint_count)
    for number in range(trials):
        trial = maker.draw(_POSES, np.random.default_rng(number))
        found = calibrate_hand_eye(description, trial.mount, trial.samples, INTRINSICS, noise)
        tally.ours.append(trial.errors(found.pose))
        for name, errors in closed_errors(description, trial).items():
            tally.closed.setdefault(name, []).append(errors)
        on_progress("hand-eye", (number + 1) / trials)
    return tally


def closed_errors(description: ArmDescription, trial: Trial) -> dict[str, tuple[float, float]]:
    """Return the errors of OpenCV's closed forms on a trial's samples, joints read as ours are."""
    tools = [description.base_from_tool(s.joints_rad) for s in trial.samples]
    boards = [see_board(s, INTRINSICS).camera_from_board for s in trial.samples]
    errors: dict[str, tuple[float, float]] = {}
    for name in _CLOSED_FORMS:
        try:
            errors[name] = trial.errors(closed_form(tools, boards, trial.mount, name))
        except BadSamples:
            errors[name] = (math.inf, math.inf)
    return errors


def _rows(what: str, tally: Tally, bars: tuple[float, float, float]) -> list[Row]:
    way_mm, turn_deg = tally.median()
    name, closed_mm = tally.best_closed_mm()
    where = f"hand-eye, {_POSES} poses, {_PIXEL_PX} px, {what}"
    told = f"{_TRIALS} trials of a Dofbot's chain, camera in the hand (f = 350 px), 6 x 4 board at 0.2 m"
    rows = [at_most(f"{where}: position, median", way_mm, "mm", bars[0], told)]
    if math.isfinite(bars[1]):
        rows.append(at_most(f"{where}: rotation, median", turn_deg, "deg", bars[1], told))
    against = f"{name}'s median is {closed_mm:.2f} mm; Tsai, Park, Horaud, Daniilidis tried; joints read as ours"
    return [*rows, at_most(f"{where}: position / best closed form", way_mm / closed_mm, "", bars[2], against)]
