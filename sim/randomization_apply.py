"""Puts a draw's looks into a PyBullet world: colours, textures, light; and where down is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pybullet as bullet
from numpy.typing import NDArray

from sim.draws import Draw, SceneDraw
from sim.ranges import Vector3
from sim.sensors import RgbImage
from urdf.pose import Pose

GRAVITY_M_S2 = 9.81
#: Textures stay with a client for ever, so there are only so many: patterns by strengths, 50 kB each when first used.
PATTERNS = 12
STRENGTHS = 5
_TEXTURE_PX = 128
_NO_TEXTURE = -1


@dataclass(frozen=True, slots=True)
class _Nominal:
    """What a body looked like before anything was drawn."""

    body: int
    rgba: tuple[float, float, float, float]


class SceneDresser:
    """Makes one world's desk and objects what a draw says, and nominal again when a draw says so.

    Bodies are single links of one colour, as the nominal world made them when this is constructed. A draw that asks for
    what already is makes no call to PyBullet, so a world that meets only nominal draws was never touched.
    """

    def __init__(self, client: int, desk: int, objects: Sequence[int]) -> None:
        self._client = client
        self._desk = _read(client, desk)
        self._objects = [_read(client, body) for body in objects]
        self._textures: dict[tuple[int, int], int] = {}
        self._scene = SceneDraw()
        self._tilt_rad = (0.0, 0.0)

    def apply(self, draw: Draw) -> None:
        """Change what differs from the draw that was applied last."""
        scene = draw.scene
        if draw.gravity_tilt_rad != self._tilt_rad:
            self._tilt_rad = draw.gravity_tilt_rad
            bullet.setGravity(*tilted_gravity(self._tilt_rad), physicsClientId=self._client)
        if scene != self._scene:
            self._paint(scene)
            self._scene = scene

    def _paint(self, scene: SceneDraw) -> None:
        before = self._scene
        textured = (scene.texture_strength, scene.texture_seed) != (before.texture_strength, before.texture_seed)
        if textured or scene.desk_color != before.desk_color:
            self._paint_body(self._desk, scene.desk_color, self._texture(scene, 0))
        if textured or scene.object_color != before.object_color:
            for index, nominal in enumerate(self._objects):
                self._paint_body(nominal, scene.object_color, self._texture(scene, 1 + index))

    def _paint_body(self, nominal: _Nominal, color: Vector3, texture: int) -> None:
        red, green, blue = np.clip(np.add(nominal.rgba[:3], color), 0.0, 1.0).tolist()
        bullet.changeVisualShape(
            nominal.body,
            -1,
            rgbaColor=[red, green, blue, nominal.rgba[3]],
            textureUniqueId=texture,
            physicsClientId=self._client,
        )

    def _texture(self, scene: SceneDraw, body_number: int) -> int:
        """Return PyBullet's number of a texture. It reads files only, and a file of a name only once."""
        strength = round(scene.texture_strength * STRENGTHS)
        if not strength:
            return _NO_TEXTURE
        key = ((scene.texture_seed + body_number) % PATTERNS, strength)
        if key not in self._textures:
            with tempfile.TemporaryDirectory(prefix="tandem_texture_") as folder:
                path = Path(folder) / "texture.png"
                cv2.imwrite(str(path), texture_picture(key[0], strength / STRENGTHS))
                self._textures[key] = bullet.loadTexture(str(path), physicsClientId=self._client)
        return self._textures[key]


def _read(client: int, body: int) -> _Nominal:
    red, green, blue, alpha = bullet.getVisualShapeData(body, physicsClientId=client)[0][7]
    return _Nominal(body, (red, green, blue, alpha))


def tilted_gravity(tilt_rad: tuple[float, float]) -> Vector3:
    """Return gravity in the desk frame of a rig that is turned by `tilt_rad` about the desk's x and y axes."""
    desk_from_level = Pose.from_rotvec([0.0, 0.0, 0.0], [*tilt_rad, 0.0]).inverse()
    x, y, z = desk_from_level.apply(np.array([0.0, 0.0, -GRAVITY_M_S2])).tolist()
    return x, y, z


def texture_picture(pattern: int, strength: float) -> RgbImage:
    """Return a pattern (128, 128, 3): grain, checks or clouds in two tints between full brightness and 1 - strength."""
    rng = np.random.default_rng(pattern)
    y, x = np.mgrid[0:_TEXTURE_PX, 0:_TEXTURE_PX] / _TEXTURE_PX
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    clouds = _clouds(rng)
    tiles = rng.uniform(10, 24)
    match pattern % 3:
        case 0:
            level = 0.5 + 0.5 * np.sin(2 * np.pi * (tiles * across + 2.5 * clouds))
        case 1:
            level = (np.floor(tiles * along) + np.floor(tiles * across)) % 2
        case _:
            level = clouds
    tint = rng.uniform(0.6, 1.0, 3)
    shade = 1 - strength * (1 - level[:, :, None] * tint)
    return np.rint(255 * shade).clip(0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise (128, 128) from 0 to 1: coarse shapes with finer ones upon them."""
    total = np.zeros((_TEXTURE_PX, _TEXTURE_PX))
    for cells in (8, 16, 32):
        coarse = rng.random((cells, cells))
        total += cv2.resize(coarse, (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_CUBIC) * 8 / cells
    return (total - total.min()) / np.ptp(total)
