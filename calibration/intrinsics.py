"""A camera from views of a board: which views count, which lens model they ask for, and how well all of it is known.

The model is the one that predicts views best that it was not fitted to; a more complex one must earn its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bridge.ports import Intrinsics
from calibration.board_spec import BoardCorners
from calibration.errors import WeakViews
from calibration.lens_fit import fit_lens, fit_poses
from calibration.lens_solver import LensFit, View, rms
from urdf.pose import Array

#: From the simplest on.
MODELS = ("pinhole", "fisheye", "rational")
MIN_VIEWS = 8
#: A view with fewer points says little beyond its own pose, whose six numbers they must determine first.
MIN_POINTS = 12
#: Edges blurred by more than this were moving or out of focus; for pictures 640 px wide, and in proportion beyond.
MAX_BLUR_PX = 2.0
#: A view in which a point moved by less than this share of the picture's diagonal says nothing new.
_SAME_SHARE = 0.015
#: A board that spans less than this share of the picture's diagonal is too far away to bend with the lens.
_SMALL_SHARE = 0.12
#: A view whose error is so many times that of the median view is of something else: a bent board, a moving one.
_OUTLIER_RATIO, _OUTLIER_PX = 2.5, 0.2
_FOLDS = 5
#: A more complex model must predict better by this share.
_WORTH = 0.01
#: A focal length known less well than this is not worth writing down.
MAX_FOCAL_SIGMA = 0.01


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture shows of the board, how blurred it is (NaN: not known), and what a board of its kind needs."""

    name: str
    corners: BoardCorners
    blur_px: float = math.nan
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A picture that does not count, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class ModelScore:
    """How well a lens model predicts held-out views: root mean square of a coordinate [px]."""

    model: str
    held_out_px: float


@dataclass(frozen=True, slots=True)
class CameraResult:
    """A measured camera. `held_out_px` (n, 2) per used view: its error when it was not fitted to, its pose alone was.

    `sigma` are the standard deviations of fx fy cx cy [px] and the coefficients.
    """

    intrinsics: Intrinsics
    sigma: Array
    views: tuple[View, ...]
    fit: LensFit
    held_out_px: tuple[Array, ...]
    scores: tuple[ModelScore, ...]
    refused: tuple[Refused, ...]

    @property
    def held_out_rms_px(self) -> float:
        """Root mean square error of a coordinate on held-out views."""
        return rms(self.held_out_px)

    @property
    def focal_sigma(self) -> float:
        """Standard deviation of the focal length, relative."""
        i = self.intrinsics
        return float(max(self.sigma[0] / i.fx_px, self.sigma[1] / i.fy_px))


def calibrate(
    pictures: Sequence[Seen],
    size_px: tuple[int, int],
    models: Sequence[str] = MODELS,
    on_progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> CameraResult:
    """Return the camera that took the pictures; raises WeakViews where they do not determine it.

    The result does not depend on the pictures' order, but for which of two alike is kept.
    """
    views, refused = usable(pictures, size_px)
    _check_enough(views, refused)
    fits: dict[str, LensFit] = {}
    for k, model in enumerate(models):
        on_progress(f"fitting {model}", k / (2 * len(models)))
        fits[model] = fit_lens(views, size_px, model)
    best = min(fits, key=lambda m: fits[m].rms_px)
    views, dropped, fits[best] = _without_outliers(views, size_px, fits[best])
    refused += dropped
    _check_enough(views, refused)
    held_out: dict[str, list[Array]] = {}
    for k, model in enumerate(models):
        on_progress(f"cross-validating {model}", 0.5 + k / (2 * len(models)))
        if dropped and model != best:
            fits[model] = fit_lens(views, size_px, model)
        held_out[model] = _held_out(views, size_px, fits[model])
    chosen = _choose(held_out)
    fit = fits[chosen]
    result = CameraResult(
        fit.intrinsics,
        np.sqrt(np.diag(fit.covariance)),
        tuple(views),
        fit,
        tuple(held_out[chosen]),
        tuple(ModelScore(m, rms(held_out[m])) for m in models),
        tuple(refused),
    )
    if not result.focal_sigma <= MAX_FOCAL_SIGMA:
        raise WeakViews(
            f"the focal length would be known to {100 * result.focal_sigma:.1f} % only (at most "
            f"{100 * MAX_FOCAL_SIGMA:.0f} % is accepted): {_what_is_missing(fit)}"
        )
    on_progress("done", 1.0)
    return result


def usable(pictures: Sequence[Seen], size_px: tuple[int, int]) -> tuple[list[View], list[Refused]]:
    """Return the views that count, and those that do not with the reason."""
    views: list[View] = []
    refused: list[Refused] = []
    for seen in pictures:
        why = why_refused(seen, size_px) or _same_as(seen, pictures, {v.name for v in views}, size_px)
        if why:
            refused.append(Refused(seen.name, why))
        else:
            views.append(View(seen.name, seen.corners.object_m, seen.corners.image_px))
    return views, refused


def blur_limit_px(size_px: tuple[int, int]) -> float:
    """Return how blurred a picture of this size may be."""
    return MAX_BLUR_PX * max(1.0, size_px[0] / 640)


def why_refused(seen: Seen, size_px: tuple[int, int]) -> str:
    """Return why a picture does not count by itself, or nothing."""
    corners = seen.corners
    if seen.blur_px > blur_limit_px(size_px):  # before all that blur may be the cause of
        return (
            f"blurred: edges are {seen.blur_px:.1f} px wide, at most {blur_limit_px(size_px):.1f} px are sharp enough: "
            "hold the board still, focus, more light"
        )
    if len(corners) == 0:
        return f"the board was not found: {seen.needs}" if seen.needs else "the board was not found"
    if len(corners) < MIN_POINTS:
        return f"only {len(corners)} points of the board are seen, {MIN_POINTS} are needed: show more of it"
    spread = np.linalg.svd(corners.image_px - corners.image_px.mean(axis=0), compute_uv=False) / math.sqrt(len(corners))
    diagonal = math.hypot(*size_px)
    if float(np.linalg.norm(np.ptp(corners.image_px, axis=0))) < _SMALL_SHARE * diagonal:
        return "the board is too small in the picture: bring it nearer"
    if spread[1] < 0.1 * spread[0]:
        return "the points seen lie almost in a line: show more of the board, or tilt it less"
    return ""


def same_view(a: BoardCorners, b: BoardCorners, size_px: tuple[int, int]) -> bool:
    """Whether two pictures show the board in the same place and attitude."""
    _, ours, theirs = np.intersect1d(a.ids, b.ids, return_indices=True)
    if len(ours) < min(len(a), len(b)) / 2 or len(ours) == 0:
        return False
    moved = float(np.linalg.norm(a.image_px[ours] - b.image_px[theirs])) / math.sqrt(len(ours))
    return moved < _SAME_SHARE * math.hypot(*size_px)


def _same_as(seen: Seen, pictures: Sequence[Seen], kept: set[str], size_px: tuple[int, int]) -> str:
    for other in pictures:
        if other.name in kept and same_view(seen.corners, other.corners, size_px):
            return f"the same view as {other.name}: move the board between pictures"
    return ""


def _check_enough(views: Sequence[View], refused: Sequence[Refused]) -> None:
    if len(views) >= MIN_VIEWS:
        return
    reasons = "; ".join(f"{r.name}: {r.why}" for r in refused[:6])
    more = f" and {len(refused) - 6} more" if len(refused) > 6 else ""
    raise WeakViews(
        f"{len(views)} usable views of the board, {MIN_VIEWS} are needed, 20 are good"
        + (f". Refused: {reasons}{more}" if refused else ": take more pictures")
    )


def _without_outliers(
    views: list[View], size_px: tuple[int, int], fit: LensFit
) -> tuple[list[View], list[Refused], LensFit]:
    """Drop the views that disagree with all the others, the worst first."""
    dropped: list[Refused] = []
    while len(views) > MIN_VIEWS - 1:
        errors = fit.view_rms_px()
        worst, usual = int(np.argmax(errors)), float(np.median(errors))
        if errors[worst] <= max(_OUTLIER_RATIO * usual, usual + _OUTLIER_PX):
            break
        dropped.append(
            Refused(
                views[worst].name,
                f"disagrees with the others: {errors[worst]:.2f} px where {usual:.2f} px are usual: the board was "
                "bent or moving, or a corner was mistaken",
            )
        )
        views = [v for k, v in enumerate(views) if k != worst]
        fit = fit_lens(views, size_px, fit.intrinsics.model)
    return views, dropped, fit


def _held_out(views: Sequence[View], size_px: tuple[int, int], whole: LensFit) -> list[Array]:
    """Return the error of each view for the camera that was fitted to the other folds."""
    # Alike views stand next to each other when a person moves a board: every fifth, not five in a row.
    errors: list[Array] = [np.zeros((0, 2))] * len(views)
    for fold in range(_FOLDS):
        kept = [k for k in range(len(views)) if k % _FOLDS != fold]
        out = [k for k in range(len(views)) if k % _FOLDS == fold]
        start = LensFit(whole.intrinsics, tuple(whole.camera_from_board[k] for k in kept), (), whole.covariance)
        trained = fit_lens([views[k] for k in kept], size_px, whole.intrinsics.model, start)
        tested = fit_poses([views[k] for k in out], trained.intrinsics)
        for k, error in zip(out, tested.error_px, strict=True):
            errors[k] = error
    return errors


def _choose(held_out: dict[str, list[Array]]) -> str:
    """Return the simplest model that predicts held-out views as well as the best one does, or nearly."""
    errors = {model: rms(views) for model, views in held_out.items()}
    return next(model for model, error in errors.items() if error <= (1 + _WORTH) * min(errors.values()))


def _what_is_missing(fit: LensFit) -> str:
    tilts = np.degrees([math.acos(min(1.0, abs(p.rotation[2, 2]))) for p in fit.camera_from_board])
    tilted = int(np.sum(tilts > 20))
    if tilted < len(tilts) / 2:
        return (
            f"only {tilted} of {len(tilts)} views are tilted by more than 20 degrees, and flat ones cannot tell a long "
            "lens from a far board. Tilt the board by 30 to 45 degrees, towards each side of the picture"
        )
    return "take more views, with the board nearer, so that it fills the picture, and tilted towards each side"
