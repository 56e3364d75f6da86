"""What cameras do to a picture: noise, quantisation and holes in depth; levels, noise, blur and JPEG in colour.

Pure functions of (picture, noise, generator). Noise that is all zero returns the very array that came in and draws no
number, so a world without noise is bit for bit the world that never heard of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from sim.depth_kernel import spoil
from sim.errors import SimError

DepthImage = NDArray[np.float32]
RgbImage = NDArray[np.uint8]

#: A step of more than this share of the depth between neighbours is an edge. At 64 pixels over 65 degrees a plane makes
#: one only where it is seen from more than 65 degrees off its normal, and there a stereo camera loses it as well.
EDGE_SHARE = 0.05
#: What is not there. RealSense devices and the datasets made with them write 0 as well.
HOLE_M = 0.0

#: A finer read-out than this is none, at the resolution of float32.
_FINEST_M = 1e-6
_SEEDS = np.iinfo(np.uint64).max
_NORMAL_BITS = 16


@dataclass(frozen=True, slots=True)
class DepthNoise:
    """What a stereo depth camera does to metres; all zeros: nothing.

    noise_per_m: standard deviation over depth squared, so 0.004 is 4 mm at 1 m. quantum_m: the step of the read-out.
    edge_hole and flying: chances that a pixel at an edge is a hole, or else lies between near and far.
    min_m: nearer than this is a hole.
    """

    noise_per_m: float = 0.0
    quantum_m: float = 0.0
    edge_hole: float = 0.0
    flying: float = 0.0
    min_m: float = 0.0

    def __post_init__(self) -> None:
        for name in ("noise_per_m", "quantum_m", "min_m"):
            _check(f"DepthNoise.{name}", getattr(self, name), 0.0, math.inf)
        for name in ("edge_hole", "flying"):
            _check(f"DepthNoise.{name}", getattr(self, name), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class ColorNoise:
    """What a colour camera does to brightness; the defaults: nothing.

    brightness: added, as a share of full scale. contrast: factor about mid-grey. gain: factor per channel (white
    balance). noise_levels: standard deviation, of 255 levels. blur_px, blur_angle_rad: length and direction of a smear.
    jpeg_loss: 100 minus the quality of a compression; 0 is no compression at all.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise_levels: float = 0.0
    blur_px: float = 0.0
    blur_angle_rad: float = 0.0
    jpeg_loss: int = 0

    def __post_init__(self) -> None:
        _check("ColorNoise.brightness", self.brightness, -1.0, 1.0)
        _check("ColorNoise.contrast", self.contrast, 0.0, math.inf)
        for gain in self.gain:
            _check("ColorNoise.gain", gain, 0.0, math.inf)
        _check("ColorNoise.noise_levels", self.noise_levels, 0.0, math.inf)
        _check("ColorNoise.blur_px", self.blur_px, 0.0, 64.0)
        _check("ColorNoise.blur_angle_rad", self.blur_angle_rad, -math.inf, math.inf)
        _check("ColorNoise.jpeg_loss", self.jpeg_loss, 0, 99)

    @property
    def changes_levels(self) -> bool:
        """Whether brightness, contrast or gain differ from what leaves a picture alone."""
        return self.brightness != 0.0 or self.contrast != 1.0 or self.gain != (1.0, 1.0, 1.0)


def _check(name: str, value: float, lowest: float, highest: float) -> None:
    if not (lowest <= value <= highest) or math.isnan(value):
        raise SimError(f"{name} must be {lowest:g} to {highest:g}, got {value}")


def corrupt_depth(depth_m: DepthImage, noise: DepthNoise, rng: np.random.Generator) -> DepthImage:
    """Return what a depth camera reports (H, W) float32 of the true depth (H, W) float32 in metres; holes are 0.

    Noise grows with distance squared because disparity is what the camera measures (depth = f b / disparity). Holes and
    flying pixels lie where near and far meet, since one of the two eyes sees only one of them there. One number of the
    generator per picture, whatever is in it.
    Returns the array itself when the noise is all zero; never writes into it. Raises SimError on another shape or type.
    """
    if depth_m.ndim != 2 or depth_m.dtype != np.float32:
        raise SimError(f"depth_m must be (H, W) float32, got {depth_m.shape} {depth_m.dtype}")
    if noise == _NO_DEPTH_NOISE:
        return depth_m
    seen = np.empty_like(depth_m)
    spoil(
        np.ascontiguousarray(depth_m),
        seen,
        _normal_table(),
        np.uint64(rng.integers(_SEEDS, dtype=np.uint64, endpoint=True)),
        np.float32(EDGE_SHARE),
        np.float32(noise.noise_per_m),
        np.float32(noise.quantum_m if noise.quantum_m > _FINEST_M else 0.0),
        np.float32(noise.edge_hole),
        np.float32(noise.flying),
        np.float32(noise.min_m),
    )
    return seen


_NO_DEPTH_NOISE = DepthNoise()


def corrupt_rgb(rgb: RgbImage, noise: ColorNoise, rng: np.random.Generator) -> RgbImage:
    """Return what a colour camera delivers (H, W, 3) uint8 of a clean picture (H, W, 3) uint8.

    In the order of a camera: motion smears the light, electronics set levels and add noise, JPEG comes last.
    Returns the array itself when the noise is all zero; never writes into it. Raises SimError on another shape or type.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise SimError(f"rgb must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    seen = rgb
    if noise.blur_px:
        kernel = blur_kernel(noise.blur_px, noise.blur_angle_rad)
        seen = _image(cv2.filter2D(seen, -1, kernel, borderType=cv2.BORDER_REPLICATE))
    if noise.changes_levels:
        seen = _image(cv2.LUT(seen, _levels(noise.brightness, noise.contrast, noise.gain)))
    if noise.noise_levels:
        noisy = seen + np.float32(noise.noise_levels) * _normals(seen.shape, rng)
        seen = np.rint(noisy, out=noisy).clip(0, 255, out=noisy).astype(np.uint8)
    if noise.jpeg_loss:
        seen = _through_jpeg(seen, 100 - noise.jpeg_loss)
    return seen


@lru_cache(maxsize=256)
def blur_kernel(length_px: float, angle_rad: float) -> NDArray[np.float32]:
    """Return the kernel (k, k), k odd, of a straight smear of `length_px` centred on the pixel; it sums to one."""
    reach = math.ceil(length_px / 2)
    size = 2 * reach + 1
    along = np.linspace(-length_px / 2, length_px / 2, 16 * size + 1)
    x, y = reach + along * math.cos(angle_rad), reach + along * math.sin(angle_rad)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, bottom_share = x - left, y - top
    kernel = np.zeros((size + 1, size + 1))
    for dx, wx in ((0, 1 - right_share), (1, right_share)):
        for dy, wy in ((0, 1 - bottom_share), (1, bottom_share)):
            np.add.at(kernel, (np.clip(top + dy, 0, size), np.clip(left + dx, 0, size)), wx * wy)
    kernel = kernel[:size, :size]
    result = (kernel / kernel.sum()).astype(np.float32)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=256)
def _levels(brightness: float, contrast: float, gain: tuple[float, float, float]) -> RgbImage:
    """Return the table (1, 256, 3) of what becomes of every level of every channel."""
    levels = np.arange(256)[None, :, None] / 255 * np.array(gain)
    return np.rint(255 * ((levels - 0.5) * contrast + 0.5 + brightness)).clip(0, 255).astype(np.uint8)


def _through_jpeg(rgb: RgbImage, quality: int) -> RgbImage:
    # OpenCV takes channels as blue, green, red; the order matters, for JPEG keeps green best.
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise SimError(f"OpenCV cannot read back a picture of {rgb.shape} compressed at quality {quality}")
    return _image(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _image(array: cv2.typing.MatLike) -> RgbImage:
    return np.asarray(array, dtype=np.uint8)


def _normals(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return normal numbers of 16 bits: three times faster than `standard_normal`, and depth ends as float16."""
    return _normal_table().take(rng.integers(0, 1 << _NORMAL_BITS, shape, dtype=np.uint16))


@cache
def _normal_table() -> NDArray[np.float32]:
    """Return the quantiles of the normal distribution at the middles of 65,536 equal shares; they end at 4.3 sigma."""
    count = 1 << _NORMAL_BITS
    inverse = NormalDist().inv_cdf
    return np.array([inverse((k + 0.5) / count) for k in range(count)], dtype=np.float32)
