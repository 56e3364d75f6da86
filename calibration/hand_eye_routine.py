"""HandEyeRoutine: the samples of one hand-eye calibration, kept on disk one by one, and what to do next.

Where it was stopped it goes on, and the calibration in force is replaced only by a complete new one. It moves nothing
and sees nothing itself: whoever drives the arm hands it what was read and seen.

data/robots/<serial>/calibration/hand_eye_<camera>_partial.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bridge.ports import Intrinsics
from calibration.artifacts import calibration_dir, write_atomic
from calibration.errors import BadArtifact, BadSamples, SampleRefused
from calibration.hand_eye import HandEyeResult, calibrate_hand_eye
from calibration.hand_eye_file import HandEyeCalibration, intrinsics_sha256
from calibration.hand_eye_model import HandEyeNoise
from calibration.hand_eye_sample import MIN_SAMPLES, HandEyeSample, Mount, repeats
from urdf.description import ArmDescription
from urdf.pose import Array

#: Corners of a standing arm's pictures agree to this from picture to picture.
STEADY_PX = 1.0
#: Joints that were read before and after a picture agree to this many steps of their reading.
STEADY_STEPS = 2.01
#: An edge that is blurred by more than this was moving, or is out of focus.
MOST_BLUR_PX = 2.5


class KeptSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample on disk."""

    name: str
    joints_rad: tuple[float, ...]
    object_m: tuple[tuple[float, float, float], ...]
    image_px: tuple[tuple[float, float], ...]


class KeptSamples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was sampled so far, with which arm, camera and board."""

    robot_serial: str
    arm_sha256: str
    camera: str
    intrinsics_sha256: str
    mount: Mount
    board: str
    samples: tuple[KeptSample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class HandEyeSetup:
    """What is calibrated: one camera of one robot, by one board."""

    description: ArmDescription
    serial: str
    camera: str
    intrinsics: Intrinsics
    mount: Mount
    board: str
    noise: HandEyeNoise


class HandEyeRoutine:
    """Takes samples in, refuses those that must not count, and solves."""

    def __init__(self, setup: HandEyeSetup, data_root: Path, fresh: bool = False) -> None:
        """Go on from what an earlier, stopped run sampled, unless `fresh`; raises BadArtifact where that is another's.

        Samples that are there stay on disk until `finish`.
        """
        self.setup = setup
        folder = calibration_dir(data_root, setup.serial)
        self.path = folder / f"{HandEyeCalibration.file_name(setup.camera)}_partial.json"
        self._samples: tuple[HandEyeSample, ...] = () if fresh else self._load()

    @property
    def samples(self) -> tuple[HandEyeSample, ...]:
        """The samples so far."""
        return self._samples

    def add(
        self,
        readings_rad: Sequence[Array],
        step_rad: Array,
        object_m: Array,
        pictures_px: Sequence[Array],
        blur_px: float = 0.0,
    ) -> HandEyeSample:
        """Take in a standing pose: joints (n,) as read before, between and after its pictures, corners (k, 2) of each.

        `step_rad` (n,) is the step of each joint's reading. Raises SampleRefused, and then keeps nothing.
        """
        name = self._next_name()
        check_still(name, readings_rad, step_rad, pictures_px)
        if blur_px > MOST_BLUR_PX:
            raise SampleRefused(
                name,
                f"its picture is blurred: edges are {blur_px:.1f} px wide, {MOST_BLUR_PX:g} at most count",
                "wait longer before the picture, focus, or give more light",
            )
        joints_rad = np.median(np.array(readings_rad), axis=0)
        sample = HandEyeSample(name, joints_rad, object_m, np.mean(np.array(pictures_px), axis=0))
        for other in self._samples:
            why = repeats(sample, other)
            if why:
                raise SampleRefused(name, why, "move the arm, turning the tool by 10 deg or more")
        self._samples = (*self._samples, sample)
        self._save()
        return sample

    def solve(self) -> HandEyeResult:
        """Return where the camera is by the samples so far; raises BadSamples or SampleRefused."""
        setup = self.setup
        return calibrate_hand_eye(setup.description, setup.mount, self._samples, setup.intrinsics, setup.noise)

    def solution(self) -> HandEyeResult | None:
        """Return where the camera is by the samples so far, None while they do not tell."""
        if len(self._samples) < MIN_SAMPLES:
            return None
        try:
            return self.solve()
        except (BadSamples, SampleRefused):
            return None

    def finish(self) -> Path:
        """Put the samples beside the calibration that was made of them, so that they can be solved again; return it."""
        kept = self.path.with_name(self.path.name.replace("_partial", "_samples"))
        if self.path.exists():
            self.path.replace(kept)
        return kept

    def _next_name(self) -> str:
        numbers = [int(s.name) for s in self._samples if s.name.isdigit()]
        return f"{max(numbers, default=0) + 1:02d}"

    def _kept(self, samples: Sequence[HandEyeSample]) -> KeptSamples:
        setup = self.setup
        return KeptSamples(
            setup.serial,
            setup.description.sha256,
            setup.camera,
            intrinsics_sha256(setup.intrinsics),
            setup.mount,
            setup.board,
            tuple(_kept(s) for s in samples),
        )

    def _save(self) -> None:
        write_atomic(self.path, msgspec.json.encode(self._kept(self._samples)))

    def _load(self) -> tuple[HandEyeSample, ...]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        try:
            kept = msgspec.json.decode(data, type=KeptSamples)
            samples = tuple(
                HandEyeSample(s.name, np.array(s.joints_rad), np.array(s.object_m), np.array(s.image_px))
                for s in kept.samples
            )
        except (msgspec.MsgspecError, SampleRefused) as error:
            raise BadArtifact(f"{self.path}: {error}. Start over with --fresh") from error
        expected = self._kept(())
        for field in KeptSamples.__struct_fields__[:-1]:
            if getattr(kept, field) != getattr(expected, field):
                raise BadArtifact(
                    f"{self.path} was sampled with another {field.removesuffix('_sha256')} "
                    f"({getattr(kept, field)}, now {getattr(expected, field)}). Start over with --fresh"
                )
        return samples


def check_still(name: str, readings_rad: Sequence[Array], step_rad: Array, pictures_px: Sequence[Array]) -> None:
    """Raise SampleRefused where the arm moved while it was read and looked at."""
    if not readings_rad or not pictures_px:
        raise SampleRefused(name, "it has no reading or no picture", "take it again")
    moved_rad = np.ptp(np.array(readings_rad), axis=0)
    worst = int(np.argmax(moved_rad / step_rad))
    if moved_rad[worst] > STEADY_STEPS * step_rad[worst] + 1e-9:
        raise SampleRefused(
            name,
            f"the arm moved: joint {worst + 1} by {np.degrees(moved_rad[worst]):.2f} deg while it should have stood",
            "wait for the arm to come to rest before taking it",
        )
    shifts = np.linalg.norm(np.ptp(np.array(pictures_px), axis=0), axis=1)
    if float(np.median(shifts)) > STEADY_PX:
        raise SampleRefused(
            name,
            f"the picture moved by {np.median(shifts):.1f} px while the arm should have stood",
            "wait for the arm and the camera to come to rest",
        )


def _kept(sample: HandEyeSample) -> KeptSample:
    corners = [(float(x), float(y), float(z)) for x, y, z in sample.object_m]
    pixels = [(float(u), float(v)) for u, v in sample.image_px]
    return KeptSample(sample.name, tuple(float(v) for v in sample.joints_rad), tuple(corners), tuple(pixels))
