from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from perception.body import BodyPose, HandPose, Landmark, PeopleSighting, Side
from perception.hand import Grip, HandReading, closing, hand_of, read_hand
from perception.limb import limb_of
from scripts.programs.synthetic_person import LevelCamera, hand_points_m, hand_pose
from tests.perception.limbs import body_with, limb_along

#: Shoulder, elbow and wrist in the model's axes: x right in the picture, y down, z away from the camera.
DOWN_AND_FORWARD = np.array([[0.2, -0.5, 0.0], [0.2, -0.2, 0.0], [0.2, -0.2, -0.25]])


def test_the_axes_are_the_persons_right_ahead_and_up() -> None:
    limb = limb_of(body_with(DOWN_AND_FORWARD, Side.LEFT), Side.LEFT, 1.0)
    assert limb is not None
    np.testing.assert_allclose(limb.points_m, [[0, 0, 0], [0, 0, -0.3], [0, 0.25, -0.3]], atol=1e-12)
    aside = limb_of(body_with(np.array([[0.2, 0, 0], [0.5, 0, 0], [0.7, 0, 0]]), Side.LEFT), Side.LEFT, 1.0)
    assert aside is not None
    assert aside.wrist_m[0] == pytest.approx(-0.5), "the right of the picture is the person's left"


@pytest.mark.parametrize("side", list(Side))
def test_outward_is_where_the_arm_points_when_held_out(side: Side) -> None:
    towards = 1.0 if side is Side.LEFT else -1.0
    held_out = np.array([[0, 0, 0], [0.3 * towards, 0, 0], [0.5 * towards, 0, 0]])
    limb = limb_of(body_with(held_out, side), side, 16 / 9)
    assert limb is not None
    np.testing.assert_allclose(limb.outline - limb.outline[0], np.array([[0, 0], [0.3, 0], [0.5, 0]]) * [16 / 9, 1])


def test_a_mirror_shows_the_other_side_and_twice_is_none() -> None:
    hand = HandReading(1.0, 2.0, 0.4)
    limb = limb_along([1, 0.2, 0], [0, 1, 0], Side.RIGHT, hand)
    mirrored = limb.mirrored()
    assert mirrored.side is Side.LEFT
    np.testing.assert_array_equal(mirrored.points_m, limb.points_m * [-1, 1, 1])
    np.testing.assert_array_equal(mirrored.outline, limb.outline)
    assert mirrored.hand == HandReading(1.0, 2.0, -0.4)
    np.testing.assert_array_equal(mirrored.mirrored().points_m, limb.points_m)


def test_a_hidden_or_impossible_landmark_makes_no_limb() -> None:
    body = body_with(DOWN_AND_FORWARD, Side.LEFT)
    body.visibility[Landmark.LEFT_ELBOW] = 0.3
    assert limb_of(body, Side.LEFT, 1.0) is None
    for value in (np.nan, np.inf):
        for field in ("world_m", "image"):
            broken: BodyPose = body_with(DOWN_AND_FORWARD, Side.LEFT)
            getattr(broken, field)[Landmark.LEFT_WRIST, 1] = value
            assert limb_of(broken, Side.LEFT, 1.0) is None


def hand_at(x_m: float, roll_rad: float = 0.0, pinching: bool = False, side: Side = Side.LEFT) -> HandPose:
    return hand_pose(side, np.array([x_m, 0.2, 0.3]), hand_points_m(side, roll_rad, pinching), LevelCamera())


def reading(hand: HandPose) -> HandReading:
    result = read_hand(hand, 640 / 480)
    assert result is not None
    return result


def test_a_pinch_closes_and_an_open_hand_opens() -> None:
    pinched, spread = reading(hand_at(0.1, pinching=True)), reading(hand_at(0.1))
    assert closing(pinched, before=False, grip=Grip.PINCH)
    assert not closing(spread, before=True, grip=Grip.PINCH)
    assert not closing(spread, before=True, grip=Grip.PALM)


def test_a_fist_closes_the_palm_grip() -> None:
    hand = hand_at(0.1)
    fist = hand.world_m[0] + 0.55 * (hand.world_m - hand.world_m[0])
    fist[9] = hand.world_m[9]  # the knuckles stay where they are
    assert closing(reading(replace(hand, world_m=fist)), before=False, grip=Grip.PALM)


@pytest.mark.parametrize("before", [False, True])
def test_a_half_closed_or_hidden_hand_leaves_the_gripper_as_it_is(before: bool) -> None:
    assert closing(HandReading(0.5, 1.35, 0.0), before, Grip.PINCH) is before
    assert closing(HandReading(0.5, 1.35, 0.0), before, Grip.PALM) is before
    assert closing(None, before, Grip.PINCH) is before


@pytest.mark.parametrize("side", list(Side))
def test_a_roll_is_anticlockwise_as_the_person_sees_it(side: Side) -> None:
    still, rolled = reading(hand_at(0.0, 0.0, side=side)), reading(hand_at(0.0, 0.3, side=side))
    assert math.remainder(rolled.roll_rad - still.roll_rad, 2 * math.pi) == pytest.approx(0.3, abs=0.02)


def test_a_hand_without_length_says_nothing() -> None:
    assert read_hand(replace(hand_at(0.1), world_m=np.zeros((21, 3))), 1.0) is None
    assert read_hand(replace(hand_at(0.1), world_m=np.full((21, 3), np.nan)), 1.0) is None


def test_a_hand_belongs_to_the_wrist_that_it_is_at() -> None:
    mine, other = hand_at(-0.4, side=Side.RIGHT), hand_at(0.5)
    body = body_with(np.zeros((3, 3)), Side.LEFT)
    body.image[Landmark.LEFT_WRIST] = mine.image[0] + [0.01, 0.0]
    sighting = PeopleSighting(0, 0, 640, 480, (body,), (other, mine))
    assert hand_of(sighting, body, Side.LEFT) is mine, "whatever side the model takes it for"
    body.image[Landmark.LEFT_WRIST] = [0.5, 0.95]
    assert hand_of(sighting, body, Side.LEFT) is None
