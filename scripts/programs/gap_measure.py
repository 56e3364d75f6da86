"""One lab unit of `tandem gap`: attempts before calibration, the calibration, attempts after it; each is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from calibration.camera_file import CameraCalibration
from calibration.servo import ServoCalibration
from scripts.evaluate import PolicyChoice
from scripts.programs.calibrate_chain import KNOWN_TROUBLE, Chain, ChainSettings
from scripts.programs.calibrated_camera import DESK_CAMERA
from scripts.programs.gap_record import GapAttempt, GapCell, GapFolder, GapUnit, JointError, Stage
from scripts.programs.lab_unit import LabUnit, nominal_calibration
from scripts.programs.quick_lab import SERIAL, QuickLab
from scripts.programs.quick_run import QuickAttempt, QuickRun
from sim.lab_scene import LAB_INTRINSICS
from sim.lab_truth import LabTruth, TruthFile
from urdf.description import ArmDescription, Rig

#: Called with a stage and what came of one piece of it.
Advance = Callable[[str, str], None]


class UnitMeasurement:
    """Everything about one seed. What its folder holds already is not measured again."""

    def __init__(self, folder: GapFolder, choice: PolicyChoice, seed: int, advance: Advance) -> None:
        self._folder, self._choice, self._seed, self._advance = folder, choice, seed, advance
        self._home = folder.seed_folder(seed)
        self._unit = LabUnit(choice.arm, choice.rig, seed, folder.plan.level)

    def run(self) -> None:
        """Measure what is missing."""
        if self._folder.cell(self._seed, "before") is None:
            self._attempts("before")
        if self._folder.unit(self._seed) is None:
            self._calibrate()
        if self._folder.cell(self._seed, "after") is None:
            self._attempts("after")

    def _lab(self, stage: Stage) -> QuickLab:
        """Return the unit's lab; before calibration its data folder holds nothing that was measured."""
        data = self._home / ("uncalibrated" if stage == "before" else "calibrated")
        lab = QuickLab(self._unit, data, self._home / stage)
        measured = CameraCalibration.find(DESK_CAMERA, SERIAL, lab.description, data)
        lab.painter.says = LAB_INTRINSICS if measured is None else measured.intrinsics()
        return lab

    def _attempts(self, stage: Stage) -> None:
        began_s = time.monotonic()
        lab = self._lab(stage)
        try:
            run = QuickRun(lab, self._choice)
            try:
                done = run.attempts(self._folder.plan.episodes, lambda a: self._advance(stage, _words(a)))
            finally:
                run.close()
        finally:
            lab.close()
        attempts = tuple(GapAttempt(a.seen.success, a.really, a.seen.why) for a in done)
        cell = GapCell(self._seed, stage, attempts, round(time.monotonic() - began_s, 1))
        self._folder.save(f"seed_{self._seed}/{stage}.json", cell)

    def _calibrate(self) -> None:
        """Run the chain; a unit that cannot be calibrated keeps what it has, and is told as such."""
        plan, began_s = self._folder.plan, time.monotonic()
        lab, failed = self._lab("after"), ""
        before = nominal_calibration(lab.description, SERIAL)
        settings = ChainSettings(plan.views, plan.poses, plan.rounds, seed=self._seed)
        chain = Chain(lab.workplace(), settings, lambda words: self._advance("calibration", words))
        try:
            chain.run()
        except KNOWN_TROUBLE as error:
            failed = str(error)
        finally:
            lab.close()
        truth = TruthFile.load(lab.truth_path).truth
        after = ServoCalibration.load(SERIAL, lab.description, lab.data)
        real_px, said_px = truth.camera.intrinsics(LAB_INTRINSICS).fx_px, (chain.lens or LAB_INTRINSICS).fx_px
        unit = GapUnit(
            seed=self._seed,
            reports=tuple(chain.reports),
            failed=failed,
            before=joint_errors(truth, before, before, lab.description, lab.rig),
            after=joint_errors(truth, before, after, lab.description, lab.rig),
            focal_before=LAB_INTRINSICS.fx_px / real_px - 1.0,
            focal_after=said_px / real_px - 1.0,
            wall_s=round(time.monotonic() - began_s, 1),
        )
        self._folder.save(f"seed_{self._seed}/calibration.json", unit)


def joint_errors(
    truth: LabTruth, counts: ServoCalibration, believed: ServoCalibration, description: ArmDescription, rig: Rig
) -> tuple[JointError, ...]:
    """Return how far each joint stands from where `believed` has it; `counts` is how the unit's servos count."""
    servos = truth.servos(description.gripper.open_rad)

    def off_deg(believed_rad: np.ndarray) -> np.ndarray:
        ticks = [j.zero_ticks + j.ticks_per_rad * float(q) for j, q in zip(believed.joints, believed_rad, strict=True)]
        return np.degrees(servos.joint_rad(counts.to_rad(ticks)) - believed_rad)

    zero, home = off_deg(np.zeros(len(believed.joints))), off_deg(np.asarray(rig.home_rad))
    rows = zip(description.joint_names, zero.tolist(), home.tolist(), strict=True)
    return tuple(JointError(name, round(z, 4), round(h, 4)) for name, z, h in rows)


def worst_zero_deg(units: tuple[GapUnit, ...], joints: tuple[str, ...]) -> float:
    """Return the largest error of a zero of these joints after calibration, over all units."""
    errors = [abs(j.zero_deg) for unit in units for j in unit.after if j.joint in joints]
    return max(errors) if errors else math.nan


def _words(attempt: QuickAttempt) -> str:
    return "lifted" if attempt.really else "failed"
