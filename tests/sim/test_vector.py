"""Worlds in worker processes: real processes, real signals."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bridge.ports import StatefulEnv
from sim.curriculum import Curriculum, Stage, make_curriculum
from sim.errors import BadAction, BadCurriculum, BadWorlds, SimError, WorkerDied, WorkerTimeout, WorldFailed
from sim.vector import SharedVectorEnv
from sim.vector_worker import WorldFactory
from tests.fakes import odd_worlds
from tests.fakes.odd_worlds import FailingTask, StagedEnv, Views, grasp, point
from tests.fakes.point_env import PointEnv

ROOT = Path(__file__).parent.parent.parent
#: Makes a SharedVectorEnv; what its worlds observe is the test's to know.
Make = Callable[..., Any]
STILL = np.zeros((4, 2), np.float32)


@pytest.fixture
def made() -> Iterator[Make]:
    """Makes worlds that are closed after the test."""
    opened: list[SharedVectorEnv] = []

    def make(
        factory: WorldFactory, worlds: int, workers: int = 1, curriculum: Curriculum | None = None
    ) -> SharedVectorEnv:
        opened.append(SharedVectorEnv(factory, worlds, workers, curriculum=curriculum))
        return opened[-1]

    yield make
    for env in opened:
        env.close()


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def children() -> set[int]:
    """Return the children of this process, zombies included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(word) for word in (task / "children").read_text().split()}
    return found


# What Gymnasium asks of it ----------------------------------------------------------------------------


def test_it_steps_as_gymnasiums_own_vector_does_until_the_first_episodes_end(made: Make) -> None:
    ours = made(point, 3, 2)
    theirs: Any = SyncVectorEnv([PointEnv] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    np.testing.assert_array_equal(ours.reset(seed=40)[0], theirs.reset(seed=40)[0])
    rng, over = np.random.default_rng(0), np.zeros(3, dtype=bool)
    for _ in range(25):
        actions = rng.uniform(-0.2, 0.2, (3, 2)).astype(np.float32)
        got, expected = ours.step(actions), theirs.step(actions)
        for k in (1, 2, 3):
            np.testing.assert_array_equal(got[k][~over], expected[k][~over])
            assert got[k].dtype == expected[k].dtype
        ended = (got[2] | got[3]) & ~over
        for world in np.flatnonzero(ended):
            np.testing.assert_array_equal(got[4]["final_obs"][world], expected[4]["final_obs"][world])
            assert got[4]["final_info"]["is_success"][world] == expected[4]["final_info"]["is_success"][world]
            assert got[4]["_final_info"][world]
        over |= ended
        np.testing.assert_array_equal(got[0][~over], expected[0][~over])
    theirs.close()
    assert over.all()


def test_the_step_that_ends_an_episode_begins_the_next(made: Make) -> None:
    env = made(Views, 2, 1)
    first, infos = env.reset(seed=[7, 8])
    np.testing.assert_array_equal(first["state"][:, 1], [0, 0])
    assert infos["options"].tolist() == ["None", "None"]
    for step in (1, 2):
        observations, _, terminated, _, infos = env.step(np.array([step, step]))
        np.testing.assert_array_equal(observations["state"][:, 1], [step, step])
        assert not terminated.any()
        assert infos == {}
    observations, rewards, terminated, truncated, infos = env.step(np.array([4, 4]))
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert rewards.tolist() == [3.0, 3.0]
    assert observations["state"][0, 1:].tolist() == [0, 0], "the next episode's first observation"
    assert observations["state"][0, 0] != first["state"][0, 0], "an episode of its own"
    assert observations["state"][1].tolist() == [first["state"][1, 0], 3, 4]
    assert infos["_final_obs"].tolist() == [True, False]
    assert infos["final_obs"][0]["state"].tolist() == [first["state"][0, 0], 3, 4]
    np.testing.assert_array_equal(infos["final_obs"][0]["depth"], np.full((1, 4, 5), 0.75, np.float16))
    assert infos["final_info"]["is_success"].tolist() == [True, False]


def test_every_part_of_a_dict_keeps_its_type_and_its_world(made: Make) -> None:
    env = made(Views, 5, 2)
    observations, _ = env.reset(seed=1)
    assert {k: (v.dtype, v.shape) for k, v in observations.items()} == {
        "depth": (np.dtype(np.float16), (5, 1, 4, 5)),
        "rgb": (np.dtype(np.uint8), (5, 3, 4, 5)),
        "state": (np.dtype(np.float32), (5, 3)),
    }
    assert observations["rgb"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert env.observation_space.contains(observations)
    held = {k: v.copy() for k, v in observations.items()}
    after = env.step(np.array([4, 3, 2, 1, 0]))[0]
    assert after["state"][:, 2].tolist() == [4, 3, 2, 1, 0]
    for key, value in observations.items():
        np.testing.assert_array_equal(value, held[key], err_msg="what was returned must not change afterwards")


def test_seeds_begin_where_gymnasiums_do_and_options_reach_the_worlds(made: Make) -> None:
    env = made(point, 3)
    alone = PointEnv()
    observations, _ = env.reset(seed=5)
    for world in range(3):
        np.testing.assert_array_equal(observations[world], alone.reset(seed=5 + world)[0])
    observations, _ = env.reset(seed=[9, 100, 9])
    np.testing.assert_array_equal(observations[0], observations[2])
    np.testing.assert_array_equal(observations[1], alone.reset(seed=100)[0])
    without = env.reset()[0]
    assert not np.array_equal(without, observations)
    views = made(Views, 2)
    assert views.reset(seed=1, options={"block": 3})[1]["options"].tolist() == ["{'block': 3}"] * 2


def test_worlds_without_a_seed_begin_anywhere(made: Make) -> None:
    assert not np.array_equal(made(point, 2).reset()[0], made(point, 2).reset()[0])


def test_a_mask_resets_some_worlds_alone(made: Make) -> None:
    env = made(Views, 4, 2)
    env.reset(seed=0)
    env.step(np.zeros(4, dtype=int))
    observations, infos = env.reset(options={"reset_mask": np.array([True, False, False, True])})
    assert observations["state"][:, 1].tolist() == [0, 1, 1, 0]
    assert infos["_options"].tolist() == [True, False, False, True]
    with pytest.raises(BadWorlds, match="at least one True"):
        env.reset(options={"reset_mask": np.zeros(4, dtype=bool)})


# The same whatever the number of workers -------------------------------------------------------------------------


def trajectories(env: gymnasium.vector.VectorEnv[Any, Any, Any], steps: int, seed: int) -> list[str]:
    """Return a hash per world of every bit that it gave in so many steps of one stream of actions."""
    digests = [hashlib.sha256() for _ in range(env.num_envs)]
    rng = np.random.default_rng(11)
    observations, _ = env.reset(seed=seed)
    for _ in range(steps):
        actions = rng.uniform(-1.0, 1.0, (env.num_envs, 2)).astype(np.float32)
        following, rewards, terminated, truncated, infos = env.step(actions)
        for world, digest in enumerate(digests):
            digest.update(observations[world].tobytes() + rewards[world].tobytes())
            digest.update(terminated[world].tobytes() + truncated[world].tobytes())
            if terminated[world] or truncated[world]:
                digest.update(infos["final_obs"][world].tobytes())
        observations = following
    return [digest.hexdigest() for digest in digests]


def test_a_world_lives_through_the_same_episodes_with_any_number_of_workers(made: Make) -> None:
    expected = trajectories(made(point, 4, 1), 120, 3)
    assert len(set(expected)) == 4
    for workers in (2, 3, 4):
        assert trajectories(made(point, 4, workers), 120, 3) == expected
    assert trajectories(made(point, 4, 2), 120, 4) != expected


def test_a_curriculum_changes_at_the_same_episode_with_any_number_of_workers(made: Make) -> None:
    results = []
    for workers in (1, 2, 4):
        curriculum = Curriculum([Stage("small", (0, 0), (0.1, 0.1)), Stage("large")], 6, 0.8)
        env = made(StagedEnv, 4, workers, curriculum=curriculum)
        results.append(trajectories(env, 40, 3))
        assert curriculum.index == 1
    assert results[0] == results[1] == results[2]


def test_the_arms_grasp_is_the_same_from_one_worker_and_from_two(made: Make) -> None:
    one, two = made(grasp, 2, 1), made(grasp, 2, 2)
    steps = 20  # past the end of the first episode, with its lift
    expected = trajectories(one, steps, 8)
    assert trajectories(two, steps, 8) == expected
    assert trajectories(one, steps, 8) == expected, "and once more in the same worlds"
    alone = gymnasium.make("Tandem/Dofbot-Grasp-v0")
    np.testing.assert_array_equal(one.reset(seed=8)[0][1], alone.reset(seed=9)[0])
    alone.close()


def test_later_episodes_do_not_depend_on_what_was_done_in_those_before(made: Make) -> None:
    env = made(Views, 1)
    firsts = []
    for action in (0, 4):
        env.reset(seed=12)
        states = [env.step(np.array([action]))[0]["state"][0] for _ in range(30)]
        firsts.append([state[0] for state in states if state[1] == 0])
    assert firsts[0] == firsts[1]
    assert len(set(firsts[0])) > 5


# Curriculum ------------------------------------------------------------------------------------------------------


def test_one_curriculum_counts_the_episodes_of_all_workers(made: Make) -> None:
    curriculum = Curriculum([Stage("small", (0, 0), (0.1, 0.1)), Stage("large")], 6, 0.8)
    env = made(StagedEnv, 4, 2, curriculum=curriculum)  # world i: episodes of 2 + i steps, all of them successes
    _, infos = env.reset(seed=0)
    assert infos["stage"].tolist() == ["small"] * 4
    assert infos["stage_index"].tolist() == [0] * 4
    stages = [curriculum.index]
    ended_at: dict[int, list[str]] = {world: [] for world in range(4)}
    for _ in range(12):
        _, _, terminated, _, infos = env.step(STILL)
        for world in np.flatnonzero(terminated):
            final = infos["final_info"]
            assert final["stage"][world] == final["was"][world], "what is told is what the world had"
            ended_at[int(world)].append(final["stage"][world])
            # Set before the reset that follows: the episode begun in this very step is of the new stage.
            assert infos["stage_index"][world] == curriculum.index
        stages.append(curriculum.index)
    # Ends by step: 2: w0; 3: w1; 4: w0 w2; 5: w3; 6: w0 and w1: the sixth success is world 0's.
    assert stages == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert ended_at == {0: ["small"] * 3 + ["large"] * 3, 1: ["small"] * 2 + ["large"] * 2,
                        2: ["small"] * 2 + ["large"], 3: ["small"] * 2}  # fmt: skip


def test_episodes_that_began_at_another_stage_do_not_count(made: Make) -> None:
    stages = [Stage("a"), Stage("b"), Stage("c")]
    curriculum = Curriculum(stages, 2, 1.0)
    env = made(StagedEnv, 4, 2, curriculum=curriculum)
    env.reset(seed=0)
    changes = {}
    for step in range(1, 9):
        env.step(STILL)
        changes[step] = (curriculum.index, curriculum.success_rate)
    # Step 2: w0 (1 of 2). Step 3: w1 -> b. Step 4: w0 began at a (at step 2), w2 at a: neither counts.
    assert changes[3] == (1, None)
    assert changes[4] == (1, None)
    # Step 5: w3 began at a. Step 6: w0 (began at step 4, at b) is the first, w1 (began at step 3) the second -> c.
    assert changes[5] == (1, None)
    assert changes[6] == (2, None)
    # Step 8: w0 (at c) counts; w2 (began at step 4, at b) does not.
    assert changes[8] == (2, 1.0)


def test_the_arm_grasps_where_the_stage_says(made: Make) -> None:
    env = made(grasp, 4, 2, curriculum=make_curriculum("reference"))
    _, infos = env.reset(seed=3)
    assert [round(float(pose.position_m[1]), 6) for pose in infos["block"]] == [0.18] * 4
    full = made(grasp, 4, 1)
    _, infos = full.reset(seed=3)
    assert len({round(float(pose.position_m[1]), 4) for pose in infos["block"]}) == 4
    assert "stage_index" not in infos


def test_worlds_go_on_from_the_stage_that_others_were_at(made: Make) -> None:
    def staged() -> Any:  # noqa: ANN401  what its worlds observe is the test's to know
        return made(
            StagedEnv, 4, 2, curriculum=Curriculum([Stage("small", (0, 0), (0.1, 0.1)), Stage("large")], 6, 0.8)
        )

    before, after, plain = staged(), staged(), made(point, 4, 2)
    before.reset(seed=0)
    for _ in range(8):  # promoted at the sixth step; at the eighth world 0 ends the one episode that began after it
        before.step(STILL)
    assert isinstance(before, StatefulEnv)
    assert before.state() == b'{"stage":"large","outcomes":[true]}'
    after.restore(before.state())
    assert after.reset(seed=0)[1]["stage"].tolist() == ["large"] * 4
    assert after.state() == before.state()
    assert plain.state() == b""
    plain.restore(b"")
    with pytest.raises(BadCurriculum, match=r"follow no curriculum, the state is one's: .*large"):
        plain.restore(before.state())


def test_a_curriculum_needs_worlds_with_a_stage() -> None:
    with pytest.raises(BadWorlds, match=r"attribute `stage`, which worlds \[0, 1\] lack"):
        SharedVectorEnv(point, 4, 2, curriculum=make_curriculum("reference"))


# Death -----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_started_again_and_its_episodes_are_lost(made: Make) -> None:
    env, sound = made(Views, 4, 2), made(Views, 4, 2)
    before, _ = env.reset(seed=20)
    sound.reset(seed=20)
    for action in (1, 2):
        before = env.step(np.full(4, action))[0]
        sound.step(np.full(4, action))
    killed, kept = env.worker_pids
    os.kill(killed, signal.SIGKILL)
    observations, rewards, terminated, truncated, infos = env.step(np.full(4, 3))
    assert truncated.tolist() == [True, True, False, False]
    assert terminated.tolist() == [False] * 4
    assert rewards.tolist() == [0.0, 0.0, 3.0, 3.0]
    assert infos["final_info"]["lost"].tolist() == [True, True, False, False]
    assert infos["_final_obs"].tolist() == [True, True, False, False]
    for world in (0, 1):
        for key in ("depth", "rgb", "state"):
            np.testing.assert_array_equal(infos["final_obs"][world][key], before[key][world])
    assert observations["state"][:, 1].tolist() == [0, 0, 3, 3]
    assert env.observation_space.contains(observations)
    assert env.lost_episodes == 2
    assert env.worker_pids[0] != killed
    assert env.worker_pids[1] == kept
    assert not alive(killed)
    # The others go on as if nothing had happened, and the lost worlds with the episode that would have come next.
    reference = [sound.step(np.full(4, 3))[0] for _ in range(3)][-1]
    assert observations["state"][0, 0] == reference["state"][0, 0]
    for _ in range(2):
        observations, _, _, _, infos = env.step(np.full(4, 3))
    np.testing.assert_array_equal(observations["state"][2:], reference["state"][2:])
    assert "lost" not in infos.get("final_info", {})


def test_a_worker_killed_in_the_middle_of_a_step_is_started_again(made: Make) -> None:
    env = made(grasp, 2, 2)
    env.reset(seed=0)
    lost = 0
    for _ in range(3):
        env.step_async(np.zeros((2, 2), np.float32))
        time.sleep(0.002)
        os.kill(env.worker_pids[1], signal.SIGKILL)
        observations, _, _, truncated, infos = env.step_wait()
        assert np.isfinite(observations).all()
        lost += int(truncated[1])
        assert not truncated[0]
        if truncated[1]:
            assert infos["final_info"]["lost"].tolist() == [False, True]
        env.step(np.zeros((2, 2), np.float32))  # where it had answered already, its death shows here
    assert env.lost_episodes == 3 >= lost


def test_a_worker_killed_between_episodes_is_started_again_by_the_reset(made: Make) -> None:
    env = made(point, 4, 2)
    first, _ = env.reset(seed=6)
    os.kill(env.worker_pids[0], signal.SIGKILL)
    again, infos = env.reset(seed=6)
    np.testing.assert_array_equal(first, again)
    assert "lost" not in infos
    # A worker that was busy with nothing of the mask loses nothing; one that was loses its other world's episode.
    os.kill(env.worker_pids[0], signal.SIGKILL)
    assert wait_until(lambda: not alive(env.worker_pids[0]))
    _, infos = env.reset(options={"reset_mask": np.array([True, False, False, False])})
    assert infos["lost"].tolist() == [False, True, False, False]


def test_a_world_that_kills_its_worker_once_loses_one_episode(made: Make, tmp_path: Path) -> None:
    env = made(FailingTask("step", "die once", tmp_path), 4, 2)
    env.reset(seed=1)
    (tmp_path / "2").touch()
    truncated = env.step(STILL)[3]
    assert truncated.tolist() == [False, False, True, True]
    assert not env.step(STILL)[3].any()


@pytest.mark.parametrize(("how", "words"), [("die", "was killed by SIGKILL"), ("exit", "ended with exit code 7")])
@pytest.mark.parametrize("where", ["build", "reset", "step"])
def test_a_worker_that_dies_again_and_again_is_an_error(where: str, how: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    before = children()
    env: SharedVectorEnv | None = None
    with pytest.raises(WorkerDied, match=rf"worker 0 \(worlds \[0, 1\]\) died 3 times in a row .* {words}"):  # noqa: PT012
        env = SharedVectorEnv(FailingTask(where, how, tmp_path), 4, 2)
        env.reset(seed=1)
        for _ in range(10):
            env.step(STILL)
    assert children() == before
    if env is not None:
        with pytest.raises(SimError, match="closed"):
            env.reset()


# Errors and silence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["build", "reset", "step"])
def test_an_error_in_a_world_reaches_the_parent_with_its_traceback(where: str, tmp_path: Path) -> None:
    (tmp_path / "3").touch()
    before = children()
    with pytest.raises(WorldFailed) as caught:  # noqa: PT012
        env = SharedVectorEnv(FailingTask(where, "raise", tmp_path), 4, 2)
        env.reset(seed=1)
        env.step(STILL)
    text = str(caught.value)
    assert text.startswith("world 3 failed in worker 1:")
    assert "ArithmeticError: world 3 cannot go on" in text
    assert re.search(r'odd_worlds.py", line \d+, in _fail', text)
    assert children() == before


@pytest.mark.parametrize("where", ["build", "reset", "step"])
def test_silence_ends_with_a_timeout(where: str, tmp_path: Path) -> None:
    (tmp_path / "2").touch()
    before = children()
    start_s = 2.0 if where == "build" else 60.0
    with pytest.raises(WorkerTimeout, match=r"no answer within (2|1) s from .*worker 1 \(worlds \[2, 3\]\)"):  # noqa: PT012
        env = SharedVectorEnv(FailingTask(where, "hang", tmp_path), 4, 2, start_timeout_s=start_s, step_timeout_s=1.0)
        env.reset(seed=1)
        env.step(STILL)
    assert children() == before


def test_an_observation_that_is_not_of_its_space_is_an_error(made: Make) -> None:
    env = made(odd_worlds.wrong_shape, 1)
    env.reset(seed=0)
    with pytest.raises(WorldFailed, match=r"an observation is float32 \(1,\), its space float32 \(2,\)"):
        env.step(STILL[:1])


def test_bad_actions_are_refused_before_any_world_moves(made: Make) -> None:
    env = made(point, 4, 2)
    first, _ = env.reset(seed=2)
    bad = STILL.copy()
    bad[2, 1] = np.nan
    with pytest.raises(BadAction, match=r"finite, got \[ ?0. nan\] for world 2"):
        env.step(bad)
    with pytest.raises(BadAction, match=r"float32 \(4, 2\), got float32 \(3, 2\)"):
        env.step(STILL[:3])
    with pytest.raises(BadAction, match="complex"):
        env.step(STILL.astype(complex))
    np.testing.assert_array_equal(env.step(STILL)[0], first)


def test_calls_out_of_turn_are_refused(made: Make) -> None:
    env = made(point, 4)
    with pytest.raises(SimError, match="reset the worlds before"):
        env.step(STILL)
    with pytest.raises(BadWorlds, match="first reset must be of all"):
        env.reset(options={"reset_mask": np.array([True, False, False, False])})
    env.reset()
    with pytest.raises(SimError, match="step_async before"):
        env.step_wait()
    env.step_async(STILL)
    with pytest.raises(SimError, match="under way"):
        env.reset()
    env.step_wait()
    with pytest.raises(BadWorlds, match="one for each of 4 worlds, got 2"):
        env.reset(seed=[1, 2])
    with pytest.raises(BadWorlds, match="seed must be at least 0, got -2 for world 0"):
        env.reset(seed=-2)
    env.close()
    env.close()
    with pytest.raises(SimError, match="closed"):
        env.reset()


@pytest.mark.parametrize(
    ("factory", "worlds", "workers", "message"),
    [
        (point, 0, 1, r"worlds must be at least 1, got 0"),
        (point, 2, 3, r"workers must be 1 to 2 \(the number of worlds\), got 3"),
        (point, 2, 0, r"got 0"),
        (lambda index: PointEnv(), 2, 1, r"the factory must be picklable"),
        (odd_worlds.unfit, 2, 1, r"observation_space must be a Box or a Dict of Boxes, got Discrete\(3\)"),
        (odd_worlds.different, 2, 2, r"worlds \[1\] have other spaces than those before"),
    ],
)
def test_worlds_that_cannot_be_are_refused(factory: WorldFactory, worlds: int, workers: int, message: str) -> None:
    before = children()
    with pytest.raises(BadWorlds, match=message):
        SharedVectorEnv(factory, worlds, workers)
    assert children() == before


# What workers are made of ----------------------------------------------------------------------------------------


def test_a_worker_loads_no_learner_and_starts_no_threads(made: Make) -> None:
    _, infos = made(odd_worlds.introspective, 2).reset(seed=0)
    modules = set(infos["modules"][0].split())
    assert "pybullet" in modules
    assert not modules & {"torch", "stable_baselines3", "policies", "scripts", "matplotlib", "cv2"}
    assert infos["threads"].tolist() == [1, 1]


def test_a_main_module_that_loads_a_learner_does_not_load_it_into_workers(tmp_path: Path) -> None:
    program = """
        import torch
        from sim.vector import SharedVectorEnv
        from tests.fakes.odd_worlds import introspective
        if __name__ == "__main__":
            env = SharedVectorEnv(introspective, 2, 2)
            print("torch" in env.reset(seed=0)[1]["modules"][0].split())
    """
    assert run_program(tmp_path, program) == "False"


def test_a_factory_may_come_from_the_main_module(tmp_path: Path) -> None:
    program = """
        from sim.vector import SharedVectorEnv
        from tests.fakes.point_env import PointEnv
        class Mine(PointEnv):
            pass
        def make(index):
            return Mine()
        if __name__ == "__main__":
            print(SharedVectorEnv(make, 2, 2).reset(seed=0)[0].shape)
    """
    assert run_program(tmp_path, program) == "(2, 2)"


def test_a_factory_that_no_worker_can_import_is_told_where_to_live(tmp_path: Path) -> None:
    program = """
        from sim.errors import WorldFailed
        from sim.vector import SharedVectorEnv
        from tests.fakes.point_env import PointEnv
        if __name__ == "__main__":
            def make(index):
                return PointEnv()
            try:
                SharedVectorEnv(make, 1, 1)
            except WorldFailed as error:
                print(str(error).splitlines()[0])
    """
    line = run_program(tmp_path, program)
    assert "Can't get attribute 'make'" in line
    assert "put it into a module of its own" in line


def run_program(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, path], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The end ---------------------------------------------------------------------------------------------------------


def descriptors() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{link.name} {os.readlink(link)}")
        except OSError:  # the one this loop had open
            continue
    return found


def test_close_leaves_neither_process_nor_memory_nor_descriptor() -> None:
    before, children_before = descriptors(), children()
    shared_before = set(os.listdir("/dev/shm"))
    for _ in range(2):
        env: Any = SharedVectorEnv(Views, 4, 2)
        pids = env.worker_pids
        observations, _ = env.reset(seed=1)
        assert "memfd:tandem-worlds" in Path("/proc/self/maps").read_text()
        assert set(os.listdir("/dev/shm")) == shared_before, "the memory has no name that could be left behind"
        env.close()
        assert not any(alive(pid) for pid in pids)
        assert children() == children_before
        assert descriptors() == before
        assert "memfd:tandem-worlds" not in Path("/proc/self/maps").read_text()
        assert observations["rgb"][:, 0, 0, 0].tolist() == [0, 1, 2, 3], "what was handed out stays"


def test_close_in_the_middle_of_a_step_does_not_wait_for_it(tmp_path: Path) -> None:
    env = SharedVectorEnv(FailingTask("step", "hang", tmp_path), 2)
    env.reset(seed=0)
    (tmp_path / "0").touch()
    env.step_async(STILL[:2])
    began = time.monotonic()
    env.close()
    assert time.monotonic() - began < 3.0


def test_a_vector_that_is_forgotten_ends_its_workers() -> None:
    env = SharedVectorEnv(point, 2, 2)
    pids = env.worker_pids
    del env
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize("kind", ["step", "hang"])
def test_workers_end_when_their_parent_is_killed(kind: str, tmp_path: Path) -> None:
    for world in range(4):
        (tmp_path / str(world)).touch()
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.sim.vector_driver", kind, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    pids = [int(word) for word in driver.stdout.readline().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    time.sleep(0.1)
    driver.kill()
    driver.communicate()
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 5.0)


def test_workers_of_a_thread_outlive_it(made: Make) -> None:
    """The kernel's parent-death signal belongs to the thread that started a process: it must not be set from here."""
    found: list[SharedVectorEnv] = []
    thread = threading.Thread(target=lambda: found.append(made(point, 4, 2)))
    thread.start()
    thread.join()
    pids = found[0].worker_pids
    time.sleep(0.2)
    found[0].reset(seed=0)
    found[0].step(STILL)
    assert found[0].worker_pids == pids


def test_ctrl_c_and_sigterm_do_not_reach_the_workers(made: Make) -> None:
    env = made(point, 4, 2)
    env.reset(seed=0)
    for pid in env.worker_pids:
        assert os.getpgid(pid) == pid
        os.kill(pid, signal.SIGTERM)
    pids = env.worker_pids
    assert not env.step(STILL)[3].any()
    assert env.worker_pids == pids
