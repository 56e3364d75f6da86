"""How to train: frozen configurations. No torch, so that `--help` is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from policies.errors import BadConfig

Algorithm = Literal["sac", "ppo", "distill", "bc", "sb3-sac", "sb3-ppo"]


class EncoderKind(StrEnum):
    """How pictures become numbers."""

    STRIDED = "strided"
    """Two strided convolutions of 16 and 32 channels: what a CPU can afford."""
    NATURE = "nature"
    """Ref: Mnih et al., Human-level control through deep reinforcement learning, Nature 518 (2015)."""
    IMPALA = "impala"
    """Ref: Espeholt et al., IMPALA, arXiv 1802.01561."""


class Head(StrEnum):
    """What numbers of an action are drawn from."""

    GAUSSIAN = "gaussian"
    """Its spread is learned, but the same whatever is seen; what is drawn beyond the bounds is clipped to them."""
    BETA = "beta"
    """Bounded, and with one peak: both of its parameters are above 1."""


class BcHead(StrEnum):
    """What behaviour cloning tells."""

    GAUSSIAN = "gaussian"
    """The action to do now, and how sure it is of it."""
    CHUNK = "chunk"
    """The next several actions; the first is done."""


@dataclass(frozen=True, slots=True)
class SacConfig:
    """Settings of soft actor-critic (policies/sac.py). Ref: Haarnoja et al., arXiv 1812.05905."""

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layers of the actor and of each of the two critics."""
    learning_rate: float = 3e-4
    batch_size: int = 256
    updates_per_decision: float = 1.0
    """Gradient steps per decision; they run while the workers simulate."""
    warm_up: int = 500
    """Decisions drawn uniformly before the first gradient step."""
    capacity: int = 100_000
    """Observations that the replay holds."""
    steps: int = 1
    """Decisions whose rewards are summed before a critic is asked."""
    target_rate: float = 0.005
    """Share of the critics that moves into their targets at each update (tau)."""
    averaging_rate: float = 0.002
    """Share of the policy that moves into its running average at each update.

    The average is what is evaluated and exported: the policy itself trembles from update to update by millimetres.
    """
    initial_temperature: float = 0.2
    """Entropy coefficient at the start; it is tuned automatically from there."""
    entropy_per_action: float = -1.0
    """Entropy that exploration keeps, in nats per number of the action."""
    layer_norm: bool = True
    """Layer norms in the critics, which keep their values from running away (Ball et al., arXiv 2302.02948)."""
    encoder: EncoderKind = EncoderKind.STRIDED
    picture_features: int = 64
    spatial_softmax: bool = False
    coordinates: bool = False
    """Two more channels that tell every pixel where it is (Liu et al., CoordConv, arXiv 1807.03247)."""
    shift_px: int = 0
    """Pictures are moved at random by up to so many pixels in training."""
    demonstration_share: float = 0.5
    """Share of every batch that comes from demonstrations, if there are any (Ball et al., RLPD, arXiv 2302.02948)."""
    warm_start: int = 0
    """Gradient steps by which the policy learns to do what was demonstrated before it acts for the first time."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "target_rate", "averaging_rate"):
            _check(name, value := getattr(self, name), 0.0 < value <= 1.0, "more than 0, at most 1")
        _check("demonstration_share", self.demonstration_share, 0.0 <= self.demonstration_share < 1.0, "in [0, 1)")
        _check("warm_start", self.warm_start, self.warm_start >= 0, "0 or more")
        for name in ("batch_size", "steps", "capacity", "picture_features"):
            _check(name, value := getattr(self, name), value >= 1, "1 or more")
        _check("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        for name in ("updates_per_decision", "initial_temperature"):
            _check(name, value := getattr(self, name), 0.0 < value < math.inf, "above 0")
        for name in ("warm_up", "shift_px"):
            _check(name, value := getattr(self, name), value >= 0, "0 or more")
        _check("entropy_per_action", self.entropy_per_action, math.isfinite(self.entropy_per_action), "a number")


@dataclass(frozen=True, slots=True)
class PpoConfig:
    """Settings of proximal policy optimisation (policies/ppo.py). Ref: Schulman et al., arXiv 1707.06347."""

    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 3e-4
    anneal_over: int | None = None
    """Decisions of all worlds together over which learning rate and clip fall to 0 (the paper's table 5)."""
    rollout_steps: int = 256
    """Decisions of each world between two updates."""
    epochs: int = 10
    batch_size: int = 64
    """Decisions in a minibatch; they are of nearly equal size, and never larger."""
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_clip: float | None = None
    """How far a value may move from what the critic said before the update; None: as far as it likes."""
    entropy_coefficient: float = 0.0
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    """The epochs end at the minibatch where the policy has moved farther than this, in nats; None: never."""
    head: Head = Head.GAUSSIAN
    initial_std: float = 1.0
    """Spread of a Gaussian at first; the bounds are 2 apart."""
    normalise_observations: bool = False
    """Vectors are brought to mean 0 and variance 1 by what was seen; the policy carries the numbers."""
    normalise_advantages: bool = True
    encoder: EncoderKind = EncoderKind.STRIDED
    picture_features: int = 64
    spatial_softmax: bool = False
    coordinates: bool = False

    def __post_init__(self) -> None:
        for name in ("rollout_steps", "epochs", "batch_size", "picture_features", "anneal_over"):
            _check(name, value := getattr(self, name), value is None or value >= 1, "1 or more")
        _check("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        for name in ("learning_rate", "value_coefficient", "max_grad_norm", "initial_std", "value_clip", "target_kl"):
            _check(name, value := getattr(self, name), value is None or 0.0 < value < math.inf, "above 0")
        _check("gae_lambda", self.gae_lambda, 0.0 <= self.gae_lambda <= 1.0, "in [0, 1]")
        _check("clip", self.clip, 0.0 < self.clip < 1.0, "in (0, 1)")
        _check("entropy_coefficient", self.entropy_coefficient, 0.0 <= self.entropy_coefficient < math.inf, "0 or more")


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Settings of the student in teacher and student (policies/distill.py); the teacher's are those of SAC."""

    teacher_decisions: int = 3_000
    """Decisions of the teacher; from there on the student acts, and learns what the teacher would have done."""
    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 3e-4
    batch_size: int = 128
    updates_per_decision: float = 2.0
    noise: float = 0.3
    """Spread of what is added to the student's actions: so it meets more than its own path.

    With 0.1 it was as good after 4,000 decisions and worse again after 5,000.
    """
    averaging_rate: float = 0.002
    encoder: EncoderKind = EncoderKind.STRIDED
    picture_features: int = 64
    spatial_softmax: bool = False
    coordinates: bool = False

    def __post_init__(self) -> None:
        for name in ("teacher_decisions", "batch_size", "picture_features"):
            _check(name, value := getattr(self, name), value >= 1, "1 or more")
        for name in ("learning_rate", "averaging_rate"):
            _check(name, value := getattr(self, name), 0.0 < value <= 1.0, "more than 0, at most 1")
        _check("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        _check("updates_per_decision", self.updates_per_decision, 0.0 < self.updates_per_decision < math.inf, "above 0")
        _check("noise", self.noise, 0.0 <= self.noise <= 1.0, "0 to 1")


@dataclass(frozen=True, slots=True)
class BcConfig:
    """Settings of behaviour cloning (policies/bc.py)."""

    head: BcHead = BcHead.GAUSSIAN
    chunk: int = 8
    """How many actions a chunk has: at 3 control periods a decision, 8 are 1.2 s."""
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 1e-3
    batch_size: int = 128
    updates_per_decision: float = 4.0
    """Gradient steps per decision of the worlds, in which nothing but the policy's success is looked at."""
    averaging_rate: float = 0.002
    encoder: EncoderKind = EncoderKind.STRIDED
    picture_features: int = 64
    spatial_softmax: bool = False
    coordinates: bool = False
    shift_px: int = 0
    """Pictures are moved at random by up to so many pixels."""

    def __post_init__(self) -> None:
        for name in ("chunk", "batch_size", "picture_features"):
            _check(name, value := getattr(self, name), value >= 1, "1 or more")
        for name in ("learning_rate", "averaging_rate"):
            _check(name, value := getattr(self, name), 0.0 < value <= 1.0, "more than 0, at most 1")
        _check("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        _check("updates_per_decision", self.updates_per_decision, 0.0 < self.updates_per_decision < math.inf, "above 0")
        _check("shift_px", self.shift_px, self.shift_px >= 0, "0 or more")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run: what is trained on, by which algorithm, and when it is good enough.

    A decision is one `env.step` of one environment.
    """

    task: str
    arm: str = "dofbot"
    algo: Algorithm = "sac"
    """Who learns: our own or Stable-Baselines3's."""
    sees: tuple[str, ...] = ("state",)
    """What the policy reads: state, proprioception, and pictures such as wrist_depth."""
    critic_sees: tuple[str, ...] = ()
    """What the critics read, `privileged` included; none: what the policy reads."""
    picture_px: int = 64
    """Height and width of the pictures."""
    frames: int = 1
    """How many pictures are stacked."""
    action_repeat: int = 3
    """Control periods that one decision lasts."""
    discount: float = 0.9
    """Discount per decision."""
    shaping_discount: float | None = None
    """Discount of the potential whose gain is part of the reward; None: the learner's, which leaves the optimum alone.

    With 1 the reward is progress itself. That favours haste a little, and shows the way from afar, where under the
    learner's own discount the values of all directions are nearly alike.
    """
    servo_zero_deg: float = 1.0
    """How far each servo's zero may be off in training, as no unit's is exact; drawn for every episode, never seen."""
    sighting_error_mm: float = 5.0
    """How far from its place the block is seen in training, standard deviation along x and y; never told.

    A grasp forgives 13 mm, and everywhere inside that is equally good, unless something is off: a policy trained
    without errors misses the middle by 8 mm and has nothing left for those of a real arm.
    """
    reward_scale: float = 10.0
    """Factor on the reward before learning; it sets what a success is worth against entropy."""
    sac: SacConfig = field(default_factory=SacConfig)
    """Settings of sac and sb3-sac."""
    ppo: PpoConfig = field(default_factory=PpoConfig)
    """Settings of ppo and sb3-ppo."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Settings of distill's student; its teacher reads what critic_sees names and learns by sac's."""
    bc: BcConfig = field(default_factory=BcConfig)
    """Settings of bc."""
    demonstrations: tuple[str, ...] = ()
    """What bc and sac learn from, successful attempts alone: recordings (`tandem episodes record`), or one export or
    import (`tandem episodes export`, steps.npz, Minari, LeRobot); names, or files."""
    max_decisions: int = 9_000
    workers: int = 2
    """Processes that simulate, for training and again for evaluation."""
    worlds_per_worker: int = 1
    """Environments in each of these processes."""
    curriculum: str = "none"
    """Named curriculum of the training episodes; evaluation is always at the full task."""
    randomization: str = "none"
    """Named ranges that each training episode's world is drawn from, besides servo zeros."""
    judged_randomization: str = "none"
    """The same for the episodes of evaluations."""
    renderer: str = "tiny"
    """Who draws gray and RGB pictures: tiny, or egl where a driver is present."""
    distractors: int = 0
    """Objects beside the one that is wanted, in training and in evaluation, 0 to 4."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where our own learners learn; Stable-Baselines3's learn on the CPU.

    auto: on a GPU where there is one and pictures are read: small networks gain nothing.
    """
    compiled: bool = False
    """Gradient steps of sac and distill compiled: torch.compile, with CUDA graphs on a GPU; on a CPU it needs g++.

    It takes a minute at first; what it gains on a CPU is in docs/learning.md, what on a GPU was not measured.
    """
    mixed_precision: bool = False
    """Encoders and critics of sac and distill learn in bfloat16; everything else stays float32.

    What it gains on a CPU is in docs/learning.md, what on a GPU was not measured.
    """
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
    checkpoint_every: int = 1_000
    """Decisions between checkpoints, each at the end of an episode: there all worlds begin anew, killed or not."""
    film_every_min: float = 5.0
    """Minutes between films of an evaluated episode, for TensorBoard and films/; 0: never."""

    def __post_init__(self) -> None:
        counts = ("action_repeat", "max_decisions", "workers", "evaluate_every", "evaluation_episodes", "frames")
        for name in (*counts, "worlds_per_worker", "final_episodes", "stop_evaluations", "checkpoint_every"):
            _check(name, value := getattr(self, name), value >= 1, "1 or more")
        _check("screening_episodes", self.screening_episodes, self.screening_episodes >= 0, "0 or more")
        _check("film_every_min", self.film_every_min, 0.0 <= self.film_every_min < math.inf, "0 or more")
        for name, most in (("action_repeat", 100), ("frames", 16), ("picture_px", 1024), ("torch_threads", 1024)):
            _check(name, value := getattr(self, name), 1 <= value <= most, f"1 to {most}")
        for name in ("servo_zero_deg", "sighting_error_mm", "film_every_min"):
            _check(name, value := getattr(self, name), 0.0 <= value < math.inf, "0 or more")
        _check("discount", self.discount, 0.0 < self.discount < 1.0, "in (0, 1)")
        _check("reward_scale", self.reward_scale, 0.0 < self.reward_scale < math.inf, "above 0")
        _check("stop_success_rate", self.stop_success_rate, 0.0 <= self.stop_success_rate <= 1.0, "0 to 1")
        if self.algo == "distill":
            first, last = self.sac.warm_up, self.max_decisions
            lessons = self.distill.teacher_decisions
            _check("distill.teacher_decisions", lessons, first < lessons < last, f"more than {first}, below {last}")
        if not self.sees:
            raise BadConfig("sees is empty; a policy reads state, proprioception or pictures such as wrist_depth")
        if self.device == "cuda" and self.algo.startswith("sb3"):
            raise BadConfig(f"algo {self.algo} learns on the CPU; valid devices: auto, cpu")
        for name in ("compiled", "mixed_precision"):
            if getattr(self, name) and self.algo not in ("sac", "distill"):
                raise BadConfig(f"{name} is for sac and distill; {self.algo} learns without")
        if self.algo == "distill" and not self.critic_sees:
            raise BadConfig("distill needs critic_sees: what its teacher reads, such as state")
        if self.demonstrations and self.algo not in ("sac", "bc"):
            raise BadConfig(f"demonstrations are for sac and bc; {self.algo} learns from none")
        if "privileged" in self.sees:
            raise BadConfig("sees names `privileged`, which only a simulator knows; it belongs into critic_sees")
        if self.critic_sees and self.algo.startswith("sb3"):
            raise BadConfig(f"critic_sees needs a learner of our own, got algo {self.algo}; valid: sac, ppo, distill")

    @property
    def worlds(self) -> int:
        """Environments that step together."""
        return self.workers * self.worlds_per_worker

    @property
    def first_update(self) -> int:
        """The decision with which the first gradient step comes."""
        match self.algo:
            case "bc":
                return 1
            case "ppo" | "sb3-ppo":
                return self.ppo.rollout_steps * self.worlds
            case "sac" | "sb3-sac" | "distill":
                return self.sac.warm_up + 1


def _check(name: str, value: object, holds: bool, valid: str) -> None:
    if not holds:
        raise BadConfig(f"{name} is {value}; expected {valid}")
