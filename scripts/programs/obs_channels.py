"""The observation, channel by channel: on the arm and in the simulator posed alike. Range, step, bias, noise, delay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.encoding import GRASP_STATE, LENGTH_SCALE_M, OFFSET_SCALE_M, OPENING_SCALE_M, PLACE_SCALE_M
from bridge.grasp import CONTROL_HZ, GraspAttempt
from bridge.observation import CameraView, ImageKind
from bridge.ports import BlockSighting, BlockSource, Camera, Clock, Robot
from scripts.programs.posing import PosedArm
from sim.sim_camera import SimCamera
from sim.sim_robot import SimRobot, TrueBlock
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array, Pose

_PERIODS = 30
_PERIOD_NS = round(1e9 / CONTROL_HZ)
#: What an attempt can stand, in millimetres and seconds: the jaws leave 13 mm on either side of the block, and a Dofbot
#: whose six servos are read one by one knows each of them as of up to 0.8 s ago.
BIAS_GOOD_MM, NOISE_GOOD_MM, DELAY_GOOD_S = 3.0, 1.0, 1.0
DEPTH_BIAS_GOOD_MM, DEPTH_NOISE_GOOD_MM, HOLES_GOOD = 4.0, 3.0, 0.25
_SIDE_PX = 64


class Channel(msgspec.Struct, frozen=True):
    """One channel. Lengths in mm, others as they are.

    `bias`, in the channel's unit, is the arm less what something else than its own reading says: the camera of the
    tool, the user of the block. None where nothing else says it.
    """

    name: str
    unit: str
    arm: float
    simulator: float
    bias: float | None
    noise: float
    step: float
    delay_ms: float
    low: float
    high: float
    trouble: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed on a standing arm: vectors (t, c), how old arm and block in them are, and the block."""

    vectors: Array
    arm_age_s: float
    block_age_s: float
    desk_from_block: Pose


def observe_arm(
    robot: Robot, source: BlockSource, arm: PosedArm, description: ArmDescription, rig: Rig, clock: Clock
) -> Observed | str:
    """Return what a policy would see of the standing arm over a second and a half, or what is missing for that."""
    attempt = GraspAttempt(description, rig, PinocchioKinematics(description, rig), 1.0 / CONTROL_HZ)
    attempt.begin(robot.read_state())
    vectors: list[NDArray[np.float32]] = []
    arm_ages: list[float] = []
    block_ages: list[float] = []
    newest: BlockSighting | None = None
    missing = ""
    for _ in range(3 * _PERIODS):
        arm.keep()
        state, sighting = robot.read_state(), source.read_block()
        missing = attempt.see(state, sighting, source.missing(), clock.now_ns())
        if not missing and attempt.ready and sighting is not None:
            newest = sighting
            vectors.append(attempt.observe())
            arm_ages.append(max(state.reading_age_s))
            block_ages.append((clock.now_ns() - sighting.stamp_ns) * 1e-9)
        if len(vectors) >= _PERIODS:
            break
    if len(vectors) < _PERIODS // 2 or newest is None:
        return missing or "the block was hardly seen"
    block = rig.desk_from_base @ newest.base_from_block
    return Observed(np.array(vectors, dtype=np.float64), max(arm_ages), max(block_ages), block)


def observe_simulator(description: ArmDescription, rig: Rig, position_rad: Array, block: Pose) -> tuple[Array, Array]:
    """Return what the policy sees in the training world posed alike (c,), and that for blocks all over the area."""
    world = ArmWorld(description, rig)
    try:
        robot = SimRobot(world, 1.0 / CONTROL_HZ)
        attempt = GraspAttempt(description, rig, PinocchioKinematics(description, rig), 1.0 / CONTROL_HZ)

        def see(pose: Pose) -> NDArray[np.float32]:
            robot.reset(position_rad, pose)
            attempt.begin(robot.read_state())
            attempt.see(robot.read_state(), TrueBlock(robot).read_block(), "", robot.now_ns())
            return attempt.observe()

        corners = [(sx, sy) for sx in (-0.5, 0.5) for sy in (-0.5, 0.5)]
        places = [rig.area_center_m + np.array(c) * rig.area_size_m for c in corners]
        yaws = np.linspace(-math.pi / 4, math.pi / 4, 9)
        everywhere = [see(Pose.from_rpy([*p, 0.015], [0.0, 0.0, yaw])) for p in places for yaw in yaws]
        return np.asarray(see(block), dtype=np.float64), np.array(everywhere, dtype=np.float64)
    finally:
        world.close()


def state_channels(
    seen: Observed, simulator: Array, everywhere: Array, tool_shift_m: Array, block_told: bool
) -> list[Channel]:
    """Return every channel of the grasp's state. `tool_shift_m` (3,): the tool as the camera has it, less as read.

    `block_told`: the simulator's block lies where the user says, and not where the arm saw it.
    """
    channels: list[Channel] = []
    for k, name in enumerate(GRASP_STATE.feature_names):
        if name.startswith("phase_"):
            continue
        scale, unit = _unit(name)
        values, other = seen.vectors[:, k] * scale, float(simulator[k]) * scale
        low, high = (float(v) * scale for v in (everywhere[:, k].min(), everywhere[:, k].max()))
        bias = _bias(name, float(values.mean()) - other, tool_shift_m, block_told)
        delay_s = seen.block_age_s if name.startswith("block_") else seen.arm_age_s
        channels.append(
            Channel(
                name, unit, float(values.mean()), other, bias, float(values.std()), _step(values), 1000 * delay_s, low,
                high, _state_trouble(name, unit, values, bias, delay_s, (low, high)),
            )
        )  # fmt: skip
    return channels


def _unit(name: str) -> tuple[float, str]:
    """Return what makes a feature a number for people."""
    if name.startswith(("block_from_command", "block_from_tool")):
        return 1000 * (LENGTH_SCALE_M if name.endswith("_z") else OFFSET_SCALE_M), "mm"
    if name == "tool_z":
        return 1000 * LENGTH_SCALE_M, "mm"
    if name in ("tool_x", "tool_y", "block_x", "block_y"):
        return 1000 * PLACE_SCALE_M, "mm"
    return (1000 * OPENING_SCALE_M, "mm") if name == "opening" else (1.0, "")


def _bias(name: str, apart: float, tool_shift_m: Array, block_told: bool) -> float | None:
    """Return by how much a channel is off: the tool against the camera, the block against where the user says it is."""
    axis = "xyz".find(name[-1])
    if name in ("tool_x", "tool_y", "tool_z"):
        return -1000 * float(tool_shift_m[axis])
    if name.startswith("block_from_tool"):
        return 1000 * float(tool_shift_m[axis])
    # The rest of the arm's own is read, and nothing else tells it: it would be compared with itself.
    told = block_told and name.startswith(("block_x", "block_y", "block_heading"))
    return apart if told else None


def _step(values: Array) -> float:
    """Return the smallest step between values, 0 where there is one value alone."""
    apart = np.diff(np.unique(values.round(9)))
    return float(apart.min()) if len(apart) else 0.0


def _state_trouble(
    name: str, unit: str, values: Array, bias: float | None, delay_s: float, between: tuple[float, float]
) -> str:
    spare = 0.25 * (between[1] - between[0]) + (5.0 if unit == "mm" else 0.05)
    if not between[0] - spare <= values.mean() <= between[1] + spare:
        shown = f"{between[0]:.1f} to {between[1]:.1f}"
        return f"{name}: {values.mean():.1f} is outside what the training world shows ({shown})"
    if unit == "mm" and bias is not None and abs(bias) > BIAS_GOOD_MM:
        return f"{name}: off by {bias:+.1f} mm"
    if unit == "mm" and values.std() > NOISE_GOOD_MM:
        return f"{name}: noise of {values.std():.1f} mm"
    return f"{name}: {delay_s:.2f} s old" if delay_s > DELAY_GOOD_S else ""


# Depth -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class DepthPictures:
    """The wrist's depth as a policy sees it, on the arm and in the simulator posed alike (s, s) [m]; 0 is a hole."""

    arm_m: Array
    simulator_m: Array


def depth_channel(
    camera: Camera, arm: PosedArm, description: ArmDescription, rig: Rig, position_rad: Array, block: Pose, clock: Clock
) -> tuple[Channel, DepthPictures]:
    """Return how the wrist's depth picture compares; raises StaleFrame where none comes."""
    stack: list[Array] = []
    ages: list[float] = []
    seqs: set[int] = set()
    for _ in range(4 * _PERIODS):
        arm.keep()
        frame = camera.read(2.0)
        if frame.seq not in seqs and frame.depth_m is not None:
            seqs.add(frame.seq)
            ages.append((clock.now_ns() - frame.stamp_ns) * 1e-9)
            stack.append(_square(np.asarray(frame.depth_m, dtype=np.float64)))
        if len(stack) >= 10:
            break
    world = ArmWorld(description, rig)
    try:
        SimRobot(world, 1.0 / CONTROL_HZ).reset(position_rad, block)
        eye = SimCamera(world, CameraView("wrist", ImageKind.DEPTH, _SIDE_PX, _SIDE_PX))
        expected = eye.depth_m().astype(np.float64)
    finally:
        world.close()
    seen = np.array(stack)
    valid = (seen > 0).all(axis=0) & (expected < 1.0)
    bias_mm = 1000 * float(np.median((seen.mean(axis=0) - expected)[valid])) if valid.any() else math.nan
    noise_mm = 1000 * float(np.median(seen.std(axis=0)[valid])) if valid.any() else math.nan
    holes, delay_s = float((seen <= 0).mean()), float(np.mean(ages))
    trouble = ""
    if not abs(bias_mm) <= DEPTH_BIAS_GOOD_MM:
        trouble = f"depth: off by {bias_mm:+.1f} mm in the middle"
    elif noise_mm > DEPTH_NOISE_GOOD_MM:
        trouble = f"depth: noise of {noise_mm:.1f} mm"
    elif holes > HOLES_GOOD:
        trouble = f"depth: {100 * holes:.0f} % of the pixels are holes"
    found = seen[seen > 0]
    channel = Channel(
        "wrist depth", "mm", 1000 * float(np.median(found)), 1000 * float(np.median(expected)), bias_mm, noise_mm,
        1000 * _step(found), 1000 * delay_s, 1000 * float(expected.min()), 1000 * float(expected.max()), trouble,
    )  # fmt: skip
    return channel, DepthPictures(seen[-1], expected)


def _square(depth_m: Array) -> Array:
    """Return the middle square (s, s), every pixel as it was measured."""
    height, width = depth_m.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    at = ((np.arange(_SIDE_PX) + 0.5) * side / _SIDE_PX).astype(int)
    return depth_m[top + at][:, left + at]
