from __future__ import annotations

import numpy as np
import pytest

from perception.body import Landmark, PeopleSighting, Side
from perception.hand import Grip, closing, hand_of
from perception.limb import limb_of
from scripts.programs.pose_track import QUIET, LandmarkNoise, Waypoint, pose_track
from scripts.programs.synthetic_person import FOREARM_M, UPPER_ARM_M

NEAR, FAR = (0.1, 0.28, -0.15), (0.2, 0.35, 0.05)


def track(
    *waypoints: Waypoint, noise: LandmarkNoise = QUIET, seed: int = 0, side: Side = Side.RIGHT
) -> tuple[PeopleSighting, ...]:
    return pose_track(waypoints, side, np.random.default_rng(seed), noise, start_ns=5_000)


@pytest.mark.parametrize("side", list(Side))
def test_the_wrist_goes_from_waypoint_to_waypoint(side: Side) -> None:
    sightings = track(Waypoint(0, NEAR), Waypoint(1, FAR), side=side)
    limbs = [limb_of(sighting.bodies[0], side, sighting.aspect) for sighting in sightings]
    for limb, expected in ((limbs[0], NEAR), (limbs[-1], FAR), (limbs[15], np.add(NEAR, FAR) / 2)):
        assert limb is not None
        np.testing.assert_allclose(limb.wrist_m, expected, atol=1e-9)
        lengths = np.linalg.norm(np.diff(limb.points_m, axis=0), axis=1)
        np.testing.assert_allclose(lengths, [UPPER_ARM_M, FOREARM_M], atol=1e-9)


def test_pictures_come_thirty_times_a_second() -> None:
    sightings = track(Waypoint(2, NEAR), Waypoint(4, FAR))
    assert len(sightings) == 61
    assert [sighting.seq for sighting in sightings] == list(range(61))
    assert (sightings[0].stamp_ns, sightings[30].stamp_ns) == (5_000, 1_000_005_000)


def test_picture_and_space_tell_the_same_posture() -> None:
    sighting = track(Waypoint(0, NEAR), Waypoint(1, FAR))[0]
    body = sighting.bodies[0]
    rows = [Landmark.RIGHT_SHOULDER, Landmark.RIGHT_WRIST, Landmark.LEFT_SHOULDER]
    shares = body.image[rows] * [sighting.aspect, 1.0]
    heights = body.world_m[rows][:, :2]
    # Everything lies about as far from the camera as the shoulders do.
    ratio = (shares[2, 0] - shares[0, 0]) / (heights[2, 0] - heights[0, 0])
    assert (shares[1] - shares[0])[1] == pytest.approx(ratio * (heights[1] - heights[0])[1], abs=0.06)
    assert body.world_m[Landmark.LEFT_SHOULDER, 0] > body.world_m[Landmark.RIGHT_SHOULDER, 0]


def test_gestures_last_until_the_next_waypoint() -> None:
    sightings = track(
        Waypoint(0, NEAR),
        Waypoint(1, NEAR, pinching=True, other_raised=True),
        Waypoint(2, NEAR, present=False),
        Waypoint(3, NEAR),
    )
    pinched, raised = [], []
    for sighting in (sightings[15], sightings[45]):
        body = sighting.bodies[0]
        hand = hand_of(sighting, body, Side.RIGHT)
        limb = limb_of(body, Side.RIGHT, sighting.aspect, hand)
        assert limb is not None
        pinched.append(closing(limb.hand, False, Grip.PINCH))
        raised.append(body.image[Landmark.LEFT_WRIST, 1] < body.image[Landmark.LEFT_SHOULDER, 1])
    assert pinched == raised == [False, True]
    assert sightings[75].bodies == sightings[75].hands == ()
    assert len(sightings[90].bodies) == 1


def test_noise_is_as_large_as_asked_for_and_repeats_with_the_seed() -> None:
    still = (Waypoint(0, NEAR), Waypoint(10, NEAR))
    noise = LandmarkNoise(picture=0.002, world_m=0.005, depth_m=0.012, wander_m=0.0)
    once, again, other = (track(*still, noise=noise, seed=seed) for seed in (1, 1, 2))
    wrists = [np.array([s.bodies[0].world_m[Landmark.RIGHT_WRIST] for s in taken]) for taken in (once, again, other)]
    np.testing.assert_array_equal(wrists[0], wrists[1])
    assert not np.array_equal(wrists[0], wrists[2])
    np.testing.assert_allclose(wrists[0].std(axis=0), [0.005, 0.005, 0.012], rtol=0.15)


def test_paths_that_no_arm_or_clock_can_follow_are_refused() -> None:
    with pytest.raises(ValueError, match="from the shoulder"):
        track(Waypoint(0, (0.1, 0.9, 0.0)), Waypoint(1, NEAR))
    with pytest.raises(ValueError, match="rising times"):
        track(Waypoint(1, NEAR), Waypoint(1, FAR))
    with pytest.raises(ValueError, match="two waypoints"):
        track(Waypoint(1, NEAR))
