"""How to train: the frozen settings of a run. No torch, so that `--help` is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from policies.errors import BadConfig
from policies.learner_config import BcConfig, DistillConfig, PpoConfig, SacConfig, check_setting

Algorithm = Literal["sac", "ppo", "distill", "bc", "sb3-sac", "sb3-ppo"]


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
            check_setting(name, value := getattr(self, name), value >= 1, "1 or more")
        check_setting("screening_episodes", self.screening_episodes, self.screening_episodes >= 0, "0 or more")
        check_setting("film_every_min", self.film_every_min, 0.0 <= self.film_every_min < math.inf, "0 or more")
        for name, most in (("action_repeat", 100), ("frames", 16), ("picture_px", 1024), ("torch_threads", 1024)):
            check_setting(name, value := getattr(self, name), 1 <= value <= most, f"1 to {most}")
        for name in ("servo_zero_deg", "sighting_error_mm", "film_every_min"):
            check_setting(name, value := getattr(self, name), 0.0 <= value < math.inf, "0 or more")
        check_setting("discount", self.discount, 0.0 < self.discount < 1.0, "in (0, 1)")
        check_setting("reward_scale", self.reward_scale, 0.0 < self.reward_scale < math.inf, "above 0")
        check_setting("stop_success_rate", self.stop_success_rate, 0.0 <= self.stop_success_rate <= 1.0, "0 to 1")
        if self.algo == "distill":
            first, last = self.sac.warm_up, self.max_decisions
            lessons = self.distill.teacher_decisions
            check_setting(
                "distill.teacher_decisions", lessons, first < lessons < last, f"more than {first}, below {last}"
            )
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
