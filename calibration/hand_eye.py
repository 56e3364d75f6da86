"""Hand-eye calibration: where a camera is on the tool, or in front of the arm, in millimetres and how sure that is.

Closed form to start, then the corners themselves: robustly, with samples that disagree named and left out, then
weighted by the noise of picture and joints together. Nothing depends on the order of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bridge.ports import Intrinsics
from calibration.errors import BadSamples
from calibration.hand_eye_fit import Fit, condition, noise_fit, robust_fit, surprise, without
from calibration.hand_eye_model import HandEyeGuess, HandEyeModel, HandEyeNoise, difference
from calibration.hand_eye_sample import (
    MIN_SAMPLES,
    HandEyeSample,
    Mount,
    RotationSpan,
    ToolPoses,
    check_span,
    in_order,
    rotation_span,
)
from calibration.hand_eye_start import BoardSight, Start, best_start, check_mix_up, see_board
from calibration.hand_eye_steps import within_steps
from urdf.pose import Array, Pose

#: A good sample is farther than this from what the others say once in 20,000: chi squared, six degrees of freedom.
_BAD_SQUARE = 30.0
#: Corners that fit the board this many times worse than the median sample's, and by more than this, are wrong.
_BAD_FIT, _BAD_FIT_PX = 4.0, 0.3
#: A print that is off by more than this share, for certain, is a wrong print; see `_check_scale`.
_BAD_SCALE, _SURE = 0.01, 5.0
#: Joints that would have to be more uncertain than this to explain the samples explain nothing.
_MOST_JOINT_RAD = math.radians(3.0)
#: Of so many samples a third may be bad; of more than that nobody knows which.
_MOST_BAD = 1 / 3


@dataclass(frozen=True, slots=True)
class SampleVerdict:
    """How one sample agrees with the others. `why` is empty unless it `is_bad`, and then says what is wrong.

    `reprojection_px`: RMS per axis between its corners and where the solution puts them, joint noise included.
    `left_out_*`: how far the board is from where a solution without this sample expects it.
    """

    name: str
    reprojection_px: float
    left_out_m: float
    left_out_rad: float
    sigmas: float
    is_bad: bool
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class HandEyeResult:
    """`pose` is tool_from_camera or base_from_camera, by `mount`; `board` is base_from_board or tool_from_board.

    Covariances (6, 6) are of `hand_eye_model.nudged`: x y z [m], then the turn [rad], in the parent's axes. `pixel_px`
    is the corners' noise as it was found, `joint_factor` how many times as uncertain the joints are as was claimed.
    """

    mount: Mount
    pose: Pose
    covariance: Array
    board: Pose
    board_covariance: Array
    offset_rad: Array
    offset_sigma_rad: Array
    pixel_px: float
    joint_factor: float
    span: RotationSpan
    condition: float
    closed_form: Pose
    samples: tuple[SampleVerdict, ...]

    @property
    def position_sigma_m(self) -> float:
        """How far off the position is likely to be: the root of the mean square, over the three axes together."""
        return math.sqrt(float(np.trace(self.covariance[:3, :3])))

    @property
    def rotation_sigma_rad(self) -> float:
        """How far off the rotation is likely to be: the root of the mean square, over the three axes together."""
        return math.sqrt(float(np.trace(self.covariance[3:, 3:])))

    @property
    def good(self) -> tuple[SampleVerdict, ...]:
        """The samples that counted."""
        return tuple(s for s in self.samples if not s.is_bad)

    def left_out_m(self) -> float:
        """Return the median over the good samples of how far the board is from where the others expect it."""
        return float(np.median([s.left_out_m for s in self.good]))


def calibrate_hand_eye(
    arm: ToolPoses,
    mount: Mount,
    samples: Sequence[HandEyeSample],
    intrinsics: Intrinsics,
    noise: HandEyeNoise,
) -> HandEyeResult:
    """Return where the camera is; raises BadSamples or SampleRefused with the reason and what to do.

    The zeros of the first and the last joint are never sought, whatever `noise.offset_rad` says: turning either is the
    same as turning board or camera. The result then is right for the joints as they are read.
    """
    ordered = in_order(samples)
    model = HandEyeModel(arm, mount, ordered, intrinsics)
    tools = [model.tool(s, None) for s in ordered]
    check_span(rotation_span(tools))
    sights = [see_board(s, intrinsics) for s in ordered]
    noise = replace(_with_pixels(noise, sights), offset_rad=_seekable(noise.offset_rad))
    why = _misfits(ordered, sights)
    kept = [k for k in range(len(ordered)) if k not in why]
    _check_enough(why, ordered)
    seen = [sights[k].camera_from_board for k in kept]
    start = best_start([tools[k] for k in kept], seen, mount)
    check_mix_up([tools[k] for k in kept], seen, mount, start)
    guess = HandEyeGuess(start.mount_from_camera, start.carrier_from_board, np.zeros_like(noise.joint_rad))
    guess = robust_fit(model.only(kept), guess, noise).guess
    kept, found, factor = _without_bad(model, kept, guess, noise)
    _check_agreement(found)
    check_span(rotation_span([tools[k] for k in kept]))
    _check_scale(model.only(kept), found)
    return _result(model, found, factor, kept, why, sights, start)


def _with_pixels(noise: HandEyeNoise, sights: Sequence[BoardSight]) -> HandEyeNoise:
    """Return the noise with that of the corners as the pictures show it; raises BadSamples where it is absurd."""
    pixel_px = float(np.median([s.rms_px for s in sights]))
    worst = max(2.0, 10 * noise.pixel_px)
    if pixel_px > worst:
        raise BadSamples(
            f"the corners fit the board to {pixel_px:.1f} px, {noise.pixel_px:g} are expected: the intrinsics are of "
            f"another camera or resolution, or this is another board or a mirrored one. Calibrate the camera, check "
            f"the board's name"
        )
    return replace(noise, pixel_px=max(pixel_px, 0.02))


def _seekable(offset_rad: Array) -> Array:
    sought = np.array(offset_rad, dtype=np.float64)
    sought[[0, -1]] = 0.0
    return sought


def _misfits(samples: Sequence[HandEyeSample], sights: Sequence[BoardSight]) -> dict[int, str]:
    typical = float(np.median([s.rms_px for s in sights]))
    limit = max(_BAD_FIT * typical, typical + _BAD_FIT_PX)
    return {
        k: f"its corners fit the board to {s.rms_px:.2f} px, the others' to {typical:.2f}: blurred, or found wrongly"
        for k, s in enumerate(sights)
        if s.rms_px > limit
    }


def _check_enough(bad: dict[int, str], samples: Sequence[HandEyeSample]) -> None:
    left = len(samples) - len(bad)
    if left < MIN_SAMPLES or len(bad) > _MOST_BAD * len(samples):
        names = ", ".join(samples[k].name for k in sorted(bad))
        raise BadSamples(
            f"{len(bad)} of {len(samples)} samples contradict the others ({names}): too many to leave out. The board "
            f"or the camera was moved, the servos slipped, or pictures are paired with other poses. Take all of them "
            f"again"
        )


def _without_bad(
    model: HandEyeModel, kept: list[int], guess: HandEyeGuess, noise: HandEyeNoise
) -> tuple[list[int], Fit, float]:
    """Leave out the worst sample until all agree; return the kept ones, their solution and the joints' factor."""
    count = len(model.samples)
    while True:
        found, factor = noise_fit(model.only(kept), guess, noise)
        if len(kept) <= MIN_SAMPLES:
            return kept, found, factor
        # The worst sample swells the noise that it is judged by: judge each by the noise without it.
        squares = [without(found, k)[1] for k in range(len(kept))]
        worst = int(np.argmax(squares))
        rest = kept[:worst] + kept[worst + 1 :]
        alone, _ = noise_fit(model.only(rest), found.guess, noise)
        if surprise(model.only([kept[worst]]), alone) < _BAD_SQUARE:
            return kept, found, factor
        kept, guess = rest, alone.guess
        if count - len(kept) > _MOST_BAD * count:
            bad = dict.fromkeys([k for k in range(count) if k not in kept], "")
            _check_enough(bad, model.samples)


def _check_agreement(found: Fit) -> None:
    """Raise BadSamples where the samples agree only if joints are off by more than any joint is."""
    off_rad = float(found.noise.joint_rad.max())
    if off_rad > _MOST_JOINT_RAD:
        raise BadSamples(
            f"the samples contradict one another, as if joints were off by {math.degrees(off_rad):.0f} deg: the board "
            f"or the camera was moved half way, the servos' zeros or directions are wrong (tandem calibrate servos), "
            f"or pictures are paired with other poses. Mend that and take all samples again"
        )


def _check_scale(model: HandEyeModel, found: Fit) -> None:
    """Raise BadSamples where arm and board disagree about what a metre is."""
    loose, _ = noise_fit(model, found.guess, replace(found.noise, board_scale=0.1))
    sigma = math.sqrt(float(loose.covariance()[-1, -1]))
    if abs(loose.guess.scale) > max(_BAD_SCALE, _SURE * sigma):
        raise BadSamples(
            f"the board is {100 * abs(loose.guess.scale):.1f} % (+- {100 * sigma:.1f}) "
            f"{'larger' if loose.guess.scale > 0 else 'smaller'} than it is said to be: the printer scaled it, or its "
            f"squares are of another size. Measure its rulers, and enter them: tandem board measured"
        )


def _result(
    model: HandEyeModel,
    found: Fit,
    factor: float,
    kept: list[int],
    why: dict[int, str],
    sights: Sequence[BoardSight],
    start: Start,
) -> HandEyeResult:
    inflation = max(1.0, found.chi_squared() / max(found.freedom(), 1.0))
    guess, covariance = found.guess, found.covariance()
    if found.noise.step_rad is not None:
        guess, covariance = within_steps(model.only(kept), found, found.noise.step_rad)
    covariance = inflation * covariance
    count = len(found.guess.offset_rad)
    verdicts = [_verdict(model, found, k, kept, why, sights[k]) for k in range(len(model.samples))]
    return HandEyeResult(
        mount=model.mount,
        pose=guess.mount_from_camera,
        covariance=covariance[:6, :6],
        board=guess.carrier_from_board,
        board_covariance=covariance[6:12, 6:12],
        offset_rad=guess.offset_rad,
        offset_sigma_rad=np.sqrt(np.diag(covariance)[12 : 12 + count]),
        pixel_px=found.noise.pixel_px,
        joint_factor=factor,
        span=rotation_span([model.tool(model.samples[k], None) for k in kept]),
        condition=condition(found),
        closed_form=start.mount_from_camera,
        samples=tuple(sorted(verdicts, key=lambda v: v.name)),
    )


def _verdict(
    model: HandEyeModel, found: Fit, index: int, kept: list[int], why: dict[int, str], sight: BoardSight
) -> SampleVerdict:
    sample, is_bad = model.samples[index], index not in kept
    if is_bad:
        guess, square = found.guess, surprise(model.only([index]), found)
    else:
        guess, square = without(found, kept.index(index))
    expected = model.camera_from_board(index, guess)
    centre = sample.object_m.mean(axis=0, keepdims=True)
    way_m = float(np.linalg.norm(sight.camera_from_board.apply(centre) - expected.apply(centre)))
    turn_rad = float(np.linalg.norm(difference(sight.camera_from_board, expected)[3:]))
    seen = model.only([index]).look(found.guess)
    rms = math.nan if seen is None else math.sqrt(float(np.mean(seen[0].residual_px ** 2)))
    reason = why.get(index, "")
    if is_bad and not reason:
        reason = (
            f"the board is {1000 * way_m:.1f} mm and {math.degrees(turn_rad):.1f} deg from where the other samples put "
            f"it: the arm moved, board or camera were knocked, or its picture belongs to another pose"
        )
    return SampleVerdict(sample.name, rms, way_m, turn_rad, math.sqrt(square), is_bad, reason)
