"""The landmarks of one person over time: doubtful ones are left out, short gaps bridged, the rest smoothed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception.body import HAND_LANDMARKS, LANDMARKS, BodyPose, HandPose
from perception.errors import StampNotRising
from perception.filters import OneEuroFilter, OneEuroSettings
from perception.limb import MIN_VISIBILITY
from urdf.pose import Array

#: Metres, across the picture and along the view. Depth is guessed and two to four times as noisy: filtered together its
#: noise would open the filter for the rest. On a real video the wrist's path has a quarter of its jerk left, 43 ms late
#: (`tandem bench teleop`).
ACROSS, DEPTH = OneEuroSettings(min_cutoff_hz=1.0, beta=1.4), OneEuroSettings(min_cutoff_hz=0.8, beta=0.6)
#: Shares of the picture's height: a person fills it with 1.7 m or so.
PICTURE = OneEuroSettings(min_cutoff_hz=1.0, beta=1.2)
#: Fingers: a pinch is over in a tenth of a second.
FINGERS = OneEuroSettings(min_cutoff_hz=2.0, beta=5.0)


@dataclass(frozen=True, slots=True)
class Gates:
    """What is believed of landmarks.

    One that lies further from where it was believed last than `slack_m` and `max_speed_m_s` explain is not, until
    `confirmations` pictures in a row say so: a real move is caught up with. A landmark that is not believed goes on as
    it moved for `bridge_s`; then it is lost: its visibility is 0. After `forget_s` it begins anew. No wrist is quicker
    than 6 m/s in what one does before a camera; a fist in boxing is.
    """

    min_visibility: float = MIN_VISIBILITY
    max_speed_m_s: float = 6.0
    slack_m: float = 0.05
    confirmations: int = 3
    bridge_s: float = 0.1
    forget_s: float = 0.5


class BodyFilter:
    """One person's landmarks, smoothed. Pictures without the person are passed as None."""

    def __init__(self, gates: Gates | None = None) -> None:
        self._gates = gates or Gates()
        self._across = OneEuroFilter(ACROSS, LANDMARKS, 2)
        self._depth = OneEuroFilter(DEPTH, LANDMARKS, 1)
        self._image = OneEuroFilter(PICTURE, LANDMARKS, 2)
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        for filtered in (self._across, self._depth, self._image):
            filtered.reset()
        self._visibility = np.zeros(LANDMARKS)
        self._believed_m = np.zeros((LANDMARKS, 3))
        self._doubted_m = np.full((LANDMARKS, 3), np.nan)
        self._doubts = np.zeros(LANDMARKS, dtype=np.int64)
        self._stamp_ns: int | None = None

    def update(self, stamp_ns: int, body: BodyPose | None, aspect: float) -> BodyPose | None:
        """Return the person as they are believed to be at `stamp_ns`; None where no landmark is left.

        The same stamp again changes nothing. Raises StampNotRising for an earlier one, and begins anew with the next.
        """
        if self._stamp_ns is not None and stamp_ns < self._stamp_ns:
            before_ns = self._stamp_ns
            self.reset()
            raise StampNotRising(stamp_ns, before_ns)
        self._forget(stamp_ns)
        if body is not None and stamp_ns != self._stamp_ns:
            rows = self._believable(stamp_ns, body)
            self._across.update(stamp_ns, body.world_m[:, :2], rows)
            self._depth.update(stamp_ns, body.world_m[:, 2:], rows)
            self._image.update(stamp_ns, body.image * [aspect, 1.0], rows)
            self._believed_m[rows] = body.world_m[rows]
            self._visibility[rows] = body.visibility[rows]
        self._stamp_ns = stamp_ns
        return self._at(stamp_ns, aspect)

    def _forget(self, stamp_ns: int) -> None:
        old = self._across.started & (1e-9 * (stamp_ns - self._across.stamp_ns) > self._gates.forget_s)
        for filtered in (self._across, self._depth, self._image):
            filtered.reset(old)
        self._doubts[old] = 0

    def _believable(self, stamp_ns: int, body: BodyPose) -> NDArray[np.bool_]:
        """Return which landmarks are measured, by visibility and by how far they jumped."""
        gates = self._gates
        finite = np.asarray(np.isfinite(np.hstack((body.world_m, body.image))).all(axis=1), dtype=np.bool_)
        world_m = np.where(finite[:, None], body.world_m, 0.0)
        measured = finite & (body.visibility >= gates.min_visibility)
        since_s = 0.0 if self._stamp_ns is None else 1e-9 * (stamp_ns - self._stamp_ns)
        # While in doubt no time counts: a landmark that jumps to and fro would explain itself by waiting.
        elapsed_s: Array = np.where(self._doubts > 0, since_s, 1e-9 * (stamp_ns - self._across.stamp_ns))
        jumped = self._across.started & ~(
            _distance(world_m, self._believed_m) <= gates.slack_m + gates.max_speed_m_s * elapsed_s
        )
        again = _distance(world_m, self._doubted_m) <= gates.slack_m + gates.max_speed_m_s * since_s
        doubted = measured & jumped
        self._doubts = np.where(doubted, np.where(again, self._doubts + 1, 1), 0)
        self._doubted_m = np.where(doubted[:, None], world_m, np.nan)
        confirmed = self._doubts >= gates.confirmations
        self._doubts[confirmed] = 0
        return measured & (~jumped | confirmed)

    def _at(self, stamp_ns: int, aspect: float) -> BodyPose | None:
        age_s = np.where(self._across.started, 1e-9 * (stamp_ns - self._across.stamp_ns), np.inf)
        known = age_s <= self._gates.bridge_s
        if not known.any():
            return None
        ahead_s = np.where(known, age_s, 0.0)[:, None]
        image, across_m, depth_m = (
            filtered.position + ahead_s * filtered.velocity for filtered in (self._image, self._across, self._depth)
        )
        world_m = np.hstack((across_m, depth_m))
        return BodyPose(image / [aspect, 1.0], world_m, np.where(known, self._visibility, 0.0))


class HandFilter:
    """One hand's landmarks, smoothed; a hand that is out of sight stays as it was for `bridge_s`."""

    def __init__(self, bridge_s: float = 0.1, settings: OneEuroSettings = FINGERS) -> None:
        self._bridge_s = bridge_s
        self._world = OneEuroFilter(settings, HAND_LANDMARKS, 3)
        self._image = OneEuroFilter(settings, HAND_LANDMARKS, 2)
        self._last: tuple[int, HandPose] | None = None

    def update(self, stamp_ns: int, hand: HandPose | None, aspect: float) -> HandPose | None:
        """Return the hand as it is believed to be; None where it has been out of sight for too long, or never seen.

        An earlier stamp than the last begins anew: a hand decides less than a body does.
        """
        if self._last is not None and not 0 <= stamp_ns - self._last[0] <= round(1e9 * self._bridge_s):
            self._last = None
            self._world.reset()
            self._image.reset()
        if hand is None or not (np.isfinite(hand.world_m).all() and np.isfinite(hand.image).all()):
            return None if self._last is None else self._last[1]
        world_m = self._world.update(stamp_ns, hand.world_m)
        image = self._image.update(stamp_ns, hand.image * [aspect, 1.0]) / [aspect, 1.0]
        self._last = (stamp_ns, replace(hand, image=image, world_m=world_m))
        return self._last[1]


def _distance(a: Array, b: Array) -> Array:
    return np.asarray(np.linalg.norm(a - b, axis=1), dtype=np.float64)
