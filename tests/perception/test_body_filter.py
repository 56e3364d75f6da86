from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from perception.body import LANDMARKS, BodyPose, HandPose, Landmark, PeopleSighting, Side
from perception.body_filter import BodyFilter, HandFilter
from perception.errors import StampNotRising
from perception.limb import limb_of
from scripts.programs.pose_track import Waypoint, pose_track
from urdf.pose import Array

RATE_NS = 33_333_333
WRIST = Landmark.RIGHT_WRIST


def body_at(wrist_m: Sequence[float], visibility: float = 0.98) -> BodyPose:
    """Everything stands still but the right wrist."""
    world_m = np.zeros((LANDMARKS, 3))
    seen = np.full(LANDMARKS, 0.98)
    world_m[WRIST], seen[WRIST] = wrist_m, visibility
    return BodyPose(0.5 + 0.2 * world_m[:, :2], world_m, seen)


def wrist(body: BodyPose | None) -> Array:
    assert body is not None
    return body.world_m[WRIST]


def seen(body: BodyPose | None) -> Array:
    assert body is not None
    return body.visibility


def moved(landmarks: BodyFilter, count: int, speed_m_s: float = 0.6) -> int:
    """The wrist moves steadily along x; return the last stamp."""
    for k in range(count):
        landmarks.update(k * RATE_NS, body_at([speed_m_s * k / 30, 0.0, 0.0]), 1.0)
    return (count - 1) * RATE_NS


def test_a_hidden_landmark_goes_on_as_it_moved_and_is_then_lost() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 60)
    at_m = float(wrist(landmarks.update(last_ns, None, 1.0))[0])
    hidden = [landmarks.update(last_ns + k * RATE_NS, body_at([9.0, 0, 0], 0.1), 1.0) for k in (1, 2, 3, 4, 30)]
    steps_m = [float(wrist(body)[0]) - at_m for body in hidden[:3]]
    np.testing.assert_allclose(steps_m, [0.02, 0.04, 0.06], atol=0.004)
    assert [body is not None and body.visibility[WRIST] > 0.0 for body in hidden] == [True, True, True, False, False]
    assert seen(hidden[-1])[Landmark.NOSE] > 0.9, "the rest is still seen"
    assert max(float(wrist(body)[0]) for body in hidden) < at_m + 0.08, "what is predicted is bounded"


@pytest.mark.parametrize(("speed_m_s", "late_ms"), [(0.1, 102), (0.5, 56), (1.0, 39), (2.0, 26)])
def test_steady_motion_is_followed_as_late_as_the_docs_say(speed_m_s: float, late_ms: float) -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 90, speed_m_s)
    behind_m = speed_m_s * 89 / 30 - float(wrist(landmarks.update(last_ns, None, 1.0))[0])
    assert 1e3 * behind_m / speed_m_s == pytest.approx(late_ms, abs=1.0)


def test_nobody_for_a_moment_is_bridged_and_then_nobody_is_left() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30)
    assert landmarks.update(last_ns + RATE_NS, None, 1.0) is not None
    assert landmarks.update(last_ns + 4 * RATE_NS, None, 1.0) is None


def test_nobody_at_all_is_none() -> None:
    assert BodyFilter().update(0, None, 1.0) is None


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_landmark_that_jumps_for_a_moment_is_not_believed(pictures: int) -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30, speed_m_s=0.0)
    for k in range(pictures):
        doubted = landmarks.update(last_ns + (k + 1) * RATE_NS, body_at([0.7, 0.0, 0.0]), 1.0)
        assert abs(wrist(doubted)[0]) < 1e-6
    back = landmarks.update(last_ns + (pictures + 1) * RATE_NS, body_at([0.0, 0.0, 0.0]), 1.0)
    assert abs(wrist(back)[0]) < 1e-6


def test_jumps_that_contradict_each_other_are_never_believed() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30, speed_m_s=0.0)
    for k in range(1, 13):
        body = landmarks.update(last_ns + k * RATE_NS, body_at([0.8 * (-1) ** k, 0.0, 0.0]), 1.0)
        assert abs(wrist(body)[0]) < 1e-6


def test_a_real_move_is_caught_up_with_within_a_third_of_a_second() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30, speed_m_s=0.0)
    bodies = [landmarks.update(last_ns + k * RATE_NS, body_at([0.7, 0.0, 0.0]), 1.0) for k in range(1, 11)]
    assert wrist(bodies[-1])[0] == pytest.approx(0.7, abs=0.1)
    assert seen(bodies[-1])[WRIST] > 0.9


def test_quick_motion_of_a_person_is_believed() -> None:
    landmarks = BodyFilter()
    bodies = [landmarks.update(k * RATE_NS, body_at([4.0 * k / 30, 0.0, 0.0]), 1.0) for k in range(12)]
    assert seen(bodies[-1])[WRIST] > 0.9
    assert wrist(bodies[-1])[0] > 1.0


def test_no_number_is_no_measurement() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30, speed_m_s=0.0)
    for bad in (np.nan, np.inf):
        last_ns += RATE_NS
        body = landmarks.update(last_ns, body_at([bad, 0.0, 0.0]), 1.0)
        assert abs(wrist(body)[0]) < 1e-6


def test_a_clock_that_goes_back_is_said_and_the_next_picture_begins_anew() -> None:
    landmarks = BodyFilter()
    moved(landmarks, 30)
    with pytest.raises(StampNotRising):
        landmarks.update(5 * RATE_NS, body_at([2.0, 0.0, 0.0]), 1.0)
    assert wrist(landmarks.update(6 * RATE_NS, body_at([2.0, 0.0, 0.0]), 1.0))[0] == 2.0


def test_after_a_gap_a_landmark_begins_anew() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30)
    after = landmarks.update(last_ns + 600_000_000, body_at([-0.4, 0.3, 0.0]), 1.0)
    np.testing.assert_array_equal(wrist(after), [-0.4, 0.3, 0.0])


def test_the_same_picture_again_changes_nothing() -> None:
    landmarks = BodyFilter()
    last_ns = moved(landmarks, 30)
    before = wrist(landmarks.update(last_ns, None, 1.0)).copy()
    np.testing.assert_array_equal(wrist(landmarks.update(last_ns, body_at([3.0, 0.0, 0.0]), 1.0)), before)


def test_a_person_at_rest_is_steadied_to_a_third_of_the_noise() -> None:
    track = pose_track(
        [Waypoint(0, (0.1, 0.3, 0.0)), Waypoint(8, (0.1, 0.3, 0.0))], Side.RIGHT, np.random.default_rng(0)
    )
    raw, smooth = wrist_paths(track)
    shake, steadied = (float(np.linalg.norm(np.diff(path[60:], axis=0), axis=1).mean()) for path in (raw, smooth))
    assert steadied < shake / 3


def wrist_paths(track: Sequence[PeopleSighting]) -> tuple[Array, Array]:
    landmarks = BodyFilter()
    raw, smooth = [], []
    for sighting in track:
        believed = landmarks.update(sighting.stamp_ns, sighting.bodies[0], sighting.aspect)
        assert believed is not None
        for body, paths in ((sighting.bodies[0], raw), (believed, smooth)):
            limb = limb_of(body, Side.RIGHT, sighting.aspect)
            assert limb is not None
            paths.append(limb.wrist_m)
    return np.array(raw), np.array(smooth)


def hand() -> HandPose:
    return HandPose(Side.RIGHT, np.full((21, 2), 0.5), np.zeros((21, 3)), 0.9)


def test_a_hand_out_of_sight_is_held_for_a_moment() -> None:
    hands = HandFilter()
    assert hands.update(0, None, 1.0) is None
    assert hands.update(RATE_NS, hand(), 1.0) is not None
    assert hands.update(3 * RATE_NS, None, 1.0) is not None
    assert hands.update(6 * RATE_NS, None, 1.0) is None


def test_a_hand_is_smoothed_and_begins_anew_after_a_gap() -> None:
    hands = HandFilter()
    hands.update(0, hand(), 1.0)
    away = replace(hand(), world_m=np.full((21, 3), 0.02))
    smooth = hands.update(RATE_NS, away, 1.0)
    later = hands.update(30 * RATE_NS, away, 1.0)
    assert smooth is not None
    assert later is not None
    assert 0.0 < smooth.world_m[0, 0] < 0.015
    assert later.world_m[0, 0] == 0.02
