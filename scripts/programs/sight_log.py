"""SightLog: what `tandem calibrate servos --camera` has seen so far, on disk after every pose.

data/robots/<name>/calibration/servo_vision_partial.json: a run that was stopped, killed or lost its power goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from calibration.artifacts import calibration_dir, write_atomic
from calibration.errors import BadArtifact
from calibration.hand_eye_file import intrinsics_sha256
from calibration.servo_vision import MarkerSample
from scripts.programs.servo_sight import ServoSight, Sights, SightSetup
from urdf.pose import Array

Rows = list[list[float]]
#: Called with how many poses were visited, of how many, and what came of the newest (empty at the start).
Advance = Callable[[int, int, str], None]


class SightHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under what the poses were looked at: with another of these they are of no use."""

    robot: str
    arm_sha256: str
    servo_calibration_sha256: str
    lens_sha256: str
    marker: str


class KeptSight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pose that gave a sample: servo angles and approach (a,), corners (4, 2) as rays and in pixels."""

    servo_rad: list[float]
    approach: list[float]
    corners: Rows
    corners_px: Rows


class KeptSights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plan (m, n), how many of its poses were visited, and what was seen in them."""

    header: SightHeader
    poses_rad: Rows
    visited: int
    sights: list[KeptSight]
    board_px: dict[int, list[Rows]]
    skipped: list[str]

    def restore(self, seen: Sights) -> None:
        """Put what was seen into `seen`."""
        for kept in self.sights:
            sample = MarkerSample(np.array(kept.servo_rad), np.array(kept.corners), np.array(kept.approach))
            seen.samples.append(sample)
            seen.corners_px.append(np.array(kept.corners_px))
        for number, corners in self.board_px.items():
            seen.board_px[number] = [np.array(one) for one in corners]
        seen.skipped.extend(self.skipped)


class SightLog:
    """The file of one run."""

    def __init__(self, robot: str, data: Path) -> None:
        self.path = calibration_dir(data, robot) / "servo_vision_partial.json"
        self._robot = robot

    def forget(self) -> None:
        """Start over: what an earlier run left is gone."""
        self.path.unlink(missing_ok=True)

    def load(self) -> KeptSights | None:
        """Return what an earlier run left, None where there is nothing; raises BadArtifact where it is damaged."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=KeptSights)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise BadArtifact(f"{self.path}: {error}. Start over with --fresh") from error

    def check(self, kept: KeptSights, setup: SightSetup, seen: Sights) -> None:
        """Raise BadArtifact where an earlier run had another arm, marker, servo calibration or lens."""
        now = self._header(setup, seen)
        for field in SightHeader.__struct_fields__:
            if getattr(kept.header, field) != getattr(now, field):
                what = field.removesuffix("_sha256").replace("_", " ")
                raise BadArtifact(
                    f"{self.path} was begun with another {what} than now: finish it as it was begun, or start over "
                    "with --fresh"
                )

    def keep(self, setup: SightSetup, seen: Sights, poses_rad: Array, visited: int) -> None:
        """Write down what was seen so far, whole or not at all."""
        sights = [
            KeptSight(s.servo_rad.tolist(), s.approach.tolist(), s.corners.tolist(), pixels.tolist())
            for s, pixels in zip(seen.samples, seen.corners_px, strict=True)
        ]
        board_px = {number: [one.tolist() for one in corners] for number, corners in seen.board_px.items()}
        header = self._header(setup, seen)
        kept = KeptSights(header, poses_rad.tolist(), visited, sights, board_px, list(seen.skipped))
        write_atomic(self.path, msgspec.json.encode(kept))

    def visit(self, sight: ServoSight, poses: int, seed: int, advance: Advance) -> None:
        """Look at every pose of the plan that has not been looked at; what is seen is on disk before the next.

        The plan is an earlier run's where that has left one. Raises CalibrationError.
        """
        kept = self.load()
        if kept is None:
            poses_rad, visited = sight.plan(poses, seed), 0
        else:
            kept.restore(sight.seen)
            sight.look_again()
            self.check(kept, sight.setup, sight.seen)
            poses_rad, visited = np.array(kept.poses_rad), kept.visited
        advance(visited, len(poses_rad), "")
        for number, pose_rad in enumerate(poses_rad[visited:], start=visited + 1):
            words = sight.visit(pose_rad)
            self.keep(sight.setup, sight.seen, poses_rad, number)
            advance(number, len(poses_rad), words)

    def finish(self) -> None:
        """Put the samples beside the calibration that was made of them."""
        if self.path.exists():
            self.path.replace(self.path.with_name("servo_vision_samples.json"))

    def _header(self, setup: SightSetup, seen: Sights) -> SightHeader:
        assert seen.intrinsics is not None
        marker = setup.marker
        place = np.round([*marker.target_from_marker.position_m, *marker.target_from_marker.quat_xyzw], 6).tolist()
        return SightHeader(
            self._robot,
            setup.description.sha256,
            hashlib.sha256(msgspec.json.encode(setup.before)).hexdigest(),
            intrinsics_sha256(seen.intrinsics),
            f"{marker.id} of {marker.size_m} m at {place}",
        )
