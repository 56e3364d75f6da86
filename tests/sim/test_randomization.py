"""Ranges and what is drawn from them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pybullet as bullet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.draws import Draw
from sim.env import ArmEnv
from sim.errors import SimError
from sim.objects import ObjectKind
from sim.randomization import HARD, LIMITS, MILD, NONE, RANDOMIZATIONS, Randomization, randomization
from sim.ranges import Range
from sim.rendering import LIGHT_DIRECTION
from urdf.errors import UnknownName

JOINTS = 6
PRESETS = pytest.mark.parametrize("name", ["none", "mild", "hard"])
FIELDS = pytest.mark.parametrize("name", list(LIMITS))


def draws(ranges: Randomization, count: int = 400, seed: int = 0) -> list[Draw]:
    rng = np.random.default_rng(seed)
    return [ranges.sample(rng, JOINTS) for _ in range(count)]


def only(name: str, low: float, high: float) -> Randomization:
    """Everything nominal but one range."""
    return dataclasses.replace(NONE, **{name: Range(low, high)})


# Nominal --------------------------------------------------------------------------------------------


def test_the_nominal_ranges_draw_the_nominal_world_to_the_bit() -> None:
    nominal = Draw.nominal(JOINTS)
    for draw in draws(NONE, 50):
        assert draw == nominal
        # Equality calls minus zero zero; the text does not.
        assert repr(draw) == repr(nominal)


@PRESETS
def test_no_strength_is_nominal_and_full_strength_is_the_preset(name: str) -> None:
    assert RANDOMIZATIONS[name].scaled(0.0) == NONE
    assert RANDOMIZATIONS[name].scaled(1.0) == RANDOMIZATIONS[name]


@given(strength=st.floats(0, 1), more=st.floats(0, 1))
def test_less_strength_never_widens_a_range(strength: float, more: float) -> None:
    strength, more = sorted((strength, more))
    weak, strong = HARD.scaled(strength), HARD.scaled(more)
    for name, limits in LIMITS.items():
        for end in ("low", "high"):
            near = abs(getattr(weak.range_of(name), end) - limits.nominal)
            far = abs(getattr(strong.range_of(name), end) - limits.nominal)
            assert near <= far + 1e-12, name


def test_half_strength_is_half_way() -> None:
    half = HARD.scaled(0.5)
    assert half.depth_min_m == Range(0.035, 0.055)
    assert half.object_mass_factor == Range(0.75, 1.75)


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_a_strength_beyond_its_range_is_refused(strength: float) -> None:
    with pytest.raises(SimError, match="strength must be 0 to 1"):
        HARD.scaled(strength)


# Draws ----------------------------------------------------------------------------------------------


def test_a_draw_takes_the_same_count_of_numbers_whatever_the_ranges() -> None:
    after = []
    for ranges in (NONE, MILD, HARD, HARD.scaled(0.3), only("rgb_blur_px", 0, 5)):
        rng = np.random.default_rng(11)
        ranges.sample(rng, JOINTS)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_a_range_changes_its_own_number_and_no_other() -> None:
    before = draws(MILD, 20, seed=5)
    after = draws(dataclasses.replace(MILD, object_mass_factor=Range(3.0, 4.0)), 20, seed=5)
    for one, other in zip(before, after, strict=True):
        assert one.as_info() | {"scene.object_mass_factor": 0.0} == other.as_info() | {"scene.object_mass_factor": 0.0}
        assert 3.0 <= other.scene.object_mass_factor <= 4.0


def test_the_same_seed_draws_the_same_episode() -> None:
    assert draws(HARD, 5, seed=3) == draws(HARD, 5, seed=3)
    assert draws(HARD, 5, seed=3) != draws(HARD, 5, seed=4)


#: Where each range's numbers arrive in `as_info`; what is a direction or a whole number is tested by itself.
WHERE = {
    "camera_fov_rad": "camera.fov_rad",
    "depth_noise_per_m": "depth.noise_per_m",
    "depth_quantum_m": "depth.quantum_m",
    "depth_edge_hole": "depth.edge_hole",
    "depth_flying": "depth.flying",
    "depth_min_m": "depth.min_m",
    "rgb_brightness": "color.brightness",
    "rgb_contrast": "color.contrast",
    "rgb_gain": "color.gain.1",
    "rgb_noise_levels": "color.noise_levels",
    "rgb_blur_px": "color.blur_px",
    "texture_strength": "scene.texture_strength",
    "object_color": "scene.object_color.2",
    "desk_color": "scene.desk_color.0",
    "object_size_factor": "scene.object_size_factor",
    "object_mass_factor": "scene.object_mass_factor",
    "object_friction_factor": "scene.object_friction_factor",
    "object_yaw_rad": "scene.object_yaw_rad",
    "servo_zero_rad": "servo.zero_rad.5",
    "servo_scale": "servo.scale.0",
    "servo_backlash_rad": "servo.backlash_rad.3",
    "servo_speed_factor": "servo.speed_factor",
    "servo_dead_time_s": "servo.dead_time_s",
    "rig_tilt_rad": "gravity_tilt_rad.1",
}
BY_THEMSELVES = {
    "camera_shift_m", "camera_turn_rad", "rgb_jpeg_loss", "light_turn_rad", "action_delay_periods",
    "observation_delay_periods",
}  # fmt: skip


def test_every_range_is_tested() -> None:
    assert set(WHERE) | BY_THEMSELVES == set(LIMITS)


@pytest.mark.parametrize(("name", "key"), WHERE.items())
def test_a_range_is_uniform_from_end_to_end(name: str, key: str) -> None:
    limits = LIMITS[name]
    low = (limits.lowest + limits.nominal) / 2
    high = (limits.highest + limits.nominal) / 2
    shares = (np.array([draw.as_info()[key] for draw in draws(only(name, low, high))]) - low) / (high - low)
    assert shares.min() >= 0.0
    assert shares.max() <= 1.0
    # 400 uniform numbers: five standard errors of the mean, and the spread of a uniform distribution.
    assert shares.mean() == pytest.approx(0.5, abs=5 / math.sqrt(12 * 400))
    assert shares.std() == pytest.approx(1 / math.sqrt(12), rel=0.15)


@pytest.mark.parametrize(("name", "field"), [("camera_shift_m", "translation_m"), ("camera_turn_rad", "rotation_rad")])
def test_the_camera_moves_by_a_uniform_length_in_every_direction(name: str, field: str) -> None:
    vectors = np.array([getattr(draw.camera, field) for draw in draws(only(name, 0.0, 0.03), 2000)])
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.max() <= 0.03 + 1e-12
    assert lengths.mean() == pytest.approx(0.015, rel=0.05)
    directions = vectors / lengths[:, None]
    # Uniform on the sphere: no mean, and a third of the square on every axis.
    assert np.abs(directions.mean(axis=0)).max() < 5 / math.sqrt(3 * 2000)
    assert (directions**2).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.04)


def test_joints_and_colours_are_drawn_one_by_one() -> None:
    draw = draws(HARD, 1)[0]
    for values in (draw.servo.zero_rad, draw.servo.scale, draw.servo.backlash_rad):
        assert len(set(values)) == JOINTS
    assert len(set(draw.scene.object_color)) == 3
    assert len(set(draw.color.gain)) == 3


def test_delays_and_jpeg_are_whole_numbers_and_each_is_as_likely() -> None:
    found = draws(dataclasses.replace(only("action_delay_periods", 0.0, 2.0), rgb_jpeg_loss=Range(5.0, 8.0)), 1500)
    delays = [draw.action_delay_periods for draw in found]
    assert all(isinstance(delay, int) for delay in delays)
    assert np.bincount(delays) / 1500 == pytest.approx([1 / 3] * 3, abs=0.06)
    assert {draw.color.jpeg_loss for draw in found} == {5, 6, 7, 8}
    assert {draw.observation_delay_periods for draw in found} == {0}
    assert {draw.observation_delay_periods for draw in draws(only("observation_delay_periods", 1.0, 3.0))} == {1, 2, 3}


def test_the_light_turns_by_at_most_its_angle_and_stays_above_the_desk() -> None:
    nominal = np.array(LIGHT_DIRECTION)
    lights = np.array([draw.scene.light_direction for draw in draws(only("light_turn_rad", 0.2, 0.9))])
    assert np.linalg.norm(lights, axis=1) == pytest.approx(np.full(400, np.linalg.norm(nominal)))
    angles = np.arccos(lights @ nominal / (nominal @ nominal))
    assert angles.min() >= 0.2 - 1e-9
    assert angles.max() <= 0.9 + 1e-9
    assert np.ptp(angles) > 0.6
    assert lights[:, 2].min() > 0


def test_a_seed_is_drawn_where_there_is_something_to_draw() -> None:
    assert len({draw.sensor_seed for draw in draws(only("depth_noise_per_m", 0.01, 0.02), 20)}) == 20
    assert {draw.sensor_seed for draw in draws(only("object_mass_factor", 1.0, 2.0), 5)} == {0}
    assert len({draw.scene.texture_seed for draw in draws(HARD, 20)}) == 20


def test_the_info_is_plain_numbers_that_json_takes() -> None:
    info = draws(HARD, 1)[0].as_info()
    assert all(type(value) in (int, float) for value in info.values())
    assert json.loads(json.dumps(info)) == info
    assert info["servo.zero_rad.5"] == draws(HARD, 1)[0].servo.zero_rad[5]
    assert info.keys() == Draw.nominal(JOINTS).as_info().keys()


# Presets --------------------------------------------------------------------------------------------


def test_hard_is_harder_than_mild_in_everything() -> None:
    for name, limits in LIMITS.items():
        mild, hard = MILD.range_of(name), HARD.range_of(name)
        assert mild.low <= limits.nominal <= mild.high, name
        assert hard.high - hard.low > 0, name
        farthest = [max(abs(r.low - limits.nominal), abs(r.high - limits.nominal)) for r in (mild, hard)]
        assert farthest[0] < farthest[1], name


def test_mild_covers_the_reference_s_cameras_and_hard_the_minimum_distances() -> None:
    assert MILD.camera_shift_m == Range(0.0, 0.002)
    assert math.degrees(MILD.camera_turn_rad.high) == pytest.approx(2.0)
    assert HARD.depth_min_m == Range(0.07, 0.11)


def test_an_unknown_preset_lists_the_valid_ones_nearest_first() -> None:
    with pytest.raises(UnknownName, match="unknown randomization preset 'herd'; valid, nearest first: hard, "):
        randomization("herd")
    assert randomization("mild") is MILD


# Bad input ------------------------------------------------------------------------------------------


@FIELDS
def test_a_range_beyond_its_bounds_names_the_field_and_the_bounds(name: str) -> None:
    limits = LIMITS[name]
    for low, high in (
        (limits.nominal, limits.highest + 0.1),
        (limits.lowest - 0.1, limits.nominal),
        (limits.highest, limits.lowest),
        (math.nan, limits.nominal),
        (limits.nominal, math.inf),
    ):
        with pytest.raises(
            SimError, match=rf"^{name}: expected {limits.lowest:g} <= low <= high <= {limits.highest:g}"
        ):
            only(name, low, high)


def test_a_range_has_its_nominal_value_within_its_bounds() -> None:
    for name, limits in LIMITS.items():
        assert limits.lowest <= limits.nominal <= limits.highest, name
        assert NONE.range_of(name) == Range(limits.nominal, limits.nominal)


def test_an_unknown_range_and_an_arm_without_joints_are_refused() -> None:
    with pytest.raises(UnknownName, match="servo_zero_rad"):
        HARD.range_of("servo_zero")
    with pytest.raises(SimError, match="joint_count must be at least 1"):
        HARD.sample(np.random.default_rng(0), 0)


def test_the_documentation_says_what_the_presets_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "randomization.md").read_text()
    rows = {
        cells[1].strip("` "): [cell.strip() for cell in cells[3:6]]
        for cells in (line.split("|") for line in page.splitlines() if line.startswith("| `"))
    }
    assert rows == {
        name: [
            f"{limits.nominal:g}",
            *(f"{r.low:.4g} to {r.high:.4g}" for r in (MILD.range_of(name), HARD.range_of(name))),
        ]
        for name, limits in LIMITS.items()
    }


# Units of an arm -----------------------------------------------------------------------------------
def test_units_of_another_arm_differ_less_in_their_servos_and_in_nothing_else() -> None:
    few = HARD.for_units(0.05)
    assert few.servo_zero_rad.high == pytest.approx(math.radians(0.1))
    assert (few.servo_scale.low, few.servo_scale.high) == pytest.approx((0.997, 1.0015))
    assert few.servo_backlash_rad.high == pytest.approx(math.radians(0.05))
    assert (few.servo_speed_factor.low, few.servo_speed_factor.high) == pytest.approx((0.985, 1.005))
    assert (few.servo_dead_time_s.low, few.servo_dead_time_s.high) == pytest.approx((-0.0015, 0.003))
    hobby, industrial = (r.sample(np.random.default_rng(3), JOINTS) for r in (HARD, few))
    assert dataclasses.replace(industrial, servo=hobby.servo) == hobby
    assert industrial.servo.zero_rad == pytest.approx([0.05 * v for v in hobby.servo.zero_rad])
    assert industrial.servo.dead_time_s == pytest.approx(0.05 * hobby.servo.dead_time_s)


def test_hobby_servos_draw_what_they_always_drew_to_the_bit() -> None:
    assert HARD.for_units(1.0) == HARD
    with pytest.raises(SimError, match="0 to 1"):
        HARD.for_units(1.1)


@pytest.mark.parametrize(("arm", "most_deg"), [("dofbot", 2.0), ("ur5", 0.1), ("kuka_iiwa", 0.1)])
def test_the_draw_says_what_the_arm_was_given(arm: str, most_deg: float) -> None:
    env = ArmEnv(arm=arm, randomization=HARD)
    zeros_deg: list[float] = []
    for seed in range(8):
        draw = env.reset(seed=seed)[1]["draw"]
        assert isinstance(draw, dict)
        zeros_deg += [math.degrees(v) for k, v in draw.items() if k.startswith("servo.zero_rad")]
    assert 0.9 * most_deg < max(map(abs, zeros_deg)) <= most_deg
    env.close()


def test_info_says_which_object_lies_there() -> None:
    env = ArmEnv(randomization=HARD, objects=(ObjectKind.CYLINDER,))
    sizes_m = {pooled.size_m for pooled in env.world.objects.objects}
    for seed in range(5):
        _, info = env.reset(seed=seed)
        found, draw = info["object"], info["draw"]
        assert isinstance(found, dict)
        assert isinstance(draw, dict)
        body = env.world.objects.target.body
        assert found["kind"] == "cylinder"
        assert found["size_m"] in sizes_m
        assert found["size_m"] == pytest.approx(0.030 * draw["scene.object_size_factor"], abs=0.001)
        assert found["mass_kg"] == pytest.approx(bullet.getDynamicsInfo(body, -1, env.world.client)[0])
        low, high = bullet.getAABB(body, physicsClientId=env.world.client)
        assert high[2] - low[2] == pytest.approx(found["size_m"], abs=0.002)
    env.close()
