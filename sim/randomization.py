"""Domain randomisation: named ranges with units, sampled once per episode into a `Draw`.

A range is uniform and lies inside physical bounds. Every range knows its nominal value: `scaled` shrinks towards it,
and where nothing else is left the world is the nominal one bit for bit. What a range stands for, and where its numbers
come from, is said at its field; how wide the presets are, in `RANDOMIZATIONS`.
"""
# ruff: noqa: RUF009 - a default that is called for is a frozen Range

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import cast

import numpy as np

from sim.draws import CameraDraw, Draw, SceneDraw, ServoDraw
from sim.errors import SimError
from sim.ranges import Dice, Limits, Range
from sim.rendering import LIGHT_DIRECTION
from sim.sensors import ColorNoise, DepthNoise
from urdf.errors import UnknownName


def _ranged(nominal: float, lowest: float, highest: float) -> Range:
    """Declare a range that starts no wider than its nominal value."""
    return field(default=Range(nominal, nominal), metadata={"limits": Limits(nominal, lowest, highest)})


@dataclass(frozen=True, slots=True)
class Randomization:
    """The ranges of everything that differs between this world and the next. The default: nothing does.

    Raises SimError, naming the field and its valid range, when a range is empty or leaves its bounds.
    """

    camera_shift_m: Range = _ranged(0.0, 0.0, 0.05)
    """Distance of the camera from its mount, in a random direction. Ref: the reference's wrist cameras, 0 to 2 mm;
    users of hand-eye calibrations complain of 1 to 2 cm (github.com/IFL-CAMP/easy_handeye/issues/72)."""
    camera_turn_rad: Range = _ranged(0.0, 0.0, 0.35)
    """Angle of the camera away from its mount, about a random axis. Ref: the same cameras, 0 to 2 degrees."""
    camera_fov_rad: Range = _ranged(0.0, -0.26, 0.26)
    """Added to the vertical field of view. Ref: RealSense D400 data sheet, D435 depth 58 +- 1 degrees, and a note that
    lenses and modules vary by about 3 (github.com/realsenseai/realsense-ros/issues/1754)."""
    depth_noise_per_m: Range = _ranged(0.0, 0.0, 0.1)
    """Standard deviation of depth over depth squared: subpixel error / (focal length x baseline). Ref: RealSense tuning
    guide; 0.08 px (github.com/realsenseai/librealsense/issues/3904) over 447 px (87 degrees at 848x480) x 50 mm (D435)
    is 0.004 per metre, x 18 mm (D405) 0.010; half the resolution makes it twice that."""
    depth_quantum_m: Range = _ranged(0.0, 0.0, 0.01)
    """Step of the read-out. Ref: depth unit of the D400 family 1 mm, of the D405 0.1 mm (realsenseai/librealsense
    pull request 8946)."""
    depth_edge_hole: Range = _ranged(0.0, 0.0, 1.0)
    """Chance that a pixel where near meets far is a hole, for one of the two eyes cannot see it. Our choice: how many
    are filled depends on the camera's filter settings."""
    depth_flying: Range = _ranged(0.0, 0.0, 1.0)
    """Chance that a pixel where near meets far reports something between them (a flying pixel). Our choice."""
    depth_min_m: Range = _ranged(0.0, 0.0, 0.5)
    """The camera's minimum distance: what is nearer is a hole. Ref: D400 data sheet, minimum Z at 424x240, 848x480 and
    1280x720: D405 4, 7 and 10 cm, D435 10.5, 19.5 and 28 cm."""
    rgb_brightness: Range = _ranged(0.0, -1.0, 1.0)
    """Added to every pixel, as a share of full scale: exposure that settled elsewhere. Our choice."""
    rgb_contrast: Range = _ranged(1.0, 0.1, 4.0)
    """Factor about mid-grey: the camera's contrast control and the room's haze. Our choice."""
    rgb_gain: Range = _ranged(1.0, 0.1, 4.0)
    """Factor on each of red, green and blue, drawn three times: white balance. Our choice."""
    rgb_noise_levels: Range = _ranged(0.0, 0.0, 64.0)
    """Standard deviation of the sensor's noise in levels of 255. Our choice: 1 in daylight, 8 in a dim room."""
    rgb_blur_px: Range = _ranged(0.0, 0.0, 32.0)
    """Length of the smear of motion, in a random direction: 1/30 s of exposure at 0.1 m/s, 0.2 m away, are 0.8 px of
    64 px over 65 degrees."""
    rgb_jpeg_loss: Range = _ranged(0.0, 0.0, 95.0)
    """100 minus the quality of the JPEG that the link carries; 0 is none. Ref: LeRobot's LeKiwi sends 90, the
    default of ROS's compressed_image_transport is 80."""
    light_turn_rad: Range = _ranged(0.0, 0.0, 0.9)
    """Angle of the light away from its nominal direction, to a random side; 0.9 keeps it above the desk. Our choice."""
    texture_strength: Range = _ranged(0.0, 0.0, 1.0)
    """Depth of a random pattern on desk and object: 0 is plain, 1 reaches down to black. Our choice."""
    object_color: Range = _ranged(0.0, -1.0, 1.0)
    """Added to the object's red, green and blue, drawn three times, kept within 0 to 1. Our choice."""
    desk_color: Range = _ranged(0.0, -1.0, 1.0)
    """The same for the desk. Our choice."""
    object_size_factor: Range = _ranged(1.0, 0.25, 2.0)
    """Factor on the object's size; 0.85 to 1.1 makes 25 to 33 mm of the 30 mm cube, and the jaws open 57 mm."""
    object_mass_factor: Range = _ranged(1.0, 0.1, 10.0)
    """Factor on the object's mass; 0.67 to 1.67 makes 20 to 50 g of the 30 g cube: wood from poplar to oak, or filled
    plastic."""
    object_friction_factor: Range = _ranged(1.0, 0.1, 3.0)
    """Factor on the object's friction coefficient, 0.8 nominally; wood on rubber lies between 0.5
    and 1, and dust takes some away."""
    object_yaw_rad: Range = _ranged(0.0, -math.pi, math.pi)
    """Added to the yaw that the task drew."""
    servo_zero_rad: Range = _ranged(0.0, -0.35, 0.35)
    """How far a joint stands from where its servo believes, drawn per joint. Ref: one unit's offsets before any
    calibration, 47 to 50 counts = 4 degrees (github.com/Practitioner108/dofbot_sci_ws)."""
    servo_scale: Range = _ranged(1.0, 0.8, 1.25)
    """Factor on a joint's motion, drawn per joint. Ref: the same unit, 0.0768 to 0.0844 degrees a count
    where the library assumes 0.0818: 0.94 to 1.03."""
    servo_backlash_rad: Range = _ranged(0.0, 0.0, 0.1)
    """Play added to the model's, drawn per joint. Ref: DS-SY15A data sheet, at most 1 degree."""
    servo_speed_factor: Range = _ranged(1.0, 0.1, 2.0)
    """Factor on the speed limit of all joints: supply voltage and load. Ref: 200 (YB-SD15M) to 250 (DS-SY15A) deg/s
    without load, and slower with one."""
    servo_dead_time_s: Range = _ranged(0.0, -0.2, 0.5)
    """Added to the model's dead time. Ref: dofbot_sci_ws, a board that polls its servos in between: a scan is 60 ms."""
    action_delay_periods: Range = _ranged(0.0, 0.0, 10.0)
    """Whole control periods by which actions come late, every whole number in the range alike."""
    observation_delay_periods: Range = _ranged(0.0, 0.0, 10.0)
    """Whole control periods by which joint readings, pictures and sightings of the object come late; exposure, USB
    and one queue make 50 to 100 ms."""
    rig_tilt_rad: Range = _ranged(0.0, -0.35, 0.35)
    """Tilt of the rig against gravity, about each horizontal axis: desks are level within a degree or two."""

    def __post_init__(self) -> None:
        for name, limits in LIMITS.items():
            low, high = self.range_of(name).low, self.range_of(name).high
            if not (limits.lowest <= low <= high <= limits.highest):
                raise SimError(
                    f"{name}: expected {limits.lowest:g} <= low <= high <= {limits.highest:g}, "
                    f"got low {low:g}, high {high:g}"
                )

    def range_of(self, name: str) -> Range:
        """Return a range by name; raises UnknownName with the valid ones."""
        if name not in LIMITS:
            raise UnknownName("randomization range", name, LIMITS)
        return cast(Range, getattr(self, name))

    def scaled(self, strength: float) -> Randomization:
        """Return every range shrunk towards its nominal value: 0 is nominal, 1 is `self`. Raises SimError elsewhere."""
        if not 0.0 <= strength <= 1.0:
            raise SimError(f"strength must be 0 to 1, got {strength}")
        return Randomization(**{name: self._shrunk(name, strength) for name in LIMITS})

    def for_units(self, spread: float) -> Randomization:
        """Return the ranges of the servos shrunk to `spread`, an arm's `unit_spread`; 1 is `self`, as it is.

        Raises SimError unless it is 0 to 1.
        """
        if not 0.0 <= spread <= 1.0:
            raise SimError(f"the spread of units must be 0 to 1, got {spread}")
        return dataclasses.replace(self, **{name: self._shrunk(name, spread) for name in _OF_ONE_UNIT})

    def _shrunk(self, name: str, strength: float) -> Range:
        whole, nominal = self.range_of(name), LIMITS[name].nominal
        # Each end is exact at both ends of the scale, which `nominal + strength * (end - nominal)` is not.
        low, high = ((1 - strength) * nominal + strength * end for end in (whole.low, whole.high))
        return Range(low, high)

    def sample(self, rng: np.random.Generator, joint_count: int) -> Draw:
        """Draw one episode for an arm of `joint_count` joints (gripper included).

        Consumes the same number of random numbers whatever the ranges, so a wider range changes nothing else.
        """
        if joint_count < 1:
            raise SimError(f"joint_count must be at least 1, got {joint_count}")
        dice = Dice(rng)
        draw = Draw(
            camera=CameraDraw(
                translation_m=dice.vector(self.camera_shift_m),
                rotation_rad=dice.vector(self.camera_turn_rad),
                fov_rad=dice.uniform(self.camera_fov_rad),
            ),
            depth=self._depth(dice),
            color=self._color(dice),
            scene=self._scene(dice),
            servo=self._servo(dice, joint_count),
            action_delay_periods=dice.whole(self.action_delay_periods),
            observation_delay_periods=dice.whole(self.observation_delay_periods),
            gravity_tilt_rad=(dice.uniform(self.rig_tilt_rad), dice.uniform(self.rig_tilt_rad)),
        )
        seed = dice.seed()
        noisy = (draw.depth, draw.color) != (DepthNoise(), ColorNoise())
        return dataclasses.replace(draw, sensor_seed=seed) if noisy else draw

    def _depth(self, dice: Dice) -> DepthNoise:
        return DepthNoise(
            noise_per_m=dice.uniform(self.depth_noise_per_m),
            quantum_m=dice.uniform(self.depth_quantum_m),
            edge_hole=dice.uniform(self.depth_edge_hole),
            flying=dice.uniform(self.depth_flying),
            min_m=dice.uniform(self.depth_min_m),
        )

    def _color(self, dice: Dice) -> ColorNoise:
        blur_px, angle_rad = dice.uniform(self.rgb_blur_px), math.pi * dice.next()
        return ColorNoise(
            brightness=dice.uniform(self.rgb_brightness),
            contrast=dice.uniform(self.rgb_contrast),
            gain=dice.triple(self.rgb_gain),
            noise_levels=dice.uniform(self.rgb_noise_levels),
            blur_px=blur_px,
            blur_angle_rad=angle_rad if blur_px else 0.0,
            jpeg_loss=round(dice.uniform(self.rgb_jpeg_loss)),
        )

    def _scene(self, dice: Dice) -> SceneDraw:
        strength, seed = dice.uniform(self.texture_strength), dice.seed()
        return SceneDraw(
            object_size_factor=dice.uniform(self.object_size_factor),
            object_mass_factor=dice.uniform(self.object_mass_factor),
            object_friction_factor=dice.uniform(self.object_friction_factor),
            object_color=dice.triple(self.object_color),
            object_yaw_rad=dice.uniform(self.object_yaw_rad),
            desk_color=dice.triple(self.desk_color),
            light_direction=dice.turned(LIGHT_DIRECTION, self.light_turn_rad),
            texture_strength=strength,
            texture_seed=seed if strength else 0,
        )

    def _servo(self, dice: Dice, joint_count: int) -> ServoDraw:
        joints = range(joint_count)
        return ServoDraw(
            zero_rad=tuple(dice.uniform(self.servo_zero_rad) for _ in joints),
            scale=tuple(dice.uniform(self.servo_scale) for _ in joints),
            backlash_rad=tuple(dice.uniform(self.servo_backlash_rad) for _ in joints),
            speed_factor=dice.uniform(self.servo_speed_factor),
            dead_time_s=dice.uniform(self.servo_dead_time_s),
        )


#: Nominal value and bounds of every range, by name, in the order of the fields.
LIMITS: Mapping[str, Limits] = MappingProxyType(
    {f.name: cast(Limits, f.metadata["limits"]) for f in fields(Randomization)}
)

#: The ranges that tell one unit of an arm from the next.
_OF_ONE_UNIT = tuple(name for name in LIMITS if name.startswith("servo_"))


def _about(middle: float, spread: float) -> Range:
    return Range(middle - spread, middle + spread)


#: The nominal world.
NONE = Randomization()

#: A well calibrated rig in daylight with a camera made for close range.
MILD = Randomization(
    camera_shift_m=Range(0.0, 0.002),
    camera_turn_rad=Range(0.0, math.radians(2.0)),
    camera_fov_rad=_about(0.0, math.radians(1.0)),
    depth_noise_per_m=Range(0.0, 0.004),
    depth_quantum_m=Range(0.0, 0.001),
    depth_edge_hole=Range(0.0, 0.3),
    depth_flying=Range(0.0, 0.2),
    depth_min_m=Range(0.0, 0.07),
    rgb_brightness=_about(0.0, 0.08),
    rgb_contrast=_about(1.0, 0.12),
    rgb_gain=_about(1.0, 0.06),
    rgb_noise_levels=Range(0.0, 2.0),
    rgb_blur_px=Range(0.0, 1.0),
    rgb_jpeg_loss=Range(0.0, 20.0),
    light_turn_rad=Range(0.0, math.radians(15.0)),
    texture_strength=Range(0.0, 0.25),
    object_color=_about(0.0, 0.1),
    desk_color=_about(0.0, 0.05),
    object_size_factor=_about(1.0, 0.03),
    object_mass_factor=Range(0.67, 1.67),
    object_friction_factor=_about(1.0, 0.15),
    object_yaw_rad=_about(0.0, math.radians(5.0)),
    servo_zero_rad=_about(0.0, math.radians(0.5)),
    servo_scale=_about(1.0, 0.01),
    servo_backlash_rad=Range(0.0, math.radians(0.5)),
    servo_speed_factor=Range(0.9, 1.05),
    servo_dead_time_s=_about(0.0, 0.010),
    action_delay_periods=Range(0.0, 1.0),
    observation_delay_periods=Range(0.0, 1.0),
    rig_tilt_rad=_about(0.0, math.radians(0.5)),
)

#: A rig put together by hand, in any room, with any of the cameras: worse than most people will meet.
HARD = Randomization(
    camera_shift_m=Range(0.0, 0.010),
    camera_turn_rad=Range(0.0, math.radians(5.0)),
    camera_fov_rad=_about(0.0, math.radians(3.0)),
    depth_noise_per_m=Range(0.002, 0.015),
    depth_quantum_m=Range(0.0001, 0.002),
    depth_edge_hole=Range(0.1, 0.8),
    depth_flying=Range(0.0, 0.5),
    depth_min_m=Range(0.07, 0.11),
    rgb_brightness=_about(0.0, 0.22),
    rgb_contrast=Range(0.6, 1.5),
    rgb_gain=Range(0.8, 1.25),
    rgb_noise_levels=Range(0.0, 8.0),
    rgb_blur_px=Range(0.0, 3.0),
    rgb_jpeg_loss=Range(5.0, 70.0),
    light_turn_rad=Range(0.0, math.radians(45.0)),
    texture_strength=Range(0.0, 0.8),
    object_color=_about(0.0, 0.5),
    desk_color=_about(0.0, 0.4),
    object_size_factor=Range(0.85, 1.10),
    object_mass_factor=Range(0.5, 2.5),
    object_friction_factor=Range(0.6, 1.3),
    object_yaw_rad=_about(0.0, math.radians(15.0)),
    servo_zero_rad=_about(0.0, math.radians(2.0)),
    servo_scale=Range(0.94, 1.03),
    servo_backlash_rad=Range(0.0, math.radians(1.0)),
    servo_speed_factor=Range(0.7, 1.1),
    servo_dead_time_s=Range(-0.030, 0.060),
    action_delay_periods=Range(0.0, 2.0),
    observation_delay_periods=Range(0.0, 2.0),
    rig_tilt_rad=_about(0.0, math.radians(2.0)),
)

RANDOMIZATIONS: Mapping[str, Randomization] = MappingProxyType({"none": NONE, "mild": MILD, "hard": HARD})


def randomization(name: str) -> Randomization:
    """Return a preset; raises UnknownName with the valid ones, nearest first."""
    if name not in RANDOMIZATIONS:
        raise UnknownName("randomization preset", name, RANDOMIZATIONS)
    return RANDOMIZATIONS[name]
