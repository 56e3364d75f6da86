"""View tiles: what a policy's cameras give, made visible: depth as colours with its scale, gray and RGB as they are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.observation import CameraView, ImageKind
from scripts.programs.footage import Image
from urdf.description import ArmDescription
from urdf.errors import ArmError, UnknownName
from urdf.rig import Rig

#: A picture of a camera is shown this wide and high at most, its pixels kept square and whole.
TILE_PX = 192
_HOLE_RGB = (88, 97, 110)
#: The scale of depth ends where this share of the first picture's pixels does, and a little beyond.
_FAR_SHARE, _FAR_ROOM = 0.99, 1.15


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture (h, w, 3) uint8 of at most TILE_PX, and what to write above it."""

    picture: Image
    title: str
    remark: str


def parse_view(text: str, description: ArmDescription, rig: Rig) -> CameraView:
    """Return the view that `camera:kind` or `camera:kind:WIDTHxHEIGHT` means; raises UnknownName or ArmError."""
    camera, _, rest = text.partition(":")
    kind, _, size = rest.partition(":")
    description.camera(camera, rig)
    if not kind:
        kinds = ", ".join(k.value for k in ImageKind)
        raise ArmError(f"--view {text}: say which kind of picture, such as {camera}:depth; valid kinds: {kinds}")
    if kind not in [k.value for k in ImageKind]:
        raise UnknownName(f"kind of picture in --view {text}", kind, [k.value for k in ImageKind])
    width, cross, height = (size or "64x64").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ArmError(f"--view {text}: the size is written WIDTHxHEIGHT in pixels, such as 64x64, got {size!r}")
    try:
        return CameraView(camera, ImageKind(kind), int(width), int(height))
    except BridgeError as error:
        raise ArmError(f"--view {text}: {error}") from error


def default_views(description: ArmDescription) -> tuple[CameraView, ...]:
    """Return the depth of the arm's first camera, and the colours of the desk's where it has one."""
    if not description.cameras:
        return ()
    first, *_ = description.cameras
    color = "desk" if "desk" in description.cameras else first
    return CameraView(first, ImageKind.DEPTH), CameraView(color, ImageKind.RGB)


class ViewPainter:
    """Makes tiles of one view. The scale of depth is that of the first picture, so that colours keep their meaning."""

    def __init__(self, view: CameraView, description: ArmDescription, rig: Rig) -> None:
        self.view = view
        self._mount = description.camera(view.camera, rig)
        self._far_m: float | None = None

    def paint(self, pixels: NDArray[np.uint8] | NDArray[np.float16]) -> Tile:
        """Return the tile of one picture (C, H, W)."""
        remark = f"{self.view.width_px} x {self.view.height_px}"
        if self.view.kind is ImageKind.DEPTH:
            picture = self._depth(pixels[0].astype(np.float64))
            remark += f", {100 * self._mount.near_m:.0f} to {100 * (self._far_m or 0.0):.0f} cm"
        elif self.view.kind is ImageKind.GRAY:
            picture = np.repeat(pixels[0][:, :, None], 3, axis=2).astype(np.uint8)
        else:
            picture = pixels.transpose(1, 2, 0).astype(np.uint8)
        return Tile(_enlarged(picture), f"{self.view.camera} {self.view.kind.value}", remark)

    def _depth(self, depth_m: NDArray[np.float64]) -> Image:
        near_m = self._mount.near_m
        if self._far_m is None:
            seen = depth_m[depth_m > 0.0]
            far_m = float(np.quantile(seen, _FAR_SHARE)) * _FAR_ROOM if seen.size else self._mount.far_m
            self._far_m = min(max(far_m, near_m + 0.01), self._mount.far_m)
        share = np.clip((depth_m - near_m) / (self._far_m - near_m), 0.0, 1.0)
        picture = _scale_rgb()[(255 * share).astype(np.uint8)]
        picture[depth_m <= 0.0] = _HOLE_RGB
        return picture


def _scale_rgb() -> Image:
    """Return the colours of depth (256, 3) uint8, the nearest first: what is near is bright."""
    import matplotlib as mpl

    colors = mpl.colormaps["magma_r"](np.linspace(0.0, 1.0, 256))
    return (255 * np.asarray(colors)[:, :3]).astype(np.uint8)


def _enlarged(picture: Image) -> Image:
    """Return the picture as large as fits a tile: enlarged by whole factors, or reduced."""
    height, width = picture.shape[:2]
    largest = max(height, width)
    factor = TILE_PX // largest if largest <= TILE_PX else TILE_PX / largest
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_NEAREST if factor >= 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)
