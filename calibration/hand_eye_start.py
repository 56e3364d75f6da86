"""Where a hand-eye fit begins: the board's pose in each picture, and the closed forms of OpenCV.

Closed forms are the start and no more: they weigh a sample's turn and way by nothing, and are off by millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bridge.ports import Intrinsics
from calibration.errors import BadSamples, SampleRefused
from calibration.hand_eye_model import METRES_PER_RAD
from calibration.hand_eye_sample import HandEyeSample, Mount, check_span, mount_from_carrier, rotation_span
from calibration.lens import project, undistort
from urdf.pose import Pose

#: Closed forms that are tried. Andreff is 11 to 40 mm off on such samples, and Tsai fails on small and half turns.
METHODS = ("PARK", "HORAUD", "DANIILIDIS")
#: Subsets from which a start is tried as well, so that a few wrong samples do not spoil every start.
_SUBSETS, _SUBSET_SIZE = 40, 5
#: Boards seen from samples that fit together agree to this much [m, radians at METRES_PER_RAD]; see `check_mix_up`.
_GOOD_M = 0.02
_MUCH_BETTER = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class BoardSight:
    """The board's pose in one picture by its corners alone, and how well they fit it (RMS per axis)."""

    camera_from_board: Pose
    rms_px: float


def see_board(sample: HandEyeSample, intrinsics: Intrinsics) -> BoardSight:
    """Return where one picture shows the board; raises SampleRefused where its corners are no picture of it."""
    import cv2

    rays = undistort(sample.image_px, intrinsics)
    if not np.isfinite(rays).all():
        raise SampleRefused(sample.name, "a corner lies where this lens sees nothing", "keep the board off the edge")
    flat = float(np.ptp(sample.object_m[:, 2])) < 1e-9
    flag = cv2.SOLVEPNP_IPPE if flat else cv2.SOLVEPNP_SQPNP
    try:
        count, turns, ways, _ = cv2.solvePnPGeneric(sample.object_m, rays[:, None], np.eye(3), None, flags=flag)
    except cv2.error as error:
        raise SampleRefused(sample.name, "its corners lie on one line", "show more of it") from error
    sights: list[BoardSight] = []
    for turn, way in zip(turns[:count], ways[:count], strict=True):
        turn, way = cv2.solvePnPRefineLM(sample.object_m, rays[:, None], np.eye(3), None, turn, way)
        if not (np.isfinite(turn).all() and np.isfinite(way).all()):
            continue
        pose = Pose.from_rotvec(np.asarray(way, dtype=np.float64).ravel(), np.asarray(turn, dtype=np.float64).ravel())
        error = project(sample.object_m, pose, intrinsics) - sample.image_px
        if np.isfinite(error).all():
            freedom = max(error.size - 6, 1)
            sights.append(BoardSight(pose, math.sqrt(float((error**2).sum()) / freedom)))
    if not sights:
        raise SampleRefused(
            sample.name, "no pose of the board explains its corners: they lie on one line", "show more of it"
        )
    return min(sights, key=lambda s: s.rms_px)


def closed_form(tools: Sequence[Pose], boards: Sequence[Pose], mount: Mount, method: str = "PARK") -> Pose:
    """Return mount_from_camera of base_from_tool and camera_from_board poses by one of OpenCV's closed forms.

    Raises BadSamples where the poses turn too little, or too much alike.
    """
    import cv2

    if len(tools) < 3:
        raise BadSamples(f"{len(tools)} poses: a closed form needs 3 at least")
    check_span(rotation_span(tools))
    # OpenCV writes gripper-to-base for an eye in the hand; handed the inverse, it solves for an eye that looks at it.
    carriers = [mount_from_carrier(t, mount).inverse() for t in tools]
    # method= by keyword: the fifth positional argument is something else, and OpenCV then silently takes Tsai.
    rotation, way = cv2.calibrateHandEye(
        [c.rotation for c in carriers],
        [c.position_m for c in carriers],
        [b.rotation for b in boards],
        [b.position_m for b in boards],
        method=getattr(cv2, f"CALIB_HAND_EYE_{method}"),
    )
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, np.asarray(way).ravel()
    if not np.isfinite(matrix).all():
        raise BadSamples(f"the closed form of {method} found nothing in these samples: turn the tool more")
    u, _, v = np.linalg.svd(matrix[:3, :3])
    matrix[:3, :3] = u @ np.diag([1.0, 1.0, float(np.linalg.det(u @ v))]) @ v
    return Pose.from_matrix(matrix)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A camera and a board, and how far the median sample's board is from it: metres and turned radians together."""

    mount_from_camera: Pose
    carrier_from_board: Pose
    apart_m: float


def start_from(tools: Sequence[Pose], boards: Sequence[Pose], mount: Mount, camera: Pose) -> Start:
    """Return the board on which the samples agree best, and how well, where the camera is at `camera`."""
    placed = [mount_from_carrier(t, mount).inverse() @ camera @ b for t, b in zip(tools, boards, strict=True)]
    points = np.array([p.position_m for p in placed])
    turns = np.array([p.rotation for p in placed])
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    cosines = (np.einsum("aij,bij->ab", turns, turns) - 1) / 2
    gaps = gaps + METRES_PER_RAD * np.arccos(np.clip(cosines, -1.0, 1.0))
    medians = np.median(gaps, axis=1)
    best = int(np.argmin(medians))
    return Start(camera, placed[best], float(medians[best]))


def best_start(tools: Sequence[Pose], boards: Sequence[Pose], mount: Mount) -> Start:
    """Return the best start by the closed forms over all samples and over many few; raises BadSamples."""
    rng = np.random.default_rng(0)
    chosen = [list(range(len(tools)))]
    if len(tools) > _SUBSET_SIZE:
        chosen += [rng.choice(len(tools), _SUBSET_SIZE, replace=False).tolist() for _ in range(_SUBSETS)]
    best: Start | None = None
    problem: BadSamples | None = None
    for number, indices in enumerate(chosen):
        for method in METHODS if number == 0 else METHODS[:1]:
            try:
                camera = closed_form([tools[k] for k in indices], [boards[k] for k in indices], mount, method)
            except BadSamples as error:
                problem = problem or error
                continue
            start = start_from(tools, boards, mount, camera)
            if best is None or start.apart_m < best.apart_m:
                best = start
    if best is None:
        raise problem or BadSamples("no closed form found anything in these samples")
    return best


def check_mix_up(tools: Sequence[Pose], boards: Sequence[Pose], mount: Mount, found: Start) -> None:
    """Raise BadSamples where the samples fit together far better with a transform the other way round."""
    if found.apart_m < _GOOD_M / _MUCH_BETTER:
        return
    other = Mount.EYE_TO_HAND if mount is Mount.EYE_IN_HAND else Mount.EYE_IN_HAND
    try:
        start = best_start(tools, boards, other)
    except BadSamples:
        return
    if start.apart_m < _GOOD_M and start.apart_m * _MUCH_BETTER < found.apart_m:
        # Which of the three it is no sample can tell: the equation is the same, camera and board trade places.
        raise BadSamples(
            f"transforms are mixed up: as given the samples disagree by {1000 * found.apart_m:.0f} mm, the other way "
            f"round by {1000 * start.apart_m:.1f}. One of three: this is no {mount.value} but an {other.value} camera: "
            f"say so; base_from_tool was handed over inverted, as tool_from_base: invert it; or camera_from_board was, "
            f"as board_from_camera: invert that"
        )
