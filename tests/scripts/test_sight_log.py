"""A measurement of the servos by camera that is stopped half way goes on, if nothing was changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.boards import GRIPPER, desk_from_board
from calibration.errors import BadArtifact, CalibrationError
from calibration.marker_problem import PlaceReference
from calibration.servo import ServoCalibration
from scripts.programs.lab_unit import LabUnit
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import SERIAL, QuickLab
from scripts.programs.servo_sight import ServoSight, SightSetup
from scripts.programs.sight_log import KeptSights, SightLog
from sim.lab_scene import LAB_INTRINSICS

POSES = 6


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[QuickLab]:
    lab = QuickLab(LabUnit("dofbot", "table", 5, "mild"), tmp_path / "data", tmp_path / "out")
    yield lab
    lab.close()


def sight_of(lab: QuickLab) -> ServoSight:
    """Return a new measurement, as a new process would begin it."""
    before = ServoCalibration.load(SERIAL, lab.description, lab.data)
    marker = GRIPPER.markers[0]
    board = lab.rig.desk_from_base.inverse() @ desk_from_board(lab.rig)
    setup = SightSetup(
        lab.description, lab.rig, before, marker, PlaceReference(marker.target_from_marker, 0.002, 0.005),
        PlaceReference(board, 0.001, 0.0035),
    )  # fmt: skip
    step_rad = np.array([1.0 / abs(joint.ticks_per_rad) for joint in before.joints])
    return ServoSight(setup, PosedArm(lab.robot or lab.connect(), step_rad, clock=lab.clock), lab.camera)


def shift(kept: KeptSights, by_px: float, markers: list[int]) -> None:
    """Have some markers of the board seen farther to the right."""
    for number in markers:
        for corners in kept.board_px[number]:
            for pixel in corners:
                pixel[0] += by_px


class Stopping:
    """Presses Ctrl-C after so many poses, and remembers how many there were."""

    def __init__(self, after: int = 10**6) -> None:
        self.after, self.visited = after, 0

    def __call__(self, visited: int, planned: int, words: str) -> None:
        self.visited = visited
        if words and visited >= self.after:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_with_its_plan_and_what_it_saw(lab: QuickLab) -> None:
    log, first = SightLog(SERIAL, lab.data), sight_of(lab)
    with pytest.raises(KeyboardInterrupt):
        log.visit(first, POSES, 3, Stopping(after=3))
    kept = log.load()
    assert kept is not None
    assert kept.visited == 3
    second, counted = sight_of(lab), Stopping()
    log.visit(second, POSES, 99, counted)  # another seed would have made another plan
    assert counted.visited == len(kept.poses_rad)
    assert len(second.seen.samples) + len(second.seen.skipped) == len(kept.poses_rad)
    for old, new in zip(first.seen.samples, second.seen.samples[: len(first.seen.samples)], strict=True):
        np.testing.assert_array_equal(new.corners, old.corners)
        np.testing.assert_array_equal(new.servo_rad, old.servo_rad)
    log.finish()
    assert log.load() is None
    assert log.path.with_name("servo_vision_samples.json").exists()


def test_what_was_seen_of_another_marker_or_from_another_place_does_not_count(lab: QuickLab) -> None:
    log, first = SightLog(SERIAL, lab.data), sight_of(lab)
    with pytest.raises(KeyboardInterrupt):
        log.visit(first, POSES, 3, Stopping(after=2))
    other = sight_of(lab)
    other.setup = replace(other.setup, marker=replace(other.setup.marker, size_m=0.030))
    with pytest.raises(BadArtifact, match=r"another marker than now.*--fresh"):
        log.visit(other, POSES, 3, Stopping())
    lens = replace(LAB_INTRINSICS, fx_px=LAB_INTRINSICS.fx_px + 5.0)
    lab.painter.says = lens
    with pytest.raises(BadArtifact, match="another lens"):
        log.visit(sight_of(lab), POSES, 3, Stopping())
    lab.painter.says = LAB_INTRINSICS
    kept = log.load()
    assert kept is not None
    shift(kept, 200.0, list(kept.board_px)[:1])
    again = sight_of(lab)
    kept.restore(again.seen)
    again.look_again()  # one marker was misread: no camera was moved
    shift(kept, 4.0, list(kept.board_px))
    log.path.write_bytes(msgspec.json.encode(kept))
    with pytest.raises(CalibrationError, match="camera or the board was moved"):
        log.visit(sight_of(lab), POSES, 3, Stopping())
    log.path.write_text("{")
    with pytest.raises(BadArtifact, match="--fresh"):
        log.visit(sight_of(lab), POSES, 3, Stopping())
