"""Scene eye: a handsome picture of any environment's world from in front of the arm, with the goal drawn into it."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from bridge.pick_place import PickPlaceAttempt
from bridge.reach import ReachAttempt
from scripts.programs.footage import Image
from sim.env import ArmEnv
from sim.scene_view import FOV_Y_RAD, scene_view
from sim.tasks import pick_place, reach
from sim.world import ArmWorld, render
from urdf.pose import Array, Pose

#: TinyRenderer draws jagged edges: the picture is drawn this much finer, then averaged.
_OVERSAMPLE = 1.5
_NEAR_M, _FAR_M = 0.05, 8.0
_SKY_RGB = np.array([236, 241, 246], dtype=np.uint8)
_GOAL_RGB = np.array([29.0, 95.0, 168.0])
_GOAL_REACHED_RGB = np.array([47.0, 133.0, 90.0])
_LINE_PX = 4
_HIDDEN_SHARE, _SEEN_SHARE = 0.25, 0.95
#: A line that lies on a surface is not hidden by it.
_DEPTH_SLACK_M = 0.004
_CIRCLE = np.linspace(0.0, 2.0 * math.pi, 65)


class SceneEye:
    """Takes pictures (H, W, 3) uint8 of one environment."""

    def __init__(self, env: ArmEnv, size_px: tuple[int, int]) -> None:
        self._env, self._size_px = env, size_px
        self._camera = scene_view(env.rig)

    def picture(self, solved: bool = False) -> Image:
        """Return the world as it is now; a goal that was met (`solved`) is green."""
        rgb, depth_m = _drawn(self._env.world, self._camera, self._size_px)
        for line_m in goal_lines(self._env):
            self._draw(rgb, depth_m, line_m, _GOAL_REACHED_RGB if solved else _GOAL_RGB)
        return _averaged(rgb, self._size_px)

    def _draw(self, rgb: Image, depth_m: Array, line_m: Array, color: Array) -> None:
        """Blend a line into the picture: boldly where it is seen, faintly where something is in front of it."""
        height, width = depth_m.shape
        steps = max(2, 200 // len(line_m))
        fine = np.concatenate([np.linspace(a, b, steps) for a, b in pairwise(line_m)])
        points = self._camera.inverse().apply(fine)
        pixels = height / 2 / math.tan(FOV_Y_RAD / 2) * points[:, :2] / points[:, 2:] + [width / 2, height / 2]
        inside = ((pixels >= 0) & (pixels < [width, height])).all(axis=1) & (points[:, 2] > _NEAR_M)
        columns, rows = pixels[inside].astype(np.int64).T
        seen = points[inside, 2] <= depth_m[rows, columns] + _DEPTH_SLACK_M
        for visible, share in ((False, _HIDDEN_SHARE), (True, _SEEN_SHARE)):
            mask = np.zeros((height, width), dtype=np.uint8)
            mask[rows[seen == visible], columns[seen == visible]] = 1
            mask = cv2.dilate(mask, np.ones((_LINE_PX, _LINE_PX), dtype=np.uint8))
            where = mask.astype(bool)
            rgb[where] = ((1.0 - share) * rgb[where] + share * color).astype(np.uint8)


def world_picture(world: ArmWorld, size_px: tuple[int, int]) -> Image:
    """Return a picture (H, W, 3) of any world as it is now, from the same place."""
    return _averaged(_drawn(world, scene_view(world.rig), size_px)[0], size_px)


def _drawn(world: ArmWorld, camera: Pose, size_px: tuple[int, int]) -> tuple[Image, Array]:
    """Return colours, the sky among them, and depth [m], finer than the picture is to be."""
    width, height = (round(side * _OVERSAMPLE) for side in size_px)
    rgb, depth_m, bodies = render(world.client, camera, FOV_Y_RAD, _NEAR_M, _FAR_M, width, height)
    return np.where((bodies < 0)[:, :, None], _SKY_RGB, rgb), depth_m


def _averaged(rgb: Image, size_px: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(rgb, size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def goal_lines(env: ArmEnv) -> list[Array]:
    """Return the lines (n, 3) [m] that show where something is to go: as far around it as counts."""
    attempt = env.attempt
    if not isinstance(attempt, ReachAttempt | PickPlaceAttempt) or attempt.goal_m is None:
        return []
    goal_m = attempt.goal_m
    flat = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE), np.zeros_like(_CIRCLE)], axis=1)
    if isinstance(attempt, PickPlaceAttempt):
        target_m = env.world.objects.target.size_m
        on_desk = np.array([*goal_m[:2], 0.001])
        cross = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
        arms = on_desk + cross * pick_place.TOLERANCE_M
        return [on_desk + flat * (target_m / 2 + pick_place.TOLERANCE_M), arms[:2], arms[2:]]
    upright = flat[:, [0, 2, 1]]
    radius_m = reach.TOLERANCE_M
    foot = np.array([*goal_m[:2], 0.001])
    drop = np.array([foot, goal_m - [0.0, 0.0, radius_m]])
    sphere = [goal_m + turn * radius_m for turn in (flat, upright, upright[:, [1, 0, 2]])]
    return [*sphere, drop, foot + flat * radius_m]
