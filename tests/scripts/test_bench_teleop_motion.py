from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.body import PeopleSighting, Side
from perception.body_filter import BodyFilter
from perception.limb import limb_of
from perception.pose import PoseEstimator
from scripts.programs.bench_teleop_motion import filter_rows, jerk_rms, lag_s, posture_rows, speed_rows, tool_paths
from scripts.programs.pose_track import Waypoint, pose_track
from tests.landmark_models import frame_of, pose_data


def test_the_jerk_of_a_cubic_is_six_times_its_factor_at_any_rate() -> None:
    stamps_s = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.05, 60))
    path_m = np.stack((0.5 * stamps_s**3, 4 * stamps_s**2, np.ones(60)), axis=1)
    steady_s = np.arange(60) / 30
    steady_m = np.stack((0.5 * steady_s**3, 4 * steady_s**2, np.ones(60)), axis=1)
    assert jerk_rms(steady_s, steady_m) == pytest.approx(3.0)
    assert jerk_rms(stamps_s, path_m) == pytest.approx(3.0, rel=0.5)


@pytest.mark.parametrize("late_s", [0.0, 0.017, 0.120])
def test_the_lag_is_found_to_the_millisecond(late_s: float) -> None:
    stamps_s = np.arange(0, 6, 1 / 30)

    def path_m(at_s: np.ndarray) -> np.ndarray:
        return np.stack((np.sin(2 * at_s), np.cos(3.1 * at_s), np.sin(1.3 * at_s)), axis=1)

    assert lag_s(stamps_s, path_m(stamps_s), path_m(stamps_s - late_s)) == pytest.approx(late_s, abs=0.0025)


def test_both_paths_hold_the_same_moments_and_hidden_limbs_are_in_neither() -> None:
    still = (0.1, 0.3, 0.0)
    waypoints = [
        Waypoint(0, still),
        Waypoint(1, (0.2, 0.3, 0.1)),
        Waypoint(2, still, present=False),
        Waypoint(3, still),
    ]
    track = pose_track(waypoints, Side.RIGHT, np.random.default_rng(0))
    stamps_s, raw_m, filtered_m = tool_paths(track, Side.RIGHT)
    assert len(stamps_s) == len(raw_m) == len(filtered_m) == 61
    assert (np.diff(stamps_s) > 0).all()
    assert np.abs(raw_m - filtered_m).max() < 0.02


def test_the_filter_smooths_a_noisy_person_and_says_how_late() -> None:
    rng = np.random.default_rng(2)
    places = rng.uniform((-0.1, 0.25, -0.2), (0.25, 0.4, 0.2), (14, 3)).tolist()
    track = pose_track([Waypoint(0.8 * k, (x, y, z)) for k, (x, y, z) in enumerate(places)], Side.RIGHT, rng)
    jerk, lag = filter_rows(track, "a scripted track")
    assert jerk.holds
    assert lag.value is not None
    assert 5 < lag.value < 150
    assert "a scripted track" in jerk.baseline


def test_on_a_real_video_both_bars_hold_and_no_arm_is_lost(landmark_models: tuple[Path, Path]) -> None:
    film = cv2.VideoCapture(str(pose_data("pose_1.mp4")))
    track: list[PeopleSighting] = []
    with PoseEstimator(landmark_models[0]) as estimator:
        while (read := film.read())[0]:
            rgb = np.asarray(read[1][:, :, ::-1], dtype=np.uint8)
            track.append(estimator.detect(frame_of(rgb, len(track))))
    assert [row.figure for row in filter_rows(track, "the video") if not row.holds] == []
    landmarks = BodyFilter()
    for sighting in track:
        body = landmarks.update(sighting.stamp_ns, sighting.bodies[0], sighting.aspect)
        assert body is not None
        assert all(limb_of(body, side, sighting.aspect) is not None for side in Side)


def test_every_known_pose_holds() -> None:
    (row,) = posture_rows()
    assert row.holds
    assert row.bar == 2


def test_the_time_of_an_arm_is_measured_in_both_ways_to_drive_it() -> None:
    heard: list[float] = []
    rows = list(speed_rows(lambda _, share: heard.append(share), arms=("dofbot",)))
    assert [row.figure.split(", ")[1] for row in rows] == ["tool dofbot", "arm dofbot"]
    assert all(row.value is not None and row.value > 0.01 for row in rows)
    assert heard[-1] == 1.0
