"""Teleoperation's figures of motion: how smooth and how late the filter is, how right and how quick the retargeting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from perception.body import PeopleSighting, Side
from perception.body_filter import BodyFilter
from perception.limb import Limb, limb_of
from perception.retarget import ToolTarget
from perception.retarget_joints import Copying, JointRetarget
from perception.retarget_tool import ToolRetarget, natural_scale, tool_joints_rad
from scripts.programs.figures import Row, at_most
from scripts.programs.known_poses import POSES, error_deg
from scripts.programs.pose_track import Waypoint, pose_track
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array

JERK_FIGURE = "jerk of the tool path, filtered / raw"
LAG_FIGURE = "lag added by the filter"
POSTURE_FIGURE = "known synthetic poses, worst joint"
SPEED_FIGURE = "retarget + inverse kinematics"
ARMS = ("dofbot", "ur5", "kuka_iiwa")
#: Small enough that all of the video's motion stays inside a UR5's workspace: no wall adds or takes jerk.
_SCALE = 0.2
_LONGEST_LAG_S, _GRID_S = 0.3, 0.001
_PERIOD_S = 1 / 30


def filter_rows(sightings: Sequence[PeopleSighting], source: str) -> list[Row]:
    """Return the rows of the filter on a video's landmarks, the worse of both arms."""
    jerks: list[float] = []
    lags_s: list[float] = []
    for side in Side:
        stamps_s, raw_m, filtered_m = tool_paths(sightings, side)
        jerks.append(jerk_rms(stamps_s, filtered_m) / jerk_rms(stamps_s, raw_m))
        lags_s.append(lag_s(stamps_s, raw_m, filtered_m))
    how = f"both arms in {source}, the worse"
    return [
        at_most(JERK_FIGURE, max(jerks), "", 0.35, f"RMS of third differences, {how}"),
        at_most(LAG_FIGURE, 1e3 * max(lags_s), "ms", 60, f"peak of the cross-correlation, {how}"),
    ]


def tool_paths(sightings: Sequence[PeopleSighting], side: Side) -> tuple[Array, Array, Array]:
    """Return stamps (n,) [s] and the tool's path (n, 3) [m] without and with the filter, first persons only.

    Pictures in which the limb is not seen, or not believed, are left out of both.
    """
    landmarks = BodyFilter()
    stamps_s: list[float] = []
    limbs: list[tuple[Limb, Limb]] = []
    for sighting in sightings:
        body = next(iter(sighting.bodies), None)
        believed = landmarks.update(sighting.stamp_ns, body, sighting.aspect)
        raw = None if body is None else limb_of(body, side, sighting.aspect)
        filtered = None if believed is None else limb_of(believed, side, sighting.aspect)
        if raw is not None and filtered is not None:
            stamps_s.append(1e-9 * sighting.stamp_ns)
            limbs.append((raw, filtered))
    raw_m, filtered_m = (_tool_path([pair[k] for pair in limbs]) for k in (0, 1))
    return np.array(stamps_s), raw_m, filtered_m


def _tool_path(limbs: Sequence[Limb]) -> Array:
    """Return where a UR5's tool is sent, in the middle of its workspace when the wrist is in the middle of its way."""
    rig = load_arm("ur5").rig("table")
    retarget = ToolRetarget(rig)
    wrists_m = np.array([limb.wrist_m for limb in limbs])
    middle_m = (wrists_m.min(axis=0) + wrists_m.max(axis=0)) / 2
    begin_m = (rig.reach_lower_m + rig.reach_upper_m) / 2 + _SCALE * (wrists_m[0] - middle_m)
    target = ToolTarget(begin_m, 0.0, closing=False)
    latch = retarget.latch(limbs[0], target, _SCALE)
    path: list[Array] = []
    for limb in limbs:
        target = retarget.target(latch, limb, target)
        path.append(target.position_m)
    return np.array(path)


def jerk_rms(stamps_s: Array, path_m: Array) -> float:
    """Return the RMS of a path's jerk [m/s^3]: differences over their stamps, three times."""
    values, at_s = path_m, stamps_s
    for _ in range(3):
        values = np.diff(values, axis=0) / np.diff(at_s)[:, None]
        at_s = (at_s[1:] + at_s[:-1]) / 2
    return float(np.sqrt((values**2).sum(axis=1).mean()))


def lag_s(stamps_s: Array, raw_m: Array, filtered_m: Array) -> float:
    """Return by how much the filtered path must be shifted to lie best over the raw one.

    Both are put on a grid of 1 ms; of all shifts up to 0.3 s the one with the greatest correlation is taken.
    """
    grid_s = np.arange(stamps_s[0], stamps_s[-1], _GRID_S)
    raw, filtered = (
        np.stack([np.interp(grid_s, stamps_s, path[:, k]) for k in range(3)], axis=1) for path in (raw_m, filtered_m)
    )
    correlations: list[float] = []
    for shift in range(round(_LONGEST_LAG_S / _GRID_S) + 1):
        before, after = raw[: len(raw) - shift], filtered[shift:]
        before, after = before - before.mean(axis=0), after - after.mean(axis=0)
        correlations.append(float((before * after).sum() / np.sqrt((before**2).sum() * (after**2).sum())))
    return _GRID_S * int(np.argmax(correlations))


def posture_rows() -> list[Row]:
    """Return the row of the known poses."""
    names = ", ".join(sorted({pose.arm for pose in POSES}))
    worst_deg = max(error_deg(pose) for pose in POSES)
    return [at_most(POSTURE_FIGURE, worst_deg, "deg", 2, f"{len(POSES)} poses worked out by hand, {names}")]


def speed_rows(on_progress: Callable[[str, float], None], arms: Sequence[str] = ARMS) -> Iterator[Row]:
    """Yield a row for each arm: processor time from landmarks to joint targets, 95th percentile."""
    track = _track()
    for k, arm in enumerate(arms):
        for what, times_s in (("tool", _tool_times_s(arm, track)), ("arm", _posture_times_s(arm, track))):
            middle_ms, late_ms = 1e3 * np.percentile(times_s, (50, 95))
            baseline = f"processor time, one core, 95th percentile; median {middle_ms:.2f} ms"
            yield at_most(f"{SPEED_FIGURE}, {what} {arm}", float(late_ms), "ms", 1.0, baseline)
        on_progress(SPEED_FIGURE, (k + 1) / len(arms))


def _track() -> tuple[PeopleSighting, ...]:
    """Return half a minute of a hand that wanders about before its shoulder."""
    rng = np.random.default_rng(3)
    places = rng.uniform((-0.15, 0.25, -0.25), (0.25, 0.42, 0.15), (20, 3)).tolist()
    waypoints = [Waypoint(1.5 * k, (x, y, z)) for k, (x, y, z) in enumerate(places)]
    return pose_track(waypoints, Side.RIGHT, rng, hands=False)


def _tool_times_s(arm: str, track: Sequence[PeopleSighting]) -> list[float]:
    description = load_arm(arm)
    rig = description.rig("table")
    kinematics, retarget = PinocchioKinematics(description, rig), ToolRetarget(rig)
    joints_rad = rig.home_rad
    position_m, heading_rad, _ = kinematics.tool_in_desk(joints_rad)
    target = ToolTarget(position_m, heading_rad, closing=False)
    first = limb_of(track[0].bodies[0], Side.RIGHT, track[0].aspect)
    assert first is not None
    latch = retarget.latch(first, target, natural_scale(rig))
    times_s: list[float] = []
    for sighting in track:
        began_s = time.thread_time()
        limb = limb_of(sighting.bodies[0], Side.RIGHT, sighting.aspect)
        assert limb is not None
        target = retarget.target(latch, limb, target)
        joints_rad = tool_joints_rad(description, kinematics, target, joints_rad, _PERIOD_S)
        times_s.append(time.thread_time() - began_s)
    return times_s


def _posture_times_s(arm: str, track: Sequence[PeopleSighting]) -> list[float]:
    description = load_arm(arm)
    retarget = JointRetarget(description, Copying.ARM)
    joints_rad = description.rig("table").home_rad
    times_s: list[float] = []
    for sighting in track:
        began_s = time.thread_time()
        limb = limb_of(sighting.bodies[0], Side.RIGHT, sighting.aspect)
        assert limb is not None
        joints_rad = retarget.follow(limb, joints_rad, _PERIOD_S)
        times_s.append(time.thread_time() - began_s)
    return times_s
