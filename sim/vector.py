"""Many worlds at once: several in each of several processes, stepped together, under one curriculum.

A `gymnasium.vector.VectorEnv` that knows nothing of learners and loads none of their libraries.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sim.curriculum import Curriculum
from sim.errors import BadAction, BadWorlds, SimError, WorkerDied, WorldFailed
from sim.vector_memory import Array, Layout, Observation, SharedMemory, plan_layout
from sim.vector_process import WorkerProcess, check_factory, gather
from sim.vector_worker import Attach, Close, Done, Failure, Info, Ready, Reply, Reset, Step, WorldFactory

StepResult = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]


_CLOSING_S = 5.0


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
    more as `final_obs`, and `lost` in `final_info`. Raises WorkerDied when one dies `MAX_DEATHS` times in a row before
    it has finished a step, WorldFailed with the traceback when a world raises, and WorkerTimeout when a worker is
    silent for `start_timeout_s` while it builds its worlds or for `step_timeout_s` at a reset or step: then all
    processes have been ended.
    """

    MAX_DEATHS: ClassVar[int] = 3

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
        if not 1 <= workers <= worlds:
            raise BadWorlds(f"workers must be 1 to {worlds} (the number of worlds), got {workers}")
        if start_timeout_s <= 0 or step_timeout_s <= 0:
            raise BadWorlds(f"timeouts must be above 0 s, got {start_timeout_s} and {step_timeout_s}")
        check_factory(factory)
        self.num_envs, self.curriculum = worlds, curriculum
        self.lost_episodes = 0
        self._factory, self._start_timeout_s, self._step_timeout_s = factory, start_timeout_s, step_timeout_s
        self._seeds = [EpisodeSeeds(int(s)) for s in np.random.SeedSequence().generate_state(worlds)]
        self._began_at = [-1] * worlds
        self._stepping = self._begun = False
        self._descriptor = os.memfd_create("tandem-worlds")
        shares = np.array_split(np.arange(worlds), workers)
        self._workers = [WorkerProcess(k, share.tolist(), self._descriptor) for k, share in enumerate(shares)]
        self._first: Ready | None = None
        self._layout: Layout | None = None
        self._healthy = True
        self.closed = False
        try:
            self._describe(self._bring_up(self._workers))
        except BaseException:
            self.close()
            raise

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers, in the order of their worlds."""
        return tuple(worker.pid for worker in self._workers)

    # Processes -------------------------------------------------------------------------------------------------------
    def _bring_up(self, workers: Sequence[WorkerProcess]) -> Ready:
        """Start workers, again where one dies, and let them map the memory; return what the worlds look like."""
        pending = list(workers)
        while pending:
            for worker in pending:
                worker.start(self._factory)
            replies, dead = self._gather(pending, self._start_timeout_s)
            for worker, reply in sorted(replies.items(), key=lambda item: item[0].index):
                assert isinstance(reply, Ready)
                self._check(reply, worker)
                worker.send(Attach(self._plan(reply)))
            _, dead_now = self._gather(list(replies), self._start_timeout_s)
            pending = [*dead, *dead_now]
            for worker in pending:
                self._bury(worker)
        assert self._first is not None
        return self._first

    def _check(self, ready: Ready, worker: WorkerProcess) -> None:
        first = self._first = self._first or ready
        spaces = (ready.observation_space, ready.action_space)
        worlds = f"worlds {list(worker.worlds)}"
        if spaces != (first.observation_space, first.action_space):
            self._abandon()
            raise BadWorlds(f"{worlds} have other spaces than those before: {spaces}")
        if self.curriculum is not None and not ready.staged:
            self._abandon()
            raise BadWorlds(f"a curriculum needs worlds with an attribute `stage`, which {worlds} lack")

    def _plan(self, ready: Ready) -> Layout:
        if self._layout is None:
            self._layout = plan_layout(ready.observation_space, ready.action_space, self.num_envs)
            self._memory = SharedMemory(self._descriptor, self._layout)
            self._last = self._memory.observations.private()
        return self._layout

    def _describe(self, ready: Ready) -> None:
        self.metadata = {**ready.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = ready.render_mode
        self.single_observation_space, self.single_action_space = ready.observation_space, ready.action_space
        self.observation_space = batch_space(ready.observation_space, self.num_envs)
        self.action_space = batch_space(ready.action_space, self.num_envs)

    def _bury(self, worker: WorkerProcess) -> None:
        """Count a death; raises WorkerDied when there were too many."""
        how = worker.end()
        worker.deaths += 1
        if worker.deaths >= self.MAX_DEATHS:
            self._abandon()
            raise WorkerDied(
                f"worker {worker.index} (worlds {list(worker.worlds)}) died {worker.deaths} times in a row before it "
                f"finished a step; the last time it {how}"
            )

    def _gather(
        self, workers: Sequence[WorkerProcess], timeout_s: float
    ) -> tuple[dict[WorkerProcess, Reply], list[WorkerProcess]]:
        try:
            replies, dead = gather(workers, timeout_s)
        except SimError:
            self._abandon()
            raise
        for worker, reply in replies.items():
            if isinstance(reply, Failure):
                self._abandon()
                where = f"worlds {list(worker.worlds)}" if reply.world is None else f"world {reply.world}"
                raise WorldFailed(f"{where} failed in worker {worker.index}:\n{reply.traceback}")
        return dict(replies), dead

    def _abandon(self) -> None:
        """End everything without waiting for anyone."""
        self._healthy = False
        self.close()

    def close_extras(self, **kwargs: object) -> None:
        """End the processes and free the memory; called by `close`."""
        kindly = self._healthy and not self._stepping
        if kindly:
            for worker in self._workers:
                worker.send(Close())
        for worker in self._workers:
            worker.end(_CLOSING_S if kindly else 0.0)
        os.close(self._descriptor)
        if self._layout is not None:
            del self._memory

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
        self._last.copy_from(self._memory.observations)
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
            busy = [worker for worker in self._workers if pending.intersection(worker.worlds)]
            for worker in busy:
                mine = [world for world in worker.worlds if world in pending]
                worker.send(Reset({world: self._seeds[world].next for world in mine}, stage, options))
            replies, dead = self._gather(busy, self._step_timeout_s)
            for worker, reply in replies.items():
                assert isinstance(reply, Done)
                infos.update(reply.infos)
                pending.difference_update(worker.worlds)
            for worker in dead:
                self._bury(worker)
                self._bring_up([worker])
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
        array, target = np.asarray(actions), self._memory.actions
        if array.shape != target.shape or not np.can_cast(array.dtype, target.dtype, "same_kind"):
            raise BadAction(f"actions must be {target.dtype} {target.shape}, got {array.dtype} {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            world = int(np.argwhere(~np.isfinite(array))[0][0])
            raise BadAction(f"actions must be finite, got {array[world]} for world {world}")
        target[...] = array
        for worker in self._workers:
            # Under a curriculum an episode may not begin before the parent has counted those that end in this step.
            seeds = {} if self.curriculum else {world: self._seeds[world].next for world in worker.worlds}
            worker.send(Step(seeds))
        self._stepping = True

    def step_wait(self) -> StepResult:
        """Return observations, rewards, terminations, truncations (each with the worlds first), and infos."""
        self._expect(stepping=True)
        replies, dead = self._gather(self._workers, self._step_timeout_s)
        self._stepping = False
        memory = self._memory
        rewards, terminated, truncated = memory.rewards.copy(), memory.terminated.copy(), memory.truncated.copy()
        stages = [self._stage_info(world) for world in range(self.num_envs)]
        infos: dict[int, Info] = {}
        ends: dict[int, Info] = {}
        for worker, reply in replies.items():
            assert isinstance(reply, Done)
            worker.deaths = 0
            infos.update(reply.infos)
            ends.update({world: info | stages[world] for world, info in reply.final_infos.items()})
        self._count(ends)
        if self.curriculum is None:
            for world in ends:
                self._seeds[world].advance()
        for worker in dead:
            self._bury(worker)
            self._bring_up([worker])
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
                self._abandon()
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

    def _expect(self, stepping: bool) -> None:
        if self.closed:
            raise SimError("these worlds are closed: make new ones")
        if stepping != self._stepping:
            raise SimError("step_wait needs a step_async before it" if stepping else "a step is under way: step_wait")
