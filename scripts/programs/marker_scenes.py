"""Pictures of a block whose place is known exactly: one printed marker, a lens, blur, noise, clutter behind it.

Every sub-pixel sends its own ray through the lens model to the block, so that edges lie where the optics puts them:
nothing is warped, and what is measured here is not what a warp gets wrong. The block stands on its desk wherever the
camera is, so that the same picture can be read with the desk known and without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, BLOCK_SIZE_M, CELLS, Marker, Target, marker_image
from urdf.compiled import compiled
from urdf.pose import Array, Pose

Image = NDArray[np.uint8]

#: As a common desk webcam: the shortest focal length that is promised, and a lens that bends a little.
DESK_LENS = Intrinsics(640, 480, 550.0, 551.0, 322.3, 236.8, (0.06, -0.16, 0.0008, -0.0006, 0.05))
#: As the kit's wide camera: a barrel that bends a line of 100 px by two at the rim.
WIDE_LENS = Intrinsics(640, 480, 350.0, 350.5, 317.2, 243.1, (-0.24, 0.07, 0.0006, -0.0004, -0.008))
#: Sub-pixels per pixel and axis. Five put an edge where it belongs to 0.01 px.
_FINER = 5
_MARGIN_PX = 6
_SKIN = np.array([1.0, 0.82, 0.45])


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture (H, W, 3) of a block with one marker, and the truth about it."""

    rgb: Image
    intrinsics: Intrinsics
    camera_from_block: Pose
    marker: Marker
    tilt_rad: float
    distance_m: float
    blur_px: float


@dataclass(frozen=True, slots=True)
class SceneRange:
    """What scenes are drawn from: each quantity uniformly between two numbers."""

    intrinsics: Intrinsics
    target: Target = BLOCK
    distance_m: tuple[float, float] = (0.3, 0.5)
    tilt_rad: tuple[float, float] = (0.0, np.pi / 3)
    blur_px: tuple[float, float] = (0.5, 1.0)
    noise: tuple[float, float] = (1.0, 3.0)
    #: As a webcam hands it out: mid-tones brightened (gamma 2.2), then JPEG of this quality.
    jpeg_quality: int | None = None


def card(marker_m: float, quiet_m: float = 0.005) -> Target:
    """Return a block like ours with markers of another size, and its quiet zone around them."""
    size = marker_m + 2 * quiet_m
    markers = tuple(
        Marker(
            m.id,
            m.name,
            marker_m,
            Pose(m.target_from_marker.position_m * (size / BLOCK_SIZE_M), m.target_from_marker.quat_xyzw),
        )
        for m in BLOCK.markers
    )
    return Target("block", (size, size, size), markers)


def scenes(count: int, drawn_from: SceneRange, seed: int) -> Iterator[Scene]:
    """Yield `count` scenes; the block lies inside the picture as a whole."""
    for number in range(count):
        yield draw_scene(drawn_from, np.random.default_rng((seed, number)))


def draw_scene(drawn_from: SceneRange, rng: np.random.Generator) -> Scene:
    """Return one scene: a face of the block at a drawn distance and slant, turned about its normal as it likes."""
    lens, target = drawn_from.intrinsics, drawn_from.target
    marker = target.markers[rng.integers(len(target.markers))]
    while True:
        distance, tilt = rng.uniform(*drawn_from.distance_m), rng.uniform(*drawn_from.tilt_rad)
        pixel = rng.uniform([0.0, 0.0], [lens.width_px, lens.height_px])
        pose = _facing(_ray(pixel[None], lens)[0], distance, tilt, rng) @ marker.target_from_marker.inverse()
        box = _outline_px(pose, target, lens)
        if (box[0] >= _MARGIN_PX).all() and (box[1] < [lens.width_px - _MARGIN_PX, lens.height_px - _MARGIN_PX]).all():
            break
    blur, noise = rng.uniform(*drawn_from.blur_px), rng.uniform(*drawn_from.noise)
    rgb = _picture(pose, target, marker, lens, box, blur, rng)
    if drawn_from.jpeg_quality is not None:
        rgb = 255 * (rgb.clip(0, 255) / 255) ** (1 / 2.2)
    grain = rng.standard_normal(rgb.shape, dtype=np.float32)
    rgb = np.clip(np.rint(rgb + noise * grain), 0, 255).astype(np.uint8)
    if drawn_from.jpeg_quality is not None:
        _, packed = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, drawn_from.jpeg_quality])
        rgb = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
    return Scene(rgb, lens, pose, marker, tilt, distance, blur)


def _ray(pixels: Array, lens: Intrinsics) -> Array:
    """Return the directions (n, 3) of pixels (n, 2), z = 1."""
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-9)
    flat = cv2.undistortPointsIter(
        pixels[:, None], lens.matrix(), np.array(lens.distortion), np.eye(3), np.eye(3), criteria
    ).reshape(-1, 2)
    return np.column_stack([flat.astype(np.float64), np.ones(len(flat))])


def _facing(ray: Array, distance_m: float, tilt_rad: float, rng: np.random.Generator) -> Pose:
    """Return `camera_from_marker` on a ray, its normal `tilt_rad` away from the line of sight."""
    toward = -ray / np.linalg.norm(ray)
    side = np.cross(toward, rng.normal(size=3))
    side /= np.linalg.norm(side)
    normal = np.cos(tilt_rad) * toward + np.sin(tilt_rad) * side
    x = np.cross(normal, rng.normal(size=3))
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = x, np.cross(normal, x), normal
    matrix[:3, 3] = -toward * distance_m
    return Pose.from_matrix(matrix)


def _outline_px(camera_from_block: Pose, target: Target, lens: Intrinsics) -> Array:
    """Return the smallest and the largest pixel (2, 2) that the block covers."""
    half = np.array(target.size_m) / 2
    corners = np.array(np.meshgrid(*([-1.0, 1.0],) * 3)).reshape(3, -1).T * half
    pixels, _ = cv2.projectPoints(
        corners, camera_from_block.rotvec_rad(), camera_from_block.position_m, lens.matrix(), np.array(lens.distortion)
    )
    return np.array([pixels[:, 0].min(axis=0), pixels[:, 0].max(axis=0)])


def _picture(
    pose: Pose, target: Target, marker: Marker, lens: Intrinsics, box: Array, blur_px: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the picture (H, W, 3), 0 to 255, without noise."""
    picture = _clutter(lens, rng)
    (left, top), (right, bottom) = np.floor(box[0]).astype(int) - 4, np.ceil(box[1]).astype(int) + 4
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, lens.width_px), min(bottom, lens.height_px)
    u, v = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    rays = _ray(np.column_stack([u.ravel(), v.ravel()]).astype(np.float64), lens)[:, :2].reshape(*u.shape, 2)
    finer = (_FINER * (right - left), _FINER * (bottom - top))
    # Between neighbouring pixels a lens bends by less than a thousandth of a pixel.
    rays, behind = (
        cv2.resize(m, finer, interpolation=cv2.INTER_LINEAR) for m in (rays, picture[top:bottom, left:right])
    )
    rays, fine = np.asarray(rays, dtype=np.float64), np.asarray(behind, dtype=np.float32)
    origin = -pose.rotation.T @ pose.position_m
    paper, ink, slope = rng.uniform(150, 235), rng.uniform(15, 60), rng.uniform(-0.12, 0.12, 2)
    normal = marker.target_from_marker.rotation[:, 2]
    axis = int(np.abs(normal).argmax())
    face = 2 * axis + int(normal[axis] > 0)
    light = rng.uniform(0.55, 1.0, 6)
    light[face] = 1.0
    bits = np.pad(marker_image(marker.id, CELLS) > 0, 1, constant_values=True)
    marker_from_block = marker.target_from_marker.inverse().as_matrix()[:2] / marker.size_m
    half_m = np.array(target.size_m) / 2
    _shade(fine, rays, pose.rotation, origin, half_m, face, marker_from_block, bits, light, slope, paper, ink, _SKIN)
    fine = cv2.GaussianBlur(fine, (0, 0), blur_px * _FINER, borderType=cv2.BORDER_REPLICATE)
    picture[top:bottom, left:right] = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return picture


@compiled
def _shade(
    fine: NDArray[np.float32],
    rays: Array,
    rotation: Array,
    origin: Array,
    half_m: Array,
    face: int,
    marker_from_block: Array,
    bits: NDArray[np.bool_],
    light: Array,
    slope: Array,
    paper: float,
    ink: float,
    skin: Array,
) -> None:
    """Draw over `fine` (h, w, 3) what each ray x/z, y/z (h, w, 2) meets: the marker, its paper or a bare side."""
    for row in range(fine.shape[0]):
        for column in range(fine.shape[1]):
            x, y = rays[row, column]
            near, far, axis, sign = -1e9, 1e9, 0, 1.0
            direction = x * rotation[0] + y * rotation[1] + rotation[2]
            for k in range(3):
                towards = 1.0 if direction[k] > 0 else -1.0
                speed = direction[k] * towards + 1e-300
                enter = (-half_m[k] - origin[k] * towards) / speed
                if enter > near:
                    near, axis, sign = enter, k, -towards
                far = min(far, (half_m[k] - origin[k] * towards) / speed)
            if near > far:
                continue
            side = 2 * axis + (1 if sign > 0 else 0)
            if side != face:
                for k in range(3):
                    fine[row, column, k] = paper * light[side] * skin[k]
                continue
            point = origin + near * direction
            across = (marker_from_block[0, :3] * point).sum() + marker_from_block[0, 3]
            up = (marker_from_block[1, :3] * point).sum() + marker_from_block[1, 3]
            i = min(max(int(np.floor((0.5 - up) * 6)), -1), 6) + 1
            j = min(max(int(np.floor((across + 0.5) * 6)), -1), 6) + 1
            shaded = 1.0 + across * slope[0] + up * slope[1]
            for k in range(3):
                fine[row, column, k] = paper * shaded if bits[i, j] else ink * shaded


def _clutter(lens: Intrinsics, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a desk (H, W, 3): soft light, grain, and a few things with straight edges."""
    size = (lens.width_px, lens.height_px)
    soft = cv2.resize(
        np.array([150.0, 140.0, 125.0]) + rng.uniform(-35, 35, (3, 4, 1)) + rng.uniform(-8, 8, (3, 4, 3)),
        size,
        interpolation=cv2.INTER_CUBIC,
    )
    grain = cv2.resize(rng.normal(0.0, 6.0, (lens.height_px // 2, 40)), size, interpolation=cv2.INTER_LINEAR)
    desk = np.asarray(soft + grain[:, :, None], dtype=np.float32)
    for _ in range(rng.integers(3, 9)):
        middle = rng.uniform([0, 0], size)
        angle, sides = rng.uniform(0, np.pi), rng.uniform(8, 60, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = middle + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides) @ turn.T
        cv2.fillConvexPoly(desk, np.rint(corners).astype(np.int32), rng.uniform(30, 230, 3).tolist(), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(desk, (0, 0), 0.8), dtype=np.float32).clip(0, 255)
