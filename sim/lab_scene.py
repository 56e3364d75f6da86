"""What the lab looks like: the block's printed skin, the desk with its reference board, and where the camera hangs."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, BLOCK_SIZE_M, GRIPPER, board_image, desk_from_board, face_image, marker_image
from urdf.description import Rig
from urdf.pose import Array, Pose

Image = NDArray[np.uint8]

_PAPER_RGB = (255, 206, 112)  # the block's skin: light enough to be the quiet zone of its markers
_DESK_RGB = np.array([203.0, 186.0, 163.0])
_DESK_SIDE_M, _DESK_PX_PER_M = 2.4, 500

_BOARD_PX_PER_MM = 8
_PAPER_SHINE = np.array([0.975, 0.965, 0.945])

_FOCAL_PX = 510.0  # 50 degrees of view from top to bottom, as a common desk webcam
LAB_INTRINSICS = Intrinsics(640, 480, _FOCAL_PX, _FOCAL_PX, 319.5, 239.5)
_DISTANCE_M, _ELEVATION_RAD, _LOOK_M = 0.40, math.radians(36.0), np.array([0.0, -0.035, 0.062])


def nominal_camera(rig: Rig) -> Pose:
    """Return `desk_from_camera` as the lab is drawn: in front of the arm, 36 degrees above the desk, looking back.

    From the front it looks across the closing jaws at a face that neither of them covers; from above, the gripper
    would hide the block at the moment of the grasp.
    """
    target = np.array([*rig.area_center_m, 0.0]) + _LOOK_M
    eye = target + _DISTANCE_M * np.array([0.0, math.cos(_ELEVATION_RAD), math.sin(_ELEVATION_RAD)])
    return look_at(eye, target)


def look_at(eye_m: Array, target_m: Array) -> Pose:
    """Return the pose of a camera (OpenCV axes: z forward, y down) at `eye_m` that looks at `target_m`, upright."""
    forward = (target_m - eye_m) / np.linalg.norm(target_m - eye_m)
    right = np.cross(forward, np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = right, np.cross(forward, right), forward
    matrix[:3, 3] = eye_m
    return Pose.from_matrix(matrix)


def plane_homography(intrinsics: Intrinsics, desk_from_camera: Pose) -> Array:
    """Return the (3, 3) map from desk points (x, y, 1) [m] to pixels."""
    camera_from_desk = desk_from_camera.inverse().as_matrix()
    return intrinsics.matrix() @ camera_from_desk[:3, [0, 1, 3]]


def write_block_mesh(folder: Path) -> Path:
    """Write the block as OBJ, MTL and PNG atlas (one tile per face) into `folder`; return the OBJ's path."""
    folder.mkdir(parents=True, exist_ok=True)
    tiles = [face_image(m, px_per_mm=8, paper_rgb=_PAPER_RGB) for m in BLOCK.markers]
    side = tiles[0].shape[0]
    tiles.append(np.full((side, side, 3), _PAPER_RGB, dtype=np.uint8))
    atlas = np.concatenate([np.concatenate(tiles[:3], axis=1), np.concatenate(tiles[3:], axis=1)], axis=0)
    cv2.imwrite(str(folder / "block.png"), cv2.cvtColor(atlas, cv2.COLOR_RGB2BGR))
    (folder / "block.mtl").write_text("newmtl skin\nKa 1 1 1\nKd 1 1 1\nmap_Kd block.png\n", encoding="utf-8")
    (folder / "block.obj").write_text(_block_obj(), encoding="utf-8")
    return folder / "block.obj"


def write_marker_mesh(folder: Path) -> Path:
    """Write the gripper's printed face, a square in its marker's frame, as OBJ, MTL and PNG; return the OBJ's path."""
    folder.mkdir(parents=True, exist_ok=True)
    marker, whole = GRIPPER.markers[0], round(1000 * GRIPPER.size_m[0] * 8)
    side = round(1000 * marker.size_m * 8)
    picture, inset = np.full((whole, whole), 245, dtype=np.uint8), (whole - side) // 2
    picture[inset : inset + side, inset : inset + side] = np.minimum(marker_image(marker.id, side), 245)
    cv2.imwrite(str(folder / "gripper.png"), cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    (folder / "gripper.mtl").write_text("newmtl face\nKa 1 1 1\nKd 1 1 1\nmap_Kd gripper.png\n", encoding="utf-8")
    h = GRIPPER.size_m[0] / 2
    corners = [f"v {x:.6f} {y:.6f} 0" for x, y in ((-h, h), (h, h), (h, -h), (-h, -h))]
    places = [f"vt {u} {v}" for u, v in ((0, 1), (1, 1), (1, 0), (0, 0))]
    faces = ["vn 0 0 1", "f 1/1/1 4/4/1 3/3/1", "f 1/1/1 3/3/1 2/2/1"]
    lines = ["mtllib gripper.mtl", "usemtl face", *corners, *places, *faces]
    (folder / "gripper.obj").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "gripper.obj"


def _block_obj() -> str:
    poses = [m.target_from_marker for m in BLOCK.markers]
    poses.append(Pose.from_rpy([0.0, 0.0, -BLOCK_SIZE_M / 2], [math.pi, 0.0, 0.0]))
    h = BLOCK_SIZE_M / 2
    square = np.array([[-h, h, 0.0], [h, h, 0.0], [h, -h, 0.0], [-h, -h, 0.0]])  # clockwise from the top left
    lines = ["mtllib block.mtl", "usemtl skin"]
    faces: list[str] = []
    for k, pose in enumerate(poses):
        column, row = k % 3, k // 3
        for corner, (du, dv) in zip(pose.apply(square), ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True):
            lines.append("v {:.6f} {:.6f} {:.6f}".format(*corner))
            lines.append(f"vt {(column + du) / 3:.6f} {1 - (row + dv) / 2:.6f}")
        lines.append("vn {:.6f} {:.6f} {:.6f}".format(*pose.rotation[:, 2]))
        a, b, c, d = (f"{4 * k + i}/{4 * k + i}/{k + 1}" for i in (1, 2, 3, 4))
        faces += [f"f {a} {d} {c}", f"f {a} {c} {b}"]  # counter-clockwise seen from outside
    return "\n".join(lines + faces) + "\n"


def desk_picture(rig: Rig, intrinsics: Intrinsics, desk_from_camera: Pose, rng: np.random.Generator) -> Image:
    """Return the empty desk with its board as the camera sees it, sampled at the pixel centres of `intrinsics`."""
    return DeskTop(rig, rng).picture(intrinsics, desk_from_camera)


class DeskTop:
    """The empty desk with its board, ready to be seen from anywhere."""

    def __init__(self, rig: Rig, rng: np.random.Generator, board_px_per_mm: int = _BOARD_PX_PER_MM) -> None:
        """`board_px_per_mm`: as fine as the nearest camera needs, and not much finer, or its lines flicker."""
        self._wood, self._sheet = _wood(rng), board_image(board_px_per_mm)
        self._px_per_m = 1000 * board_px_per_mm
        self._board_m = desk_from_board(rig).position_m[:2]

    def picture(self, intrinsics: Intrinsics, desk_from_camera: Pose) -> Image:
        """Return it as a camera sees it (H, W, 3), sampled at the pixel centres of `intrinsics`."""
        size = (intrinsics.width_px, intrinsics.height_px)
        desk_to_px = plane_homography(intrinsics, desk_from_camera)
        half_m = _DESK_SIDE_M / 2
        texture_to_desk = np.array(
            [[1 / _DESK_PX_PER_M, 0.0, -half_m], [0.0, -1 / _DESK_PX_PER_M, half_m], [0.0, 0.0, 1.0]]
        )
        picture = cv2.warpPerspective(
            self._wood, desk_to_px @ texture_to_desk, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        scale, (x, y) = self._px_per_m, self._board_m
        height, width = self._sheet.shape[:2]
        half = (width - 1) / 2 / scale, (height - 1) / 2 / scale
        sheet_to_desk = np.array([[1 / scale, 0.0, x - half[0]], [0.0, -1 / scale, y + half[1]], [0.0, 0.0, 1.0]])
        sheet_to_px = desk_to_px @ sheet_to_desk
        cover = np.full((height, width), 255, dtype=np.uint8)
        mask = cv2.warpPerspective(cover, sheet_to_px, size, flags=cv2.INTER_LINEAR)
        shade = cv2.GaussianBlur(mask, (0, 0), size[0] / 160)
        lit = picture * (1 - 0.28 * shade[:, :, None] / 255.0)
        paper = cv2.warpPerspective(self._sheet, sheet_to_px, size, flags=cv2.INTER_LINEAR) * _PAPER_SHINE
        alpha = mask[:, :, None] / 255.0
        return np.asarray(np.clip(lit * (1 - alpha) + paper * alpha, 0, 255), dtype=np.uint8)


def _wood(rng: np.random.Generator) -> Image:
    """Return a light desk top with a quiet grain that runs along x."""
    side = round(_DESK_SIDE_M * _DESK_PX_PER_M)
    fine = cv2.resize(rng.normal(0.0, 1.0, (side, side // 80)), (side, side), interpolation=cv2.INTER_CUBIC)
    broad = cv2.resize(rng.normal(0.0, 1.0, (40, 5)), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(fine, (0, 0), 0.7) * 5.0 + broad * 3.0
    y = np.linspace(1.0, -1.0, side)[:, None]
    fall = 1.0 - 0.20 * np.clip(-y - 0.02, 0.0, 1.0)  # the back of the room is darker
    return np.asarray(np.clip((_DESK_RGB + grain[:, :, None]) * fall[:, :, None], 0, 255), dtype=np.uint8)
