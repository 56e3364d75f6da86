"""How to train: a frozen configuration and its named presets. No torch, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from policies.errors import BadConfig
from urdf.errors import UnknownName


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one soft actor-critic training run. A decision is one `env.step` of one environment.

    Ref: Haarnoja et al., Soft Actor-Critic Algorithms and Applications, arXiv 1812.05905.
    """

    task: str
    action_repeat: int = 3
    """Control periods that one decision lasts."""
    discount: float = 0.9
    """Discount per decision."""
    servo_zero_deg: float = 1.0
    """How far each servo's zero may be off in training, as no unit's is exact; drawn for every episode, never seen."""
    sighting_error_mm: float = 5.0
    """How far from its place the block is seen in training, standard deviation along x and y; never told.

    A grasp forgives 13 mm, and everywhere inside that is equally good, unless something is off: a policy trained
    without errors misses the middle by 8 mm and has nothing left for those of a real arm.
    """
    reward_scale: float = 10.0
    """Factor on the reward before learning; it sets what a success is worth against entropy."""
    network: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor and of each of the two critics."""
    learning_rate: float = 1e-3
    batch_size: int = 256
    updates_per_decision: float = 4.0
    """Gradient steps per decision; they run while the workers simulate."""
    learning_starts: int = 500
    """Decisions drawn uniformly before the first gradient step."""
    target_rate: float = 0.01
    """Share of the critic that moves into its target at each gradient step (tau)."""
    averaging_rate: float = 0.002
    """Share of the actor that moves into its running average at each gradient step.

    The average is what is evaluated and exported: the actor itself trembles from step to step by millimetres.
    """
    initial_entropy: float = 0.2
    """Entropy coefficient at the start; it is tuned automatically from there."""
    entropy_per_action: float = -0.5
    """Entropy that exploration keeps, in nats per number of the action (-1 is customary).

    Success asks no precision, only a block somewhere between the jaws; noise is what makes the middle worth aiming at.
    """
    buffer_size: int = 100_000
    max_decisions: int = 9_000
    workers: int = 2
    """Processes that simulate, for training and again for evaluation."""
    worlds_per_worker: int = 1
    """Environments in each of these processes."""
    curriculum: str = "none"
    """Named curriculum of the training episodes; evaluation is always at the full task."""
    randomization: str = "none"
    """Named ranges that each training episode's world is drawn from, besides servo zeros; evaluation has none."""
    renderer: str = "tiny"
    """Who draws gray and RGB pictures: tiny, or egl where a driver is present."""
    distractors: int = 0
    """Objects beside the one that is wanted, in training and in evaluation."""
    torch_threads: int = 1
    """One is fastest for networks this small, and leaves the cores to the simulation."""
    evaluate_every: int = 2_500
    """Decisions between evaluations: two good ones in a row must not come before a policy forgives a real arm's errors.

    One that met 97 % twice after 2,000 decisions lifted 6 of 9 blocks in the lab.
    """
    screening_episodes: int = 16
    """An evaluation ends after these when fewer than four in five succeed: a fair look costs too much to waste."""
    evaluation_episodes: int = 50
    final_episodes: int = 100
    """Episodes of the last evaluation, of the exported policy; none of them was used to choose it."""
    stop_success_rate: float = 0.97
    """Training ends when this rate is met in `stop_evaluations` evaluations in a row."""
    stop_evaluations: int = 2
    checkpoint_every_s: float = 10.0

    def __post_init__(self) -> None:
        counts = ("action_repeat", "batch_size", "max_decisions", "workers", "evaluate_every", "evaluation_episodes")
        for name in (*counts, "worlds_per_worker", "final_episodes", "stop_evaluations"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0.0 < self.discount < 1.0 or self.reward_scale <= 0.0:
            raise BadConfig(f"discount {self.discount} must lie in (0, 1), reward_scale {self.reward_scale} above 0")

    @property
    def worlds(self) -> int:
        """Environments that step together."""
        return self.workers * self.worlds_per_worker

    @property
    def updates_per_step(self) -> int:
        """Gradient steps per step of all worlds."""
        return max(1, round(self.updates_per_decision * self.worlds))


PRESETS: Mapping[str, TrainConfig] = MappingProxyType({"grasp": TrainConfig(task="grasp")})


def find_preset(name: str, presets: Mapping[str, TrainConfig] = PRESETS) -> TrainConfig:
    """Return a preset; raises UnknownName with the valid names, nearest first."""
    if name not in presets:
        raise UnknownName("preset", name, presets)
    return presets[name]
