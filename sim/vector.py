"""Many worlds at once: several in each of several processes, stepped together, under one curriculum.

A `gymnasium.vector.VectorEnv` that knows nothing of learners and loads none of their libraries.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sim.curriculum import Curriculum
from sim.errors import BadAction, BadCurriculum, BadWorlds, SimError, WorldFailed
from sim.vector_crew import Crew
from sim.vector_memory import Array, Observation
from sim.vector_process import WorkerProcess
from sim.vector_worker import Command, Info, Reset, Step, WorldFactory

StepResult = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]


class EpisodeSeeds:
    """The seeds of one world's episodes: `base` itself, then numbers derived from it; nothing else enters.

    So episode k of a world is the same whatever was done in those before it, how many workers there are, and
    whether a worker died on the way.
    """

    def __init__(self, base: int) -> None:
        self._base, self._episode = base, 0
        self.next = base

    def advance(self) -> None:
        """Go on to the next episode."""
        self._episode += 1
        sequence = np.random.SeedSequence(self._base, spawn_key=(self._episode,))
        self.next = int(sequence.generate_state(1)[0])


class SharedVectorEnv(VectorEnv[Observation, Array, Array]):
    """Worlds 0 to `worlds` - 1, spread evenly over `workers` processes; `factory(index)` builds each of them there.

    An episode that ends is followed by the next within the same step (Gymnasium's SAME_STEP): `infos["final_obs"]` and
    `infos["final_info"]` hold its end. With a `curriculum` every world must have an attribute `stage`, which is set
    before each of its episodes; `info["is_success"]` at the end of an episode is counted when the episode began at the
    present stage; `stage` (the name) and `stage_index` are added to the infos.

    A worker that dies is started again. Its worlds' episodes are lost: truncated, reward 0, the last observation once
    more as `final_obs`, and `lost` in `final_info`. Raises WorkerDied when one dies three times in a row before
    it has finished a step, WorldFailed with the traceback when a world raises, and WorkerTimeout when a worker is
    silent for `start_timeout_s` while it builds its worlds or for `step_timeout_s` at a reset or step: then all
    processes have been ended. A `bridge.ports.StatefulEnv`: its curriculum outlives it.
    """

    def __init__(
        self,
        factory: WorldFactory,
        worlds: int,
        workers: int = 1,
        *,
        curriculum: Curriculum | None = None,
        start_timeout_s: float = 120.0,
        step_timeout_s: float = 60.0,
    ) -> None:
        self.closed = True  # until there is something to close
        self._crew = Crew(factory, worlds, workers, curriculum is not None, start_timeout_s, step_timeout_s)
        self.closed = False
        self.num_envs, self.curriculum = worlds, curriculum
        self.lost_episodes = 0
        self._seeds = [EpisodeSeeds(int(s)) for s in np.random.SeedSequence().generate_state(worlds)]
        self._began_at = [-1] * worlds
        self._stepping = self._begun = False
        self._last = self._crew.memory.observations.private()
        ready = self._crew.ready
        self.metadata = {**ready.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = ready.render_mode
        self.single_observation_space, self.single_action_space = ready.observation_space, ready.action_space
        self.observation_space = batch_space(ready.observation_space, worlds)
        self.action_space = batch_space(ready.action_space, worlds)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers, in the order of their worlds."""
        return tuple(worker.pid for worker in self._crew.workers)

    def close_extras(self, **kwargs: object) -> None:
        """End the processes and free the memory, without waiting for a step under way; called by `close`."""
        self._crew.close(kindly=not self._stepping)

    def state(self) -> bytes:
        """Return where the curriculum stands, empty without one: all else follows from the seed of a reset."""
        return self.curriculum.capture() if self.curriculum else b""

    def restore(self, state: bytes) -> None:
        """Go on from what `state` returned, at the next reset; raises BadCurriculum when it does not fit."""
        if self.curriculum:
            self.curriculum.resume(state)
        elif state:
            raise BadCurriculum(f"these worlds follow no curriculum, the state is one's: {state.decode()}")

    def _expect(self, stepping: bool) -> None:
        if self.closed or self._crew.closed:
            raise SimError("these worlds are closed: make new ones")
        if stepping != self._stepping:
            raise SimError("step_wait needs a step_async before it" if stepping else "a step is under way: step_wait")

    # Episodes --------------------------------------------------------------------------------------------------------
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Observation, Info]:
        """Begin an episode in every world, or in those of `options["reset_mask"]` (worlds,) bool.

        `seed`: world i begins with `seed` + i, or with `seed[i]`, and draws the seeds of its later episodes from that;
        without one it goes on with the seeds it has. Other options reach the worlds as they are.
        """
        self._expect(stepping=False)
        worlds = list(range(self.num_envs))
        if options is not None and "reset_mask" in options:
            worlds = np.flatnonzero(self._mask(options["reset_mask"])).tolist()
            options = {key: value for key, value in options.items() if key != "reset_mask"}
        self._reseed(seed, worlds)
        infos: Info = {}
        begun, lost = self._begin(worlds, options)
        for world in sorted(begun):
            infos = self._add_info(infos, begun[world] | ({"lost": True} if world in lost else {}), world)
        self.lost_episodes += len(lost)
        self._begun = True
        self._last.copy_from(self._crew.memory.observations)
        return self._last.read_all(), infos

    def _mask(self, mask: object) -> NDArray[np.bool_]:
        array = np.asarray(mask)
        if array.dtype != np.bool_ or array.shape != (self.num_envs,) or not array.any():
            raise BadWorlds(f"reset_mask must be bool ({self.num_envs},) with at least one True, got {mask}")
        if not (self._begun or array.all()):
            raise BadWorlds("the first reset must be of all worlds, got a reset_mask")
        return array

    def _reseed(self, seed: int | Sequence[int | None] | None, worlds: Sequence[int]) -> None:
        if seed is None:
            return
        if isinstance(seed, Sequence | np.ndarray):
            if len(seed) != self.num_envs:
                raise BadWorlds(f"seed must be one number or one for each of {self.num_envs} worlds, got {len(seed)}")
            bases = [None if s is None else operator.index(s) for s in seed]
        else:
            bases = [operator.index(seed) + world for world in range(self.num_envs)]
        for world in worlds:
            base = bases[world]
            if base is not None:
                if base < 0:
                    raise BadWorlds(f"seed must be at least 0, got {base} for world {world}")
                self._seeds[world] = EpisodeSeeds(base)

    def _begin(self, worlds: Collection[int], options: Info | None = None) -> tuple[dict[int, Info], set[int]]:
        """Begin episodes; return the infos by world, and the worlds that lost one under way to a dying worker."""
        stage = None if self.curriculum is None else self.curriculum.stage
        infos: dict[int, Info] = {}
        asked, pending = frozenset(worlds), set(worlds)
        while pending:
            commands: dict[WorkerProcess, Command] = {}
            for worker in self._crew.workers:
                seeds = {world: self._seeds[world].next for world in worker.worlds if world in pending}
                if seeds:
                    commands[worker] = Reset(seeds, stage, options)
            self._crew.ask(commands)
            replies, dead = self._crew.answers(list(commands))
            for worker, reply in replies.items():
                infos.update(reply.infos)
                pending.difference_update(worker.worlds)
            for worker in dead:
                pending.update(worker.worlds)  # those that were in the middle of an episode as well
        for world in infos:
            self._seeds[world].advance()
            if self.curriculum is not None:
                self._began_at[world] = self.curriculum.index
                infos[world] = infos[world] | self._stage_info(world)
        return infos, set(infos) - asked

    def _stage_info(self, world: int) -> Info:
        if self.curriculum is None:
            return {}
        index = self._began_at[world]
        return {"stage": self.curriculum.stages[index].name, "stage_index": index}

    # Steps -----------------------------------------------------------------------------------------------------------
    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, Info]:
        """Step every world; see `step_async` and `step_wait`."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: Array) -> None:
        """Send actions (worlds, *action shape) on their way; raises BadAction before any world has moved."""
        self._expect(stepping=False)
        if not self._begun:
            raise SimError("reset the worlds before the first step")
        array, target = np.asarray(actions), self._crew.memory.actions
        if array.shape != target.shape or not np.can_cast(array.dtype, target.dtype, "same_kind"):
            raise BadAction(f"actions must be {target.dtype} {target.shape}, got {array.dtype} {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            world = int(np.argwhere(~np.isfinite(array))[0][0])
            raise BadAction(f"actions must be finite, got {array[world]} for world {world}")
        target[...] = array
        # Under a curriculum an episode may not begin before the parent has counted those that end in this step.
        begin = self.curriculum is None
        self._crew.ask(
            {
                worker: Step({world: self._seeds[world].next for world in worker.worlds if begin})
                for worker in self._crew.workers
            }
        )
        self._stepping = True

    def step_wait(self) -> StepResult:
        """Return observations, rewards, terminations, truncations (each with the worlds first), and infos."""
        self._expect(stepping=True)
        replies, dead = self._crew.answers(self._crew.workers)
        self._stepping = False
        memory = self._crew.memory
        rewards, terminated, truncated = memory.rewards.copy(), memory.terminated.copy(), memory.truncated.copy()
        stages = [self._stage_info(world) for world in range(self.num_envs)]
        infos: dict[int, Info] = {}
        ends: dict[int, Info] = {}
        for worker, reply in replies.items():
            worker.deaths = 0
            infos.update(reply.infos)
            ends.update({world: info | stages[world] for world, info in reply.final_infos.items()})
        self._count(ends)
        if self.curriculum is None:
            for world in ends:
                self._seeds[world].advance()
        lost = {world for worker in dead for world in worker.worlds}
        begun, more_lost = self._begin(lost if self.curriculum is None else lost | set(ends))
        lost |= more_lost
        finals = {world: memory.final_observations.read(world) for world in ends}
        for world in lost:
            rewards[world], terminated[world], truncated[world] = 0.0, False, True
            # What its worker last wrote may be half an observation.
            finals[world], ends[world] = self._last.read(world), {"lost": True} | stages[world]
        self.lost_episodes += len(lost)
        self._last.copy_from(memory.observations)
        return self._last.read_all(), rewards, terminated, truncated, self._combine(infos | begun, finals, ends)

    def _count(self, ends: dict[int, Info]) -> None:
        """Tell the curriculum of the episodes that ended, in the order of the worlds."""
        for world in sorted(ends) if self.curriculum else ():
            assert self.curriculum is not None
            if "is_success" not in ends[world]:
                self.close()
                raise WorldFailed(f"a curriculum needs is_success in an episode's last info; world {world} gave none")
            # An episode that began before the stage changed says nothing about the new one.
            if self._began_at[world] == self.curriculum.index:
                self.curriculum.record(bool(ends[world]["is_success"]))

    def _combine(self, infos: dict[int, Info], finals: dict[int, Observation], ends: dict[int, Info]) -> Info:
        """Return the infos of all worlds as Gymnasium wants them: arrays over the worlds, each with its mask."""
        combined: Info = {}
        for world in sorted(set(infos) | set(ends)):
            if world in ends:
                final: Info = {"final_obs": finals[world], "final_info": ends[world]}
                combined = self._add_info(combined, final, world)
            combined = self._add_info(combined, infos.get(world, {}), world)
        return combined
