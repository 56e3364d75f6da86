"""Two real people in one picture, through the real model and the whole loop: who engaged keeps the arm."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from perception.body import Landmark, PeopleSighting, Side
from perception.clutch import ClutchPhase
from perception.pose import PoseEstimator, PoseSettings
from perception.teleop_policy import Deadman, TeleopMoment
from scripts.programs.teleop_arm import simulated_arm
from scripts.programs.teleop_controls import TeleopControls
from scripts.programs.teleop_session import Mode, TeleopSession, TeleopSetup
from scripts.programs.teleop_source import RecordedSightings
from tests.landmark_models import frame_of, pose_data
from urdf.description import load_arm

#: Pictures: alone at first, then somebody comes, then the first one leaves.
COMES, LEAVES, END = 15, 30, 42
#: The part of the film in which the person stands [px], and how far ahead in the film the second one is.
CROP, AHEAD = slice(150, 426), 40


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    capture, halves = cv2.VideoCapture(str(pose_data("pose_1.mp4"))), []
    while len(halves) < END + AHEAD and (read := capture.read())[0]:
        halves.append(np.asarray(read[1][:, CROP, ::-1], dtype=np.uint8))
    nobody = np.full_like(halves[0], 128)
    return [
        np.hstack([halves[k] if k < LEAVES else nobody, nobody if k < COMES else halves[k + AHEAD]]) for k in range(END)
    ]


def test_the_one_who_engaged_keeps_the_arm_and_nobody_takes_it_after_them(
    pictures: list[NDArray[np.uint8]], landmark_models: tuple[Path, Path]
) -> None:
    with PoseEstimator(landmark_models[0], settings=PoseSettings(most_people=2)) as estimator:
        seen: list[PeopleSighting] = [estimator.detect(frame_of(rgb, k)) for k, rgb in enumerate(pictures)]
    assert sum(len(sighting.bodies) == 2 for sighting in seen[COMES:LEAVES]) > 10
    assert all(sighting.bodies for sighting in seen[LEAVES + 1 :])
    arm_description = load_arm("dofbot")
    moments: list[TeleopMoment] = []
    with simulated_arm(arm_description, arm_description.rig("table"), real_time=False) as arm:
        setup = TeleopSetup(Mode.TOOL, Side.RIGHT, mirror=False, deadman=Deadman.NONE)
        controls = TeleopControls(arm.clock, (), "d")
        session = TeleopSession(
            arm, setup, RecordedSightings(seen, arm.clock), controls, None, lambda text: None,
            lambda moment, step, notes: moments.append(moment),
        )  # fmt: skip
        assert session.run()
    moving = [moment for moment in moments if moment.state.moves and moment.seen is not None]
    assert len(moving) > 20
    for moment in moving:
        assert moment.seen is not None
        if moment.seen.body is not None:
            shoulders = moment.seen.body.image[[Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER], 0]
            assert shoulders.mean() < 0.5
    assert moments[-1].state.phase is ClutchPhase.HOLDING
    assert "somebody else" in moments[-1].state.reason
