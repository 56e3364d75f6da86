"""The twin Kukas: each copies one arm of the person before the camera, as the reference's demo did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perception.body import BodyPose, PeopleSighting, Side
from perception.body_filter import BodyFilter
from perception.errors import StampNotRising
from perception.limb import Limb, limb_of
from perception.person_tracker import Person, PersonTracker
from perception.retarget_joints import Copying, JointRetarget
from sim.twin_world import TwinWorld, reference_limits
from urdf.description import load_arm
from urdf.pose import Array

#: Which arm copies which of the person's: the reference's assignment. In a mirrored picture they stand on one side.
_ARM_OF = {Side.LEFT: 0, Side.RIGHT: 1}
RATE_HZ = 30.0
#: A gap in the pictures is caught up with so far; longer, the arms stood still.
_LONGEST_GAP_S = 0.25
#: Who has been out of sight for so long is no longer waited for.
_AWAY_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class TwinStep:
    """One picture's outcome: the person as believed, what of them moved an arm, joints sent and joints reached (n,)."""

    stamp_ns: int
    body: BodyPose | None
    limbs: Mapping[Side, Limb]
    sent_rad: Mapping[Side, Array]
    reached_rad: Mapping[Side, Array]
    why_held: str = ""


class KukaTwin:
    """Two simulated arms, driven picture by picture. A limb that is not seen lets its arm hold."""

    def __init__(self, mirrored: bool = False) -> None:
        """`mirrored`: either arm copies the other side, as an observer who faces the person sees it."""
        description = reference_limits(load_arm("kuka_iiwa"))
        self.world = TwinWorld(description, 1 / RATE_HZ)
        self._retarget = JointRetarget(description, Copying.PLANAR)
        self._mirrored = mirrored
        self._people = PersonTracker()
        self._filter = BodyFilter()
        self._seen_ns = 0
        self._clock_ns: int | None = None

    def close(self) -> None:
        """Free the world."""
        self.world.close()

    def see(self, sighting: PeopleSighting) -> TwinStep:
        """Take in one picture, and let as much time pass as since the one before."""
        person = self._person(sighting)
        if person.new:
            self._filter.reset()
        try:
            body = self._filter.update(sighting.stamp_ns, person.body, sighting.aspect)
            why = "" if body is not None else person.why
        except StampNotRising as error:
            body, why, self._clock_ns = None, str(error), None
        limbs: dict[Side, Limb] = {}
        for side in Side:
            limb = None if body is None else limb_of(body, side, sighting.aspect)
            if limb is not None:
                seen = limb.mirrored() if self._mirrored else limb
                limbs[seen.side] = seen
        for _ in range(self._periods(sighting.stamp_ns)):
            self._move(limbs)
        arms = {side: self.world.commanded_rad(arm) for side, arm in _ARM_OF.items()}
        reached = {side: self.world.position_rad(arm) for side, arm in _ARM_OF.items()}
        return TwinStep(sighting.stamp_ns, body, limbs, arms, reached, why)

    def _person(self, sighting: PeopleSighting) -> Person:
        """Return who is copied: whoever came first, until they have been away for a while."""
        person = self._people.find(sighting)
        if person.body is not None:
            self._people.lock()
            self._seen_ns = sighting.stamp_ns
        elif not 0 <= sighting.stamp_ns - self._seen_ns <= _AWAY_NS:
            self._people.release()
        return person

    def _move(self, limbs: Mapping[Side, Limb]) -> None:
        for side, arm in _ARM_OF.items():
            before_rad = self.world.commanded_rad(arm)
            limb = limbs.get(side)
            wanted = before_rad if limb is None else self._retarget.follow(limb, before_rad, 1 / RATE_HZ)
            self.world.command(arm, wanted)
        self.world.step()

    def _periods(self, stamp_ns: int) -> int:
        """Return how many control periods have passed since the last picture."""
        if self._clock_ns is None:
            self._clock_ns = stamp_ns
            return 1
        count = round(min(1e-9 * (stamp_ns - self._clock_ns), _LONGEST_GAP_S) * RATE_HZ)
        if count > 0:
            self._clock_ns = stamp_ns
        return count
