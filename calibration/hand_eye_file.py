"""HandEyeCalibration: where one camera of one robot is, on disk, and which camera that was measured with.

data/robots/<serial>/calibration/hand_eye_<camera>.json
"""

from __future__ import annotations

import hashlib
import math
from typing import ClassVar

import msgspec
import numpy as np

from bridge.ports import Intrinsics
from calibration.artifacts import SCHEMA_VERSION, utc_now
from calibration.camera_artifact import CameraArtifact
from calibration.errors import BadArtifact, ForeignCalibration
from calibration.hand_eye import HandEyeResult
from calibration.hand_eye_sample import Mount
from urdf.description import ArmDescription
from urdf.pose import Array, Pose

METHOD = "closed form, then reprojection weighted by corner and joint noise"
_FIXED = {Mount.EYE_IN_HAND: "in the hand", Mount.EYE_TO_HAND: "that stands before the arm"}
_Three = tuple[float, float, float]
_Four = tuple[float, float, float, float]


class HandEyeCalibration(
    CameraArtifact, frozen=True, kw_only=True, tag="hand_eye", tag_field="kind", forbid_unknown_fields=True
):
    """A camera's place: tool_from_camera of an eye in the hand, base_from_camera of an eye that looks at the hand.

    `covariance` (6 rows of 6): x y z [m], then the turn [rad], in the axes of tool or base. `joint_offset_rad` are the
    zeros that were sought along with it, to be added to what the joints read; nothing but zeros where none were. The
    header's residual is the median error of a sample that was left out [mm].
    """

    what: ClassVar[str] = "hand_eye"
    how: ClassVar[str] = "tandem calibrate hand-eye --robot {serial} --camera {camera}=CAMERA measures it."

    intrinsics_sha256: str
    mount: Mount
    position_m: _Three
    quat_xyzw: _Four
    covariance: tuple[tuple[float, ...], ...]
    board: str
    board_position_m: _Three
    board_quat_xyzw: _Four
    joint_offset_rad: tuple[float, ...]
    corner_px: float
    joint_factor: float
    rotation_span_deg: float
    condition: float
    samples: tuple[str, ...]
    left_out: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = (*self.position_m, *self.quat_xyzw, *self.board_position_m, *self.board_quat_xyzw)
        if not all(math.isfinite(v) for v in (*numbers, *self.joint_offset_rad)):
            raise BadArtifact("the camera's and the board's place must be finite")
        if abs(math.hypot(*self.quat_xyzw) - 1.0) > 1e-6 or abs(math.hypot(*self.board_quat_xyzw) - 1.0) > 1e-6:
            raise BadArtifact("quaternions must have length 1")
        covariance = np.array([row for row in self.covariance if len(row) == 6])
        if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
            raise BadArtifact("the covariance must be 6 rows of 6 finite numbers")
        if abs(covariance - covariance.T).max() > 1e-9 or float(np.linalg.eigvalsh(covariance)[0]) < -1e-12:
            raise BadArtifact("the covariance must be symmetric, with no direction better known than perfectly")

    @property
    def pose(self) -> Pose:
        """tool_from_camera or base_from_camera, by `mount`."""
        return Pose(np.array(self.position_m), np.array(self.quat_xyzw))

    @property
    def covariance_matrix(self) -> Array:
        """The covariance (6, 6)."""
        return np.array(self.covariance)

    def base_from_camera(self, base_from_tool: Pose) -> Pose:
        """Return where the camera is while the tool is there."""
        return base_from_tool @ self.pose if self.mount is Mount.EYE_IN_HAND else self.pose

    def check_camera(self, camera: str, intrinsics: Intrinsics, mount: Mount) -> None:
        """Raise ForeignCalibration unless this was measured of that camera, fixed like that, with these intrinsics."""
        how = self.how.format(camera=camera, serial=self.robot_serial)
        if self.camera != camera:
            raise ForeignCalibration(f"this is where camera {self.camera!r} is, not {camera!r}: {how}")
        if self.mount is not mount:
            raise ForeignCalibration(
                f"camera {camera!r} was measured as one {_FIXED[self.mount]}, and this one is {_FIXED[mount]}: {how} "
                f"Say --mount {mount.replace('_', '-')}."
            )
        if self.intrinsics_sha256 != intrinsics_sha256(intrinsics):
            raise ForeignCalibration(
                f"camera {camera!r} had other intrinsics when its place was measured (hash "
                f"{self.intrinsics_sha256[:12]}, now {intrinsics_sha256(intrinsics)[:12]}): its place was worked out "
                f"with those. {how}"
            )

    @staticmethod
    def of(
        result: HandEyeResult, camera: str, intrinsics: Intrinsics, board: str, serial: str, description: ArmDescription
    ) -> HandEyeCalibration:
        """Return what was measured as a file of one robot."""
        return HandEyeCalibration(
            schema_version=SCHEMA_VERSION,
            robot_serial=serial,
            arm=description.name,
            arm_sha256=description.sha256,
            created_utc=utc_now(),
            method=METHOD,
            residual=1000 * result.left_out_m(),
            residual_unit="mm",
            camera=camera,
            intrinsics_sha256=intrinsics_sha256(intrinsics),
            mount=result.mount,
            position_m=_three(result.pose),
            quat_xyzw=_four(result.pose),
            covariance=tuple(tuple(float(v) for v in row) for row in (result.covariance + result.covariance.T) / 2),
            board=board,
            board_position_m=_three(result.board),
            board_quat_xyzw=_four(result.board),
            joint_offset_rad=tuple(float(v) for v in result.offset_rad),
            corner_px=result.pixel_px,
            joint_factor=result.joint_factor,
            rotation_span_deg=math.degrees(result.span.largest_rad),
            condition=result.condition,
            samples=tuple(s.name for s in result.good),
            left_out=tuple(s.name for s in result.samples if s.is_bad),
        )

    def check_belongs(self, serial: str, description: ArmDescription) -> None:
        """Raise ForeignCalibration unless this is of that unit of that very arm, BadArtifact for other joints."""
        super().check_belongs(serial, description)
        if len(self.joint_offset_rad) != description.arm_joint_count:
            raise BadArtifact(f"{len(self.joint_offset_rad)} joint offsets: the arm has {description.arm_joint_count}")


def intrinsics_sha256(intrinsics: Intrinsics) -> str:
    """Return what tells one camera's intrinsics from another's."""
    return hashlib.sha256(msgspec.json.encode(intrinsics)).hexdigest()


def _three(pose: Pose) -> _Three:
    x, y, z = (float(v) for v in pose.position_m)
    return x, y, z


def _four(pose: Pose) -> _Four:
    x, y, z, w = (float(v) for v in pose.quat_xyzw)
    return x, y, z, w
