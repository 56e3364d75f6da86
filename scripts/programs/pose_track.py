"""A scripted pose track: the sightings of a synthetic person whose wrist follows a path, as noisy as a real model's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perception.body import LANDMARKS, BodyPose, HandPose, PeopleSighting, Side
from scripts.programs.synthetic_person import (
    Gesture,
    LevelCamera,
    body_points_m,
    body_pose,
    hand_points_m,
    hand_pose,
    wrist_row,
)
from urdf.pose import Array

RATE_HZ = 30.0


@dataclass(frozen=True, slots=True)
class Waypoint:
    """Where the wrist is at a time, relative to its shoulder in the person's axes; between two it goes smoothly.

    Gestures last until the next waypoint. A person who is not `present` is in no picture.
    """

    time_s: float
    wrist_m: tuple[float, float, float]
    pinching: bool = False
    other_raised: bool = False
    roll_rad: float = 0.0
    present: bool = True


@dataclass(frozen=True, slots=True)
class LandmarkNoise:
    """Standard deviations. `wander_*` is noise that lasts about `wander_s`, the rest is new in every picture.

    World points are noisier along the view. The defaults lie between those of shoulders (4 mm across, 11 mm along the
    view) and of quickly moving wrists (8 mm, 19 mm), measured as what MediaPipe's landmarks of a real video of 30
    pictures a second leave of a path smoothed over nine of them. How far they wander is our estimate.
    """

    picture: float = 0.0015
    world_m: float = 0.006
    depth_m: float = 0.015
    wander_m: float = 0.004
    wander_s: float = 0.5


QUIET = LandmarkNoise(0.0, 0.0, 0.0, 0.0)


def pose_track(
    waypoints: Sequence[Waypoint],
    side: Side,
    rng: np.random.Generator,
    noise: LandmarkNoise | None = None,
    camera: LevelCamera | None = None,
    start_ns: int = 0,
    hands: bool = True,
) -> tuple[PeopleSighting, ...]:
    """Return one sighting every 1/30 s from the first waypoint to the last, both hands among them where asked for.

    Raises ValueError where times do not rise or a wrist is out of reach.
    """
    times_s = [point.time_s for point in waypoints]
    if len(waypoints) < 2 or any(b <= a for a, b in pairwise(times_s)):
        raise ValueError(f"expected two waypoints or more at rising times, got {times_s}")
    noise, camera = noise or LandmarkNoise(), camera or LevelCamera()
    wander = np.zeros((LANDMARKS, 3))
    keep = math.exp(-1.0 / (RATE_HZ * noise.wander_s))
    sightings: list[PeopleSighting] = []
    for seq in range(round((times_s[-1] - times_s[0]) * RATE_HZ) + 1):
        wander = keep * wander + math.sqrt(1 - keep**2) * rng.normal(0.0, noise.wander_m, wander.shape)
        point, gesture = _moment(waypoints, times_s[0] + seq / RATE_HZ)
        body = _body(side, gesture, camera, noise, wander, rng)
        stamp_ns = start_ns + round(1e9 * seq / RATE_HZ)
        bodies = (body,) if point.present else ()
        seen_hands = _hands(side, gesture, camera, noise, rng) if hands and point.present else ()
        sightings.append(PeopleSighting(seq, stamp_ns, camera.width_px, camera.height_px, bodies, seen_hands))
    return tuple(sightings)


def _moment(waypoints: Sequence[Waypoint], time_s: float) -> tuple[Waypoint, Gesture]:
    """Return the waypoint that lies behind, and what the person does now."""
    ahead = next((k for k, point in enumerate(waypoints) if point.time_s > time_s + 1e-9), len(waypoints) - 1)
    last, following = waypoints[max(ahead - 1, 0)], waypoints[ahead]
    if time_s >= following.time_s:
        last = following
    share = min(max((time_s - last.time_s) / max(following.time_s - last.time_s, 1e-9), 0.0), 1.0)
    # The smoothest way from rest to rest. Ref: Flash & Hogan 1985, minimum jerk
    smooth = share**3 * (10 - 15 * share + 6 * share**2)
    begin, end = np.array(last.wrist_m), np.array(following.wrist_m)
    roll_rad = last.roll_rad + smooth * (following.roll_rad - last.roll_rad)
    return last, Gesture(begin + smooth * (end - begin), roll_rad, last.pinching, last.other_raised)


def _body(
    side: Side, gesture: Gesture, camera: LevelCamera, noise: LandmarkNoise, wander: Array, rng: np.random.Generator
) -> BodyPose:
    true = body_pose(body_points_m(side, gesture), camera, np.full(LANDMARKS, 0.98))
    spread = [noise.world_m, noise.world_m, noise.depth_m]
    return BodyPose(
        true.image + rng.normal(0.0, noise.picture, true.image.shape),
        true.world_m + wander * [1.0, 1.0, 2.0] + rng.normal(0.0, spread, true.world_m.shape),
        true.visibility,
    )


def _hands(
    side: Side, gesture: Gesture, camera: LevelCamera, noise: LandmarkNoise, rng: np.random.Generator
) -> tuple[HandPose, ...]:
    points_m = body_points_m(side, gesture)
    hands: list[HandPose] = []
    for which in Side:
        roll_rad = gesture.roll_rad if which is side else 0.0
        hand_m = hand_points_m(which, roll_rad, gesture.pinching and which is side)
        hand_m = hand_m + rng.normal(0.0, noise.world_m / 2, hand_m.shape)
        hands.append(hand_pose(which, points_m[wrist_row(which)], hand_m, camera))
    return tuple(hands)
