"""CameraCalibration: one camera of one robot on disk, with how well each number is known and what it was measured from.

data/robots/<serial>/calibration/camera_<name>.json
"""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
import numpy as np

from bridge.ports import Intrinsics
from calibration.artifacts import SCHEMA_VERSION, utc_now
from calibration.camera_artifact import CameraArtifact
from calibration.errors import BadArtifact, ForeignCalibration
from calibration.intrinsics import CameraResult
from urdf.description import ArmDescription
from urdf.pose import Array

METHOD = "reprojection least squares, lens model by cross-validation"


class RefusedView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture that did not count, and why."""

    name: str
    why: str


class LensScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well a lens model predicted views that it was not fitted to [px]."""

    model: str
    held_out_px: float


class CameraCalibration(
    CameraArtifact, frozen=True, kw_only=True, tag="camera", tag_field="kind", forbid_unknown_fields=True
):
    """A camera's geometry. `sigma` are the standard deviations of fx fy cx cy [px] and of the coefficients.

    `correlation` is theirs, row by row below the diagonal; empty in files from before it was kept: then they count as
    independent, which makes what is seen with the camera seem less sure than it is.
    The header's residual is the root mean square error of a coordinate on held-out views.
    """

    what: ClassVar[str] = "camera"
    how: ClassVar[str] = "tandem calibrate camera --name {camera} --robot {serial} makes one."

    model: str
    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...]
    sigma: tuple[float, ...]
    correlation: tuple[float, ...] = ()
    fit_rms_px: float
    scores: tuple[LensScore, ...]
    board: str
    views: tuple[str, ...]
    refused: tuple[RefusedView, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = (self.fx_px, self.fy_px, self.cx_px, self.cy_px, *self.distortion, *self.sigma)
        if not all(math.isfinite(v) for v in numbers) or min(self.fx_px, self.fy_px) <= 0:
            raise BadArtifact("the camera's numbers must be finite, its focal lengths positive")
        if self.width_px <= 0 or self.height_px <= 0:
            raise BadArtifact(f"pictures of {self.width_px} x {self.height_px} px")
        if len(self.sigma) != 4 + len(self.distortion) or min(self.sigma) < 0:
            raise BadArtifact(f"{len(self.sigma)} standard deviations for {4 + len(self.distortion)} numbers")
        if self.correlation and len(self.correlation) != len(self.sigma) * (len(self.sigma) - 1) // 2:
            raise BadArtifact(f"{len(self.correlation)} correlations for {len(self.sigma)} numbers")
        if not all(abs(v) <= 1.0 for v in self.correlation):
            raise BadArtifact("correlations must lie between -1 and 1")
        try:
            self.intrinsics()
        except ValueError as error:
            raise BadArtifact(str(error)) from error

    def intrinsics(self) -> Intrinsics:
        """Return the camera's geometry."""
        return Intrinsics(
            self.width_px, self.height_px, self.fx_px, self.fy_px, self.cx_px, self.cy_px, self.distortion, self.model
        )

    def covariance(self) -> Array:
        """Return the covariance (k, k) of fx fy cx cy and the coefficients."""
        sigma = np.array(self.sigma)
        whole = np.eye(len(sigma))
        if self.correlation:
            whole[np.tril_indices(len(sigma), -1)] = self.correlation
        return np.outer(sigma, sigma) * (whole + np.tril(whole, -1).T)

    def intrinsics_for(self, width_px: int, height_px: int) -> Intrinsics:
        """Return it for pictures of this size; raises ForeignCalibration where it was measured with another."""
        if (width_px, height_px) != (self.width_px, self.height_px):
            raise ForeignCalibration(
                f"camera {self.camera!r} was calibrated at {self.width_px} x {self.height_px} px and its pictures are "
                f"{width_px} x {height_px} px: set the camera to that size, or calibrate it at this one"
            )
        return self.intrinsics()

    @staticmethod
    def of(
        result: CameraResult, camera: str, board: str, serial: str, description: ArmDescription
    ) -> CameraCalibration:
        """Return what was measured as a file of one robot."""
        i = result.intrinsics
        below = np.tril_indices(len(result.sigma), -1)
        correlation = (result.fit.covariance / np.outer(result.sigma, result.sigma))[below]
        return CameraCalibration(
            schema_version=SCHEMA_VERSION,
            robot_serial=serial,
            arm=description.name,
            arm_sha256=description.sha256,
            created_utc=utc_now(),
            method=METHOD,
            residual=result.held_out_rms_px,
            residual_unit="px",
            camera=camera,
            model=i.model,
            width_px=i.width_px,
            height_px=i.height_px,
            fx_px=i.fx_px,
            fy_px=i.fy_px,
            cx_px=i.cx_px,
            cy_px=i.cy_px,
            distortion=i.distortion,
            sigma=tuple(float(s) for s in result.sigma),
            correlation=tuple(float(c) for c in correlation.clip(-1.0, 1.0)),
            fit_rms_px=result.fit.rms_px,
            scores=tuple(LensScore(s.model, s.held_out_px) for s in result.scores),
            board=board,
            views=tuple(v.name for v in result.views),
            refused=tuple(RefusedView(r.name, r.why) for r in result.refused),
        )
