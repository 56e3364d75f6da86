"""How the learners learn: frozen settings, one class for each. No torch, so that `--help` is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from policies.errors import BadConfig


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
            check_setting(name, value := getattr(self, name), 0.0 < value <= 1.0, "more than 0, at most 1")
        check_setting(
            "demonstration_share", self.demonstration_share, 0.0 <= self.demonstration_share < 1.0, "in [0, 1)"
        )
        check_setting("warm_start", self.warm_start, self.warm_start >= 0, "0 or more")
        for name in ("batch_size", "steps", "capacity", "picture_features"):
            check_setting(name, value := getattr(self, name), value >= 1, "1 or more")
        check_setting("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        for name in ("updates_per_decision", "initial_temperature"):
            check_setting(name, value := getattr(self, name), 0.0 < value < math.inf, "above 0")
        for name in ("warm_up", "shift_px"):
            check_setting(name, value := getattr(self, name), value >= 0, "0 or more")
        check_setting("entropy_per_action", self.entropy_per_action, math.isfinite(self.entropy_per_action), "a number")


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
            check_setting(name, value := getattr(self, name), value is None or value >= 1, "1 or more")
        check_setting("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        for name in ("learning_rate", "value_coefficient", "max_grad_norm", "initial_std", "value_clip", "target_kl"):
            check_setting(name, value := getattr(self, name), value is None or 0.0 < value < math.inf, "above 0")
        check_setting("gae_lambda", self.gae_lambda, 0.0 <= self.gae_lambda <= 1.0, "in [0, 1]")
        check_setting("clip", self.clip, 0.0 < self.clip < 1.0, "in (0, 1)")
        check_setting(
            "entropy_coefficient", self.entropy_coefficient, 0.0 <= self.entropy_coefficient < math.inf, "0 or more"
        )


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
            check_setting(name, value := getattr(self, name), value >= 1, "1 or more")
        for name in ("learning_rate", "averaging_rate"):
            check_setting(name, value := getattr(self, name), 0.0 < value <= 1.0, "more than 0, at most 1")
        check_setting("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        check_setting(
            "updates_per_decision", self.updates_per_decision, 0.0 < self.updates_per_decision < math.inf, "above 0"
        )
        check_setting("noise", self.noise, 0.0 <= self.noise <= 1.0, "0 to 1")


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
            check_setting(name, value := getattr(self, name), value >= 1, "1 or more")
        for name in ("learning_rate", "averaging_rate"):
            check_setting(name, value := getattr(self, name), 0.0 < value <= 1.0, "more than 0, at most 1")
        check_setting("hidden", self.hidden, all(width >= 1 for width in self.hidden), "widths of 1 or more")
        check_setting(
            "updates_per_decision", self.updates_per_decision, 0.0 < self.updates_per_decision < math.inf, "above 0"
        )
        check_setting("shift_px", self.shift_px, self.shift_px >= 0, "0 or more")


def check_setting(name: str, value: object, holds: bool, valid: str) -> None:
    """Raise BadConfig, with what would be valid, where a setting does not hold."""
    if not holds:
        raise BadConfig(f"{name} is {value}; expected {valid}")
