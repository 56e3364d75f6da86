"""The command's own work, on the lab in one process: real servo bytes, rendered pictures of a printed board."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.board_spec import find_board
from calibration.errors import CalibrationError, RoutineStopped
from calibration.hand_eye_file import HandEyeCalibration
from calibration.hand_eye_model import HandEyeNoise
from calibration.hand_eye_poses import HandEyePlanner
from calibration.hand_eye_routine import HandEyeRoutine, HandEyeSetup
from calibration.hand_eye_sample import Mount
from calibration.servo import ServoCalibration
from scripts.calibrate_hand_eye import CalibrateHandEyeArgs, finish, run
from scripts.programs.hand_eye_by_hand import HandEyeByHand
from scripts.programs.hand_eye_run import BoardPattern, HandEyeRun
from scripts.programs.lab_unit import LabUnit
from scripts.programs.posing import PosedArm
from scripts.programs.quick_lab import QuickLab
from tests.scripts.hand_eye_scene import LENS, HandCamera, looking_down
from urdf.pose import Pose

START_RAD = np.radians([0.0, 10.0, -55.0, -75.0, 0.0])
TURNS = [[0, 0, 0, 0, 10], [0, 0, 0, 8, -10], [5, 0, 0, -6, 15]]


class Scene:
    """An arm with a camera in its hand before a printed board, ready to be calibrated."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.lab = QuickLab(LabUnit("dofbot", "table", 3, "0"), self.data, folder / "out")
        arm = self.lab.description
        servos = ServoCalibration.load("lab", arm, self.data)
        self.step_rad = np.array([1 / abs(j.ticks_per_rad) for j in servos.joints])
        self.arm = PosedArm(self.lab.connect(), self.step_rad, clock=self.lab.clock)
        self.camera_truth, sheet = looking_down(self.lab, START_RAD, 0.15)
        self.camera = HandCamera(self.lab, self.camera_truth, sheet)
        noise = HandEyeNoise.of_read_back(0.3, self.step_rad[:5])
        self.setup = HandEyeSetup(arm, "lab", "wrist", LENS, Mount.EYE_IN_HAND, "charuco", noise)

    def run_on(self) -> HandEyeRun:
        pattern = BoardPattern(find_board("charuco"))
        setup = self.setup
        planner = HandEyePlanner(
            setup.description, self.lab.rig, setup.mount, pattern.object_m, setup.intrinsics, setup.noise
        )
        routine = HandEyeRoutine(setup, self.data)
        return HandEyeRun(routine, self.arm, self.step_rad, self.camera, pattern, planner)

    def error_mm(self, pose: Pose) -> float:
        return 1000 * float(np.linalg.norm(pose.position_m - self.camera_truth.position_m))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(tmp_path_factory.mktemp("hand_eye"))
    yield scene
    scene.lab.close()


def stop_after(count: int, words: list[str]) -> None:
    words.append("sample")
    if len(words) == count:
        raise KeyboardInterrupt


def test_the_arm_drives_itself_is_interrupted_goes_on_and_ends_with_file_report_and_picture(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, told = scene.run_on(), list[str]()
    first.go_to(START_RAD)
    with pytest.raises(KeyboardInterrupt):
        first.run(6, np.random.default_rng(0), lambda words: stop_after(3, told))
    again = scene.run_on()
    assert len(again.routine.samples) == 3
    found = again.run(6, np.random.default_rng(0), told.append)
    assert len(again.routine.samples) == 6
    assert scene.error_mm(found.pose) < 0.5
    assert scene.error_mm(found.pose) < 4000 * found.position_sigma_m
    assert math.degrees(found.span.largest_rad) > 30.0

    monkeypatch.setenv("TANDEM_DATA", str(scene.data))
    assert finish(CalibrateHandEyeArgs(json=True), again.routine, found, again.skipped) == 0
    out = capsys.readouterr()
    report = json.loads(out.out.splitlines()[-1])
    assert report["samples"] == 6
    assert Path(report["picture"]).read_bytes().startswith(b"\x89PNG")
    saved = HandEyeCalibration.load("wrist", "lab", scene.setup.description, scene.data)
    assert saved.position_m == pytest.approx(np.array(report["position_mm"]) / 1000)
    assert "The camera is at" in out.err
    assert not scene.run_on().routine.samples


def test_by_hand_a_person_says_when_and_an_arm_that_still_moves_is_refused(scene: Scene) -> None:
    poses = [np.append(START_RAD + np.radians(turn), scene.arm.target_rad[-1]) for turn in TURNS]
    asked: list[str] = []
    heard: list[str] = []

    def agrees(text: str) -> bool:
        if len(asked) == len(poses):
            return False
        scene.arm.move_to(poses[len(asked)])
        asked.append(text)
        if len(asked) > 1:  # the first time the person says so too early
            scene.arm.stand()
        return True

    routine = HandEyeRoutine(scene.setup, scene.data)
    by_hand = HandEyeByHand(
        routine, scene.arm.robot, scene.step_rad, scene.camera, BoardPattern(find_board("charuco")), scene.lab.clock
    )
    with pytest.raises(RoutineStopped, match="2 of 9 samples, which are kept"):
        by_hand.run(9, agrees, heard.append)
    assert "arm moved" in heard[0] or "picture moved" in heard[0]
    assert asked[0].startswith("9 to go")
    assert len(HandEyeRoutine(scene.setup, scene.data).samples) == 2
    routine.finish()


def test_a_board_out_of_sight_ends_it_with_what_to_do(scene: Scene) -> None:
    there, _ = looking_down(scene.lab, START_RAD, 0.15)
    scene.camera = HandCamera(scene.lab, there, Pose.from_rpy([0.0, -0.5, 0.0], [0.0, 0.0, 0.0]))
    with pytest.raises(CalibrationError, match="Move the arm so that the camera sees the whole board"):
        scene.run_on().run(8, np.random.default_rng(0), lambda words: None)
    with pytest.raises(CalibrationError, match="a start of 3 angles: dofbot has 5 joints"):
        scene.run_on().go_to(np.zeros(3))
    with pytest.raises(CalibrationError, match="outside the joint limits"):
        scene.run_on().go_to(np.full(5, 2.0))
    with pytest.raises(CalibrationError, match="too near to desk or arm"):
        scene.run_on().go_to(np.radians([0.0, -85.0, -60.0, -20.0, 0.0]))


def test_an_arm_that_lies_low_goes_by_home_to_where_it_begins(scene: Scene) -> None:
    low_rad = np.radians([31.0, -50.0, -27.0, -88.0, 32.0, -21.0])
    start_rad = np.radians([12.0, -39.0, -45.0, -61.0, 24.0])
    scene.arm.move_to(low_rad)
    run = scene.run_on()
    run.go_to(start_rad)
    np.testing.assert_allclose(scene.arm.stand().reading_rad[:5], start_rad, atol=math.radians(1.0))


@pytest.mark.parametrize(
    "args",
    [
        CalibrateHandEyeArgs(poses=3),
        CalibrateHandEyeArgs(joint_sigma_deg=-1.0),
        CalibrateHandEyeArgs(start_deg=(0.0, math.nan, 0.0, 0.0, 0.0)),
    ],
)
def test_wrong_arguments_are_told_before_anything_moves(args: CalibrateHandEyeArgs) -> None:
    assert run(args) == 2
