"""Pictures and sightings that are late: they show the scene as it was so many control periods ago."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.loop import LoopStep
from bridge.observation import CameraView, ImageKind, ObservationSpec
from sim.env import ArmEnv
from sim.errors import SimError
from sim.randomization import NONE, Randomization
from sim.ranges import Range
from sim.sim_camera import SimCamera
from urdf.pose import Pose

VIEWS = (CameraView("wrist", ImageKind.DEPTH, 32, 32), CameraView("wrist", ImageKind.GRAY, 24, 24))
PICTURES = ("wrist_depth", "wrist_gray")
STEPS = 8
AWAY = np.array([1.0, 0.5], dtype=np.float32)


def late(periods: float) -> Randomization:
    return dataclasses.replace(NONE, observation_delay_periods=Range(periods, periods))


class Sightings:
    """A recorder of where the block was seen and how old that was, period by period."""

    def __init__(self) -> None:
        self.places_m: list[list[float]] = []
        self.ages_s: list[float] = []

    def record(self, step: LoopStep) -> None:
        assert step.sighting is not None
        self.places_m.append(step.sighting.base_from_block.position_m.tolist())
        self.ages_s.append((step.sent.stamp_ns - step.sighting.stamp_ns) * 1e-9)


Pictures = dict[str, NDArray[np.uint8]]


def run(
    delay: int, action_repeat: int = 1, frames: int = 1
) -> tuple[list[Pictures], list[Pictures], list[list[float]], Sightings]:
    """Drive an arm while the block is pushed along, a step at a time.

    Return what was observed after each step; what the cameras saw then, and where the block was; what was sighted.
    """
    seen = Sightings()
    spec = ObservationSpec(views=VIEWS, frames=frames)
    env = ArmEnv(spec=spec, randomization=late(delay), action_repeat=action_repeat, recorder=seen)
    observation, _ = env.reset(seed=1)
    observed: list[Pictures] = []
    truth: list[Pictures] = []
    places_m: list[list[float]] = []
    for _ in range(STEPS):
        assert isinstance(observation, dict)
        observed.append({key: observation[key] for key in PICTURES})  # pyright: ignore
        truth.append({key: env.observer.cameras[key].read() for key in PICTURES})  # pyright: ignore
        block = env.world.block_pose()
        places_m.append((env.rig.desk_from_base.inverse() @ block).position_m.tolist())
        pushed = Pose(block.position_m + np.array([0.0, 0.002, 0.0]), block.quat_xyzw)
        env.world.objects.place([dataclasses.replace(env.scene.placements[0], pose=pushed)])
        observation = env.step(AWAY)[0]
    env.close()
    return observed, truth, places_m, seen


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_late_picture_is_the_one_of_so_many_periods_ago(delay: int) -> None:
    observed, truth, _, _ = run(delay)
    for key in PICTURES:
        assert len({picture[key].tobytes() for picture in truth}) == STEPS  # every period looks different
        for k in range(STEPS):
            np.testing.assert_array_equal(observed[k][key], truth[max(0, k - delay)][key], err_msg=f"{key}, {k}")


def test_the_delay_counts_control_periods_not_decisions() -> None:
    observed, truth, _, _ = run(2, action_repeat=2)
    for key in PICTURES:
        for k in range(1, STEPS):
            np.testing.assert_array_equal(observed[k][key], truth[k - 1][key])
    observed, truth, _, _ = run(1, action_repeat=2)
    for key in PICTURES:
        for k in range(1, STEPS):
            assert not np.array_equal(observed[k][key], truth[k - 1][key])
            assert not np.array_equal(observed[k][key], truth[k][key])


def test_stacked_pictures_are_late_alike() -> None:
    observed, truth, _, _ = run(2, frames=2)
    for key in PICTURES:
        for k in range(3, STEPS):
            np.testing.assert_array_equal(observed[k][key], np.concatenate([truth[k - 3][key], truth[k - 2][key]]))


@pytest.mark.parametrize("delay", [0, 3])
def test_a_late_sighting_is_the_one_of_so_many_periods_ago_and_its_stamp_says_so(delay: int) -> None:
    _, _, places_m, seen = run(delay)
    for k in range(STEPS):
        np.testing.assert_allclose(seen.places_m[k], places_m[max(0, k - delay)], atol=1e-9)
        assert seen.ages_s[k] == pytest.approx(0.05 * min(k, delay))
    assert len({tuple(place) for place in places_m}) == STEPS


def test_the_episode_after_a_late_one_is_not_late() -> None:
    env = ArmEnv(spec=ObservationSpec(state=False, views=VIEWS[:1]), randomization=late(2), action_repeat=1)
    first, _ = env.reset(seed=1)
    assert isinstance(first, np.ndarray)
    for _ in range(3):
        env.step(AWAY)
    env.randomization = NONE
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(again, first)
    after = env.step(AWAY)[0]
    assert isinstance(after, np.ndarray)
    np.testing.assert_array_equal(after, env.observer.cameras["wrist_depth"].read())
    env.close()


@pytest.mark.parametrize(("delay", "taken"), [(0, 2), (1, 4)])
def test_a_picture_is_taken_once_per_decision_and_per_period_only_where_it_will_be_late(
    delay: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[SimCamera] = []
    read = SimCamera.read

    def counting(camera: SimCamera) -> NDArray[np.uint8] | NDArray[np.float16]:
        counted.append(camera)
        return read(camera)

    monkeypatch.setattr(SimCamera, "read", counting)
    env = ArmEnv(spec=ObservationSpec(views=VIEWS[:1]), randomization=late(delay), action_repeat=3)
    env.reset(seed=1)
    env.step(AWAY)
    assert len(counted) == taken
    env.close()


def test_a_delay_that_would_make_every_sighting_too_old_is_refused() -> None:
    ArmEnv(randomization=late(8), control_hz=4).close()
    with pytest.raises(SimError, match=r"observation_delay_periods: up to 9 .* 2\.25 s; .* at most 8"):
        ArmEnv(randomization=late(9), control_hz=4)
