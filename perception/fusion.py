"""Several eyes, one block: sightings fused by their covariances, each grown by its age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.clock import MonotonicClock
from bridge.ports import BlockSighting, BlockSource, Clock
from perception.errors import PoseUncertain
from urdf.pose import Array, Pose

#: How quickly a sighting loses its worth: a block that is moved by hand or gripper.
SPEED_SIGMA_M_S, TURN_SIGMA_RAD_S = 0.05, 0.5
#: Sightings that differ by more than this (chi squared of six numbers, one in ten thousand) are not of one block, or
#: one of the cameras is not where it is said to be.
_DISAGREE = 27.9


def grown(covariance: Array, age_s: float) -> Array:
    """Return the covariance (6, 6) of a sighting `age_s` later."""
    sigma = np.repeat([SPEED_SIGMA_M_S, TURN_SIGMA_RAD_S], 3) * max(age_s, 0.0)
    return covariance + np.diag(sigma * sigma)


def fuse(sightings: Sequence[BlockSighting]) -> BlockSighting:
    """Return one sighting of several, at the newest one's stamp, each weighed by its covariance at that time.

    Raises PoseUncertain where two contradict each other, ValueError where there is none, or none tells its covariance.
    """
    sure = sorted((s for s in sightings if s.covariance is not None), key=lambda s: s.stamp_ns)
    if not sure:
        raise ValueError(f"none of {len(sightings)} sightings tells its covariance")
    newest = sure[-1]
    anchor = newest.base_from_block
    spreads = [grown(s.covariance, (newest.stamp_ns - s.stamp_ns) * 1e-9) for s in sure if s.covariance is not None]
    offsets = [_offset(anchor, s.base_from_block) for s in sure]
    for offset, spread in zip(offsets[:-1], spreads[:-1], strict=True):
        apart = float(offset @ np.linalg.solve(spread + spreads[-1], offset))
        if apart > _DISAGREE:
            raise PoseUncertain(
                f"two cameras see the block {1000 * np.linalg.norm(offset[:3]):.1f} mm and "
                f"{np.degrees(np.linalg.norm(offset[3:])):.1f} degrees apart, more than they claim (chi squared "
                f"{apart:.0f}, at most {_DISAGREE} for one block): calibrate the cameras' places again"
            )
    weights = [np.linalg.inv(spread) for spread in spreads]
    covariance = np.linalg.inv(np.sum(weights, axis=0))
    mean = covariance @ np.sum([w @ o for w, o in zip(weights, offsets, strict=True)], axis=0)
    turn = Pose.from_rotvec(np.zeros(3), mean[3:]) @ Pose(np.zeros(3), anchor.quat_xyzw)
    ids = tuple(sorted({n for s in sure for n in s.marker_ids}))
    return BlockSighting(Pose(anchor.position_m + mean[:3], turn.quat_xyzw), newest.stamp_ns, ids, covariance)


def _offset(anchor: Pose, pose: Pose) -> Array:
    """Return (6,) how far `pose` is from `anchor`: metres and a rotation vector along the base's axes."""
    turned = anchor.rotation @ (anchor.inverse() @ pose).rotvec_rad()
    return np.concatenate([pose.position_m - anchor.position_m, turned])


class FusedSource:
    """A BlockSource over several: what those say that have seen the block lately, as one."""

    def __init__(self, sources: Sequence[BlockSource], max_age_s: float = 0.5, clock: Clock | None = None) -> None:
        self._sources = tuple(sources)
        self._max_age_s = max_age_s
        self._clock = clock or MonotonicClock()
        self._last: BlockSighting | None = None
        self._contradiction = ""

    def read_block(self) -> BlockSighting | None:
        """Return the fused sighting; where all are old, the newest, whose age is the caller's to judge.

        Where two contradict each other, the last one before: an arm holds once that is old, and `missing` says why.
        """
        seen = [s for s in (source.read_block() for source in self._sources) if s is not None]
        if not seen:
            return None
        newest = max(seen, key=lambda s: s.stamp_ns)
        now_ns = self._clock.now_ns()
        fresh = [s for s in seen if s.covariance is not None and (now_ns - s.stamp_ns) * 1e-9 <= self._max_age_s]
        try:
            self._last, self._contradiction = fuse(fresh) if fresh else newest, ""
        except PoseUncertain as error:
            self._contradiction = str(error)
        return self._last

    def missing(self) -> str:
        """Say what every source lacks, or how two disagree; empty when one of them sees the block and none objects."""
        if self._contradiction:
            return self._contradiction
        reasons = [source.missing() for source in self._sources]
        return "" if any(not reason for reason in reasons) else "; ".join(dict.fromkeys(reasons))
