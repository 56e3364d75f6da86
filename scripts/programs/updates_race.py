"""Gradient steps per second of our SAC beside those of Stable-Baselines3 and SBX, in alternating turns."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC

from policies.acceleration import Computing
from policies.config import TrainConfig
from policies.learner import WorldStep
from policies.learner_config import EncoderKind, SacConfig
from policies.parts import parts_of
from policies.precision import choose_precision
from policies.presets import PRESETS, find_preset
from policies.replay import Replay
from policies.sac import Sac
from scripts.programs import updates_baseline
from scripts.programs.figures import Row, at_least
from scripts.programs.updates_baseline import TRANSITIONS, Unplayed, fill, random_walk, rate
from scripts.simulation import simulated

Progress = Callable[[str, float], None]

SBX_PYTHON, SBX_VERSION = "TANDEM_SBX_PYTHON", "0.28"
#: Turns that are raced, after one that warms up.
TURNS, TURN_S = 7, 1.0
#: The second is PyTorch's own choice on two cores.
_THREADS = (1, 2)
PICTURE_TRANSITIONS = 2_000
_SEED = 0
_COMPILED = Computing(compiled=True)


class Racer(Protocol):
    """Somebody who takes gradient steps."""

    @property
    def label(self) -> str:
        """Who it is."""
        ...

    def rate(self, seconds: float) -> float:
        """Return the updates per second over so long a time."""
        ...


@dataclass(frozen=True, slots=True)
class TorchRacer:
    """Updates in this process, with so many threads, float32 products as given."""

    label: str
    update: Callable[[], object]
    threads: int
    precision: str

    def rate(self, seconds: float) -> float:
        """Return the updates per second over so long a time."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.precision)
        return rate(self.update, seconds)


class SbxRacer:
    """SBX in a process of its own, by an interpreter that has it; raises BrokenPipeError where that process ends."""

    label = "SBX"

    def __init__(self, python: str, state_size: int, action_size: int, batch: int) -> None:
        program = str(Path(updates_baseline.__file__).resolve())
        words = [python, "-P", program, *map(str, (state_size, action_size, batch))]
        # As many threads as its users have, whatever this process was told.
        told = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
        self._process = subprocess.Popen(words, env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, seconds: float) -> float:
        """Return the updates per second over so long a time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise BrokenPipeError(f"SBX ended with exit code {self._process.wait()}; what it said is above")
        return float(answer)

    def close(self) -> None:
        """End the process and return when it is gone."""
        self._process.kill()
        self._process.communicate()


# The races -----------------------------------------------------------------------------------------------------------


def mlp_against_sb3(figure: str, bar: float, on_progress: Progress) -> Row:
    """Race on the state of the Dofbot's grasp against Stable-Baselines3."""
    worlds = spaces_of(find_preset("grasp"))
    return raced(figure, bar, _ours_mlp(worlds), _sb3("MlpPolicy", worlds.alone, worlds.actions), on_progress)


def mlp_against_sbx(figure: str, bar: float, on_progress: Progress) -> Row:
    """Race on the state of the Dofbot's grasp against SBX, which the project does not depend on."""
    python = os.environ.get(SBX_PYTHON, sys.executable)
    tried = subprocess.run([python, "-P", "-c", "import sbx"], capture_output=True, text=True)
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        advice = f"pip install sbx-rl=={SBX_VERSION}, in an environment of its own whose Python {SBX_PYTHON} names"
        return at_least(figure, None, "", bar, f"{python} cannot import sbx ({said}): {advice}")
    worlds = spaces_of(find_preset("grasp"))
    with closing(SbxRacer(python, worlds.alone.shape[0], worlds.actions.shape[0], SacConfig().batch_size)) as sbx:
        return raced(figure, bar, _ours_mlp(worlds), [sbx], on_progress)


def depth_against_sb3(figure: str, bar: float, on_progress: Progress) -> Row:
    """Race ours, whose critics look at no picture, against Stable-Baselines3's CnnPolicy on pictures of a byte."""
    config = depth_config()
    worlds = spaces_of(config)
    seen = config.sees, config.critic_sees, PICTURE_TRANSITIONS
    mine = [*ours(worlds, config.sac, *seen), *ours(worlds, config.sac, *seen, _COMPILED)]
    picture = gymnasium.spaces.Box(0, 255, (1, config.picture_px, config.picture_px), np.uint8)
    sb3 = _sb3("CnnPolicy", picture, worlds.actions, config.sac.batch_size, PICTURE_TRANSITIONS)
    return raced(figure, bar, mine, sb3, on_progress)


def depth_config() -> TrainConfig:
    """Return the settings of the asymmetric actor-critic: the preset's, or those that it would be made from."""
    sac = SacConfig(hidden=(128, 128), batch_size=128, encoder=EncoderKind.STRIDED)
    sees, critic_sees = ("proprioception", "wrist_depth"), ("state", "privileged")
    config = PRESETS.get("depth-asym", TrainConfig(task="grasp", sees=sees, critic_sees=critic_sees, sac=sac))
    return dataclasses.replace(config, sac=dataclasses.replace(config.sac, batch_size=128))


@dataclass(frozen=True, slots=True)
class Spaces:
    """What is seen and done in a task."""

    seen: gymnasium.Space[Any]
    actions: gymnasium.spaces.Box

    @property
    def alone(self) -> gymnasium.spaces.Box:
        """The one part of the observation."""
        assert isinstance(self.seen, gymnasium.spaces.Box)
        return self.seen


def spaces_of(config: TrainConfig) -> Spaces:
    """Return what a configuration's worlds show and take."""
    with closing(simulated(config, "table")(0)) as environment:
        actions = environment.action_space
        assert isinstance(actions, gymnasium.spaces.Box)
        return Spaces(environment.observation_space, actions)


def _ours_mlp(worlds: Spaces) -> Sequence[TorchRacer]:
    # The others' critics have no layer norms: with the same networks it is the learners that are compared.
    config = SacConfig(layer_norm=False)
    return [*ours(worlds, config, (), (), TRANSITIONS), *ours(worlds, config, (), (), TRANSITIONS, _COMPILED)]


def ours(
    worlds: Spaces,
    config: SacConfig,
    sees: Sequence[str],
    critic_sees: Sequence[str],
    transitions: int,
    computing: Computing | None = None,
) -> Sequence[TorchRacer]:
    """Return our learner, once for each number of threads."""
    actions, draws = worlds.actions.shape[0], np.random.default_rng(_SEED)
    torch.manual_seed(_SEED)
    sac = Sac(worlds.seen, worlds.actions, config, torch.Generator().manual_seed(_SEED), computing, sees, critic_sees)
    replay = Replay(worlds.seen, actions, 1, transitions + 2, 0.99)
    walks = {name: random_walk(box, actions, transitions) for name, box in parts_of(worlds.seen).items()}
    first = next(iter(walks.values()))
    never = np.zeros(1, np.bool_)
    replay.begin({name: walk.observations[:1] for name, walk in walks.items()})
    for at in range(transitions):
        seen = {name: walk.observations[at + 1 : at + 2] for name, walk in walks.items()}
        rewards = first.rewards[at : at + 1].astype(np.float64)
        replay.add(WorldStep(first.actions[at : at + 1], rewards, never, never, seen, {}))
    who = "ours compiled" if computing is not None and computing.compiled else "ours"
    choose_precision()
    precision = torch.get_float32_matmul_precision()

    def update() -> None:
        sac.update(replay.sample(config.batch_size, draws))

    return [TorchRacer(f"{who} with {_threads(count)}", update, count, precision) for count in _THREADS]


def _sb3(
    policy: Literal["MlpPolicy", "CnnPolicy"],
    seen: gymnasium.spaces.Box,
    actions: gymnasium.spaces.Box,
    batch: int = SacConfig().batch_size,
    transitions: int = TRANSITIONS,
) -> Sequence[TorchRacer]:
    """Return Stable-Baselines3's SAC with all its defaults, but for a replay no larger than what fills it.

    Two threads are what its users have on two cores; where something else wants the cores, these wait for each other
    and one thread is many times as quick.
    """
    learner = SAC(policy, Unplayed(seen, actions), buffer_size=transitions, seed=_SEED, device="cpu")
    fill(learner, random_walk(seen, actions.shape[0], transitions))
    return [
        TorchRacer(f"SB3 with {_threads(count)}", lambda: learner.train(1, batch), count, "highest")
        for count in _THREADS
    ]


def _threads(count: int) -> str:
    return f"{count} torch thread{'s' if count > 1 else ''}"


def raced(figure: str, bar: float, ours: Sequence[Racer], theirs: Sequence[Racer], on_progress: Progress) -> Row:
    """Let all of them update in turns: what else the machine does meets them alike.

    The quickest of ours is held against the quickest of theirs, by the median over the turns.
    """
    racers, rates = (*ours, *theirs), np.zeros((TURNS + 1, len(ours) + len(theirs)))
    for turn in range(TURNS + 1):
        rates[turn] = [racer.rate(TURN_S) for racer in racers]
        on_progress(figure, (turn + 1) / (TURNS + 1))
    torch.set_num_threads(1)
    rates = rates[1:]  # The first turn makes what is made once.
    medians = np.median(rates, axis=0)
    mine, other = int(medians[: len(ours)].argmax()), len(ours) + int(medians[len(ours) :].argmax())
    ratios = rates[:, mine] / rates[:, other]
    said = ", ".join(f"{racer.label} {rate:.0f}" for racer, rate in zip(racers, medians, strict=True))
    return at_least(
        figure, float(np.median(ratios)), "", bar,
        f"{racers[mine].label} against {racers[other].label}, median of the ratios of {TURNS} turns of {TURN_S:g} s, "
        f"which went from {ratios.min():.2f} to {ratios.max():.2f}; updates/s, each of critics, actor and "
        f"temperature: {said}",
    )  # fmt: skip
