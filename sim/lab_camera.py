"""The lab's eye: a picture of the lab from mirrored body poses, in its own PyBullet client and its own process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pybullet
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from sim.lab_lens import LabLens
from sim.lab_scene import desk_picture, look_at, plane_homography, write_block_mesh, write_marker_mesh
from sim.lab_truth import CameraTruth
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

Image = NDArray[np.uint8]

_NEAR_M, _FAR_M = 0.02, 3.0
_BLOCK_FINER, _FACE_FINER = 3, 2  # the block is drawn finer and averaged: TinyRenderer draws jagged edges
_BLOCK_REACH_M = 0.030  # half the block's diagonal, and a little
_FACE_REACH_M = 0.034  # the same of the gripper's printed face
_BACKDROP_OVERSAMPLE = 3
_SHADOW_PX = 256
_NOTHING = 0.9999  # TinyRenderer leaves 0.99999994 in its depth buffer where it drew nothing
_LAMP_M = np.array([0.55, 0.75, 1.15])
_SHADE = 0.42


@dataclasses.dataclass(frozen=True, slots=True)
class _Window:
    """A rectangle of the picture, in whole pixels."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclasses.dataclass(frozen=True, slots=True)
class HeldBoard:
    """A printed sheet (H, W, 3) held before the camera; its frame has its origin at the picture's top left.

    x runs to the right along the print, y down, z into the paper: a picture's own axes, in metres.
    """

    print_rgb: Image
    px_per_m: float
    camera_from_sheet: Pose

    def draw_over(self, picture: Image, camera: Intrinsics) -> None:
        """Draw the sheet over everything in the picture of a pinhole camera, with smooth edges."""
        fine = zoomed(camera, 2)
        matrix = self.camera_from_sheet.as_matrix()
        to_metres = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, self.px_per_m]]) / self.px_per_m
        to_px = fine.matrix() @ matrix[:3, [0, 1, 3]] @ to_metres
        size = (fine.width_px, fine.height_px)
        sheet = cv2.warpPerspective(self.print_rgb, to_px, size, flags=cv2.INTER_AREA)
        cover = np.full(self.print_rgb.shape[:2], 255, dtype=np.uint8)
        mask = cv2.warpPerspective(cover, to_px, size, flags=cv2.INTER_LINEAR)
        small = (camera.width_px, camera.height_px)
        alpha = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)[:, :, None] / 255.0
        # Paper that faces the lamp is bright; one turned away from the camera less so.
        shine = 0.80 + 0.18 * abs(float(self.camera_from_sheet.rotation[2, 2]))
        ink = cv2.resize(sheet, small, interpolation=cv2.INTER_AREA) * shine
        picture[:] = np.clip(ink + picture * (1.0 - alpha), 0, 255).astype(np.uint8)


class LabRenderer:
    """Draws the arm and the block with TinyRenderer over a desk that is drawn once.

    Nothing is ever below the desk, so the desk can be a backdrop: that leaves TinyRenderer, which pays by the pixel,
    the few pixels that move, and time to draw those around the block three times finer. A small picture from the
    lamp gives the shadow on the desk.
    """

    def __init__(
        self,
        description: ArmDescription,
        rig: Rig,
        intrinsics: Intrinsics,
        desk_from_camera: Pose,
        cache: Path,
        rng: np.random.Generator,
        truth: CameraTruth | None = None,
        tool_from_marker: Pose | None = None,
    ) -> None:
        """`intrinsics` are what the camera says of itself, `truth` what is wrong with that.

        `tool_from_marker` is how the gripper's printed face was stuck on; None: there is none.
        """
        self.lens = LabLens(intrinsics, truth or CameraTruth())
        intrinsics = self.lens.pinhole
        self._client = pybullet.connect(pybullet.DIRECT)
        base = rig.desk_from_base
        self._arm = pybullet.loadURDF(
            str(description.urdf_path),
            basePosition=base.position_m.tolist(),
            baseOrientation=base.quat_xyzw.tolist(),
            useFixedBase=True,
            physicsClientId=self._client,
        )
        self._joints = _joint_indices(self._arm, self._client)
        self._block = _load_textured(write_block_mesh(cache), self._client)
        self._face: int | None = None
        if tool_from_marker is not None:
            self._face = _load_textured(write_marker_mesh(cache), self._client)
            self._link_from_face = description.link_from_tool @ tool_from_marker
            self._tool_link = _link_index(self._arm, description.tool_link, self._client)
        self._held: HeldBoard | None = None
        self._camera = intrinsics
        self._camera_from_desk = desk_from_camera.inverse()
        self._view = _view_matrix(desk_from_camera)
        finest = desk_picture(rig, zoomed(intrinsics, _BACKDROP_OVERSAMPLE), desk_from_camera, rng)
        self._size = (intrinsics.width_px, intrinsics.height_px)
        self._backdrop = cv2.resize(finest, self._size, interpolation=cv2.INTER_AREA)
        lamp = look_at(_LAMP_M, np.array([*rig.area_center_m, 0.0]))
        self._lamp = Intrinsics(_SHADOW_PX, _SHADOW_PX, 400.0, 400.0, (_SHADOW_PX - 1) / 2, (_SHADOW_PX - 1) / 2)
        self._lamp_view = _view_matrix(lamp)
        picture_from_desk = plane_homography(intrinsics, desk_from_camera)
        self._picture_from_lamp = picture_from_desk @ np.linalg.inv(plane_homography(self._lamp, lamp))

    def draw(self, joint_angles_rad: Mapping[str, float], desk_from_block: Pose) -> Image:
        """Return the picture (H, W, 3) of the arm at `joint_angles_rad` (by URDF joint) and the block."""
        for name, angle in joint_angles_rad.items():
            pybullet.resetJointState(self._arm, self._joints[name], angle, physicsClientId=self._client)
        self._put(self._block, desk_from_block)
        refined = [(desk_from_block, _BLOCK_REACH_M, _BLOCK_FINER)]
        if self._face is not None:
            link = pybullet.getLinkState(
                self._arm, self._tool_link, computeForwardKinematics=True, physicsClientId=self._client
            )
            desk_from_face = Pose(np.array(link[4]), np.array(link[5])) @ self._link_from_face
            self._put(self._face, desk_from_face)
            refined.append((desk_from_face, _FACE_REACH_M, _FACE_FINER))
        desk: Image = np.asarray(cv2.multiply(self._backdrop, self._daylight(), scale=1 / 255), dtype=np.uint8)
        picture = desk.copy()
        rgb, solid = self._render(self._camera, self._view)
        cv2.copyTo(rgb, solid, picture)
        for pose, reach_m, finer in refined:
            window = self._around(pose, reach_m)
            if window is not None:
                self._refine(picture, desk, window, finer)
        if self._held is not None:
            self._held.draw_over(picture, self._camera)
        return self.lens.expose(picture)

    def hold_up(self, board: HeldBoard | None) -> None:
        """Have a person hold a printed board in front of the camera from now on; None: no more."""
        self._held = board

    def _put(self, body: int, desk_from_body: Pose) -> None:
        pybullet.resetBasePositionAndOrientation(
            body, desk_from_body.position_m.tolist(), desk_from_body.quat_xyzw.tolist(), self._client
        )

    def _around(self, desk_from_body: Pose, reach_m: float) -> _Window | None:
        """Return the part of the picture that a small body can touch, None where it is out of sight."""
        x, y, z = self._camera_from_desk.apply(desk_from_body.position_m)
        if z < 2 * reach_m:
            return None
        c = self._camera
        u, v, reach = c.fx_px * x / z + c.cx_px, c.fy_px * y / z + c.cy_px, c.fx_px * reach_m / z
        left, right = max(0, math.floor(u - reach)), min(c.width_px, math.ceil(u + reach))
        top, bottom = max(0, math.floor(v - reach)), min(c.height_px, math.ceil(v + reach))
        return _Window(left, top, right - left, bottom - top) if right > left and bottom > top else None

    def _refine(self, picture: Image, desk: Image, window: _Window, finer: int) -> None:
        """Draw a part of the picture again, finer, with smooth edges against the desk."""
        camera = zoomed(cropped(self._camera, window), finer)
        rgb, solid = self._render(camera, self._view)
        size = (window.width_px, window.height_px)
        cover = cv2.resize(solid.astype(np.float32) / 255, size, interpolation=cv2.INTER_AREA)[:, :, None]
        colour = cv2.resize(cv2.copyTo(rgb, solid).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        rows = slice(window.top_px, window.top_px + window.height_px)
        columns = slice(window.left_px, window.left_px + window.width_px)
        picture[rows, columns] = (colour + desk[rows, columns] * (1 - cover)).astype(np.uint8)

    def _daylight(self) -> Image:
        """Return how much light each pixel of the desk gets (H, W, 3): less where arm or block shade it."""
        _, solid = self._render(self._lamp, self._lamp_view)
        soft = cv2.GaussianBlur(solid, (0, 0), 1.6)
        dark = cv2.warpPerspective(soft, self._picture_from_lamp, self._size, flags=cv2.INTER_LINEAR)
        light = cv2.convertScaleAbs(dark, alpha=-_SHADE, beta=255)
        return np.asarray(cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), dtype=np.uint8)

    def _render(self, camera: Intrinsics, view: list[float]) -> tuple[Image, Image]:
        """Return (rgb, mask of what is solid) as TinyRenderer draws it."""
        width, height, rgba, depth, _ = pybullet.getCameraImage(
            camera.width_px,
            camera.height_px,
            viewMatrix=view,
            projectionMatrix=_projection_matrix(camera),
            lightDirection=_LAMP_M.tolist(),
            lightColor=[1.0, 0.98, 0.94],
            lightAmbientCoeff=0.62,
            lightDiffuseCoeff=0.42,
            lightSpecularCoeff=0.10,
            shadow=0,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        rgb = np.asarray(rgba, dtype=np.uint8).reshape(height, width, 4)[:, :, :3]
        solid = np.asarray(depth, dtype=np.float32).reshape(height, width) < _NOTHING
        return np.ascontiguousarray(rgb), solid.astype(np.uint8) * 255

    def close(self) -> None:
        """Give the PyBullet client back."""
        if self._client >= 0:
            pybullet.disconnect(self._client)
            self._client = -1


def _load_textured(mesh: Path, client: int) -> int:
    visual = pybullet.createVisualShape(pybullet.GEOM_MESH, fileName=str(mesh), physicsClientId=client)
    body = pybullet.createMultiBody(baseVisualShapeIndex=visual, physicsClientId=client)
    texture = pybullet.loadTexture(str(mesh.with_suffix(".png")), physicsClientId=client)
    pybullet.changeVisualShape(body, -1, rgbaColor=[1, 1, 1, 1], textureUniqueId=texture, physicsClientId=client)
    return body


def cropped(camera: Intrinsics, window: _Window) -> Intrinsics:
    """Return the camera that sees one window of the picture."""
    return dataclasses.replace(
        camera,
        width_px=window.width_px,
        height_px=window.height_px,
        cx_px=camera.cx_px - window.left_px,
        cy_px=camera.cy_px - window.top_px,
    )


def zoomed(intrinsics: Intrinsics, factor: int) -> Intrinsics:
    """Return the camera with `factor` times the pixels; pixel centres have whole coordinates in both."""
    return dataclasses.replace(
        intrinsics,
        width_px=intrinsics.width_px * factor,
        height_px=intrinsics.height_px * factor,
        fx_px=intrinsics.fx_px * factor,
        fy_px=intrinsics.fy_px * factor,
        cx_px=(intrinsics.cx_px + 0.5) * factor - 0.5,
        cy_px=(intrinsics.cy_px + 0.5) * factor - 0.5,
    )


def _view_matrix(desk_from_camera: Pose) -> list[float]:
    """Return OpenGL's view matrix, column by column, of a camera in OpenCV's axes."""
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    return (flip @ desk_from_camera.inverse().as_matrix()).T.ravel().tolist()


def _projection_matrix(camera: Intrinsics) -> list[float]:
    """Return OpenGL's projection, column by column, of a pinhole camera."""
    w, h, n, f = camera.width_px, camera.height_px, _NEAR_M, _FAR_M
    matrix: Array = np.zeros((4, 4))
    matrix[0, 0], matrix[1, 1] = 2 * camera.fx_px / w, 2 * camera.fy_px / h
    matrix[0, 2] = 1 - 2 * camera.cx_px / w  # TinyRenderer samples column k at k and row k from below at k,
    matrix[1, 2] = 2 * (camera.cy_px + 1.0) / h - 1  # not at k + 1/2 as OpenGL does
    matrix[2, 2], matrix[2, 3], matrix[3, 2] = -(f + n) / (f - n), -2 * f * n / (f - n), -1.0
    return matrix.T.ravel().tolist()


def _joint_indices(body: int, client: int) -> dict[str, int]:
    count = pybullet.getNumJoints(body, physicsClientId=client)
    return {pybullet.getJointInfo(body, k, physicsClientId=client)[1].decode(): k for k in range(count)}


def _link_index(body: int, link: str, client: int) -> int:
    count = pybullet.getNumJoints(body, physicsClientId=client)
    names = {pybullet.getJointInfo(body, k, physicsClientId=client)[12].decode(): k for k in range(count)}
    return names[link]
