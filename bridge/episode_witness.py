"""Who tells a recording what a policy saw and did: a Demonstrator, and a policy that has one look over its shoulder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.encoding import ObservationLayout, proprioception_layout
from bridge.episode import EpisodeWriter
from bridge.episode_decisions import Decision, DemonstrationHeader, Outcome, PartLayout, verdict_of
from bridge.observation import PROPRIOCEPTION, STATE, ImageKind, ObservationSpec, Observed, Part
from bridge.ports import Clock, Policy
from urdf.description import ArmDescription


class Demonstrator:
    """Writes attempt after attempt of one task into a recording.

    For each attempt: `begin`, then `decide` for every decision, and `end`. Where the reward of every single decision is
    known, `outcome` follows each `decide`; elsewhere a decision that another one follows was worth nothing.
    """

    def __init__(self, writer: EpisodeWriter, header: DemonstrationHeader, clock: Clock) -> None:
        self.attempt = 0
        self._writer, self._clock = writer, clock
        self._alone = header.spec.part_names[0]
        self._names = tuple(part.name for part in header.parts)
        self._number = 0
        self._open = False
        """Whether the last decision has no outcome yet."""

    def begin(self) -> int:
        """Begin the next attempt; return its number, from 1."""
        self.attempt += 1
        self._number, self._open = 0, False
        return self.attempt

    def decide(self, observation: Observed, action: NDArray[np.float32]) -> None:
        """Take in what a policy saw and what it did about it."""
        if self._open:
            self.outcome(0.0)
        self._put(observation, np.array(action, dtype=np.float32))
        self._open = True

    def outcome(
        self, reward: float, terminated: bool = False, truncated: bool = False, success: bool | None = None
    ) -> None:
        """Take in what came of the last decision."""
        now_ns = self._clock.now_ns()
        outcome = Outcome(now_ns, self.attempt, self._number, reward, terminated, truncated, verdict_of(success))
        self._writer.demonstrate(outcome)
        self._number += 1
        self._open = False

    def end(self, success: bool | None, truncated: bool = False) -> None:
        """End an attempt whose decisions were given no outcomes: the last one is worth its success."""
        if self._open:
            self.outcome(float(bool(success)), not truncated, truncated, success)

    def see_last(self, observation: Observed) -> None:
        """Take in what is seen after the end of an attempt."""
        self._put(observation, None)

    def _put(self, observation: Observed, action: NDArray[np.float32] | None) -> None:
        parts = observation if isinstance(observation, Mapping) else {self._alone: observation}
        # Copies: whoever gave them may write over them before the recorder's thread reads them.
        kept: dict[str, Part] = {name: parts[name].copy() for name in self._names}
        self._writer.demonstrate(Decision(self._clock.now_ns(), self.attempt, self._number, kept, action))


class WitnessedPolicy:
    """A policy whose every decision a Demonstrator is told of, once there is one."""

    def __init__(self, policy: Policy) -> None:
        self.demonstrator: Demonstrator | None = None
        self._policy = policy

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the policy's action."""
        action = self._policy.act(observation)
        if self.demonstrator is not None:
            self.demonstrator.decide(observation, action)
        return action


def demonstration_header(
    task: str,
    spec: ObservationSpec,
    state: ObservationLayout,
    action: ActionLayout,
    action_repeat: int,
    description: ArmDescription,
) -> DemonstrationHeader:
    """Return what a demonstration of a task is of: `state` is the whole layout of the attempt's own features."""
    return DemonstrationHeader(
        task=task,
        spec=spec,
        state_layout=state,
        parts=part_layouts(spec, state, description),
        action_layout=action,
        action_repeat=action_repeat,
    )


def part_layouts(
    spec: ObservationSpec, state: ObservationLayout, description: ArmDescription
) -> tuple[PartLayout, ...]:
    """Return the parts that a policy sees; what only a simulator knows is not among them."""
    parts: list[PartLayout] = []
    if spec.state:
        kept = range(state.size) if spec.object_pose else state.without_object()
        parts.append(_vector(STATE, tuple(state.feature_names[k] for k in kept)))
    if spec.proprioception:
        parts.append(_vector(PROPRIOCEPTION, proprioception_layout(description).feature_names))
    for view in spec.views:
        shape = (view.kind.channels * spec.frames, view.height_px, view.width_px)
        dtype = "float16" if view.kind is ImageKind.DEPTH else "uint8"
        parts.append(PartLayout(name=view.key, dtype=dtype, shape=shape))
    return tuple(parts)


def _vector(name: str, features: tuple[str, ...]) -> PartLayout:
    return PartLayout(name=name, dtype="float32", shape=(len(features),), feature_names=features)
