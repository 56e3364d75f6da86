"""How far a lab may differ from the training world: the levels `0`, `mild` and `hard` as ranges to draw from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from urdf.errors import UnknownName

Between = tuple[float, float]
_NOTHING: Between = (0.0, 0.0)


def _deg(low: float, high: float) -> Between:
    return math.radians(low), math.radians(high)


@dataclass(frozen=True, slots=True)
class GapLevel:
    """The ranges of one level. A single number is the furthest that something is off, either way."""

    name: str
    summary: str
    zero_rad: float = 0.0
    scale: float = 0.0
    backlash_rad: Between = _NOTHING
    dead_time_s: Between = (0.080, 0.080)
    camera_m: float = 0.0
    camera_rad: float = 0.0
    focal: float = 0.0
    center_px: float = 0.0
    k1: Between = _NOTHING
    k2: Between = _NOTHING
    tangential: float = 0.0
    noise_rgb: Between = (2.0, 2.0)
    blur_px: Between = _NOTHING
    light_gain: Between = (1.0, 1.0)
    light_tint: float = 0.0
    light_fall: float = 0.0
    wrist_m: float = 0.0
    wrist_rad: float = 0.0
    depth_scale: float = 0.0
    #: noise_per_m, quantum_m, edge_hole, flying, min_m of `sensors.DepthNoise`, which takes long to import.
    depth_noise: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    marker_m: float = 0.0
    marker_rad: float = 0.0
    mass_kg: Between = (0.030, 0.030)
    friction: Between = (0.8, 0.8)
    sag_rad_per_nm: Between = _NOTHING
    stick_rad: Between = _NOTHING


#: What nobody has hidden anything in: the marks of the camera's sensor stay.
NONE = GapLevel("0", "no hidden error")
MILD = GapLevel(
    "mild",
    "a good kit, put together with care",
    zero_rad=math.radians(1.0),
    dead_time_s=(0.060, 0.120),
    camera_m=0.005,
    camera_rad=math.radians(2.0),
    wrist_m=0.001,
    wrist_rad=math.radians(0.5),
    depth_noise=(0.003, 0.0005, 0.1, 0.02, 0.03),
    mass_kg=(0.020, 0.050),
    friction=(0.6, 1.0),
)
#: Servos: Ref: Practitioner108/dofbot_sci_ws (0.0768 to 0.0844 deg a count), nahyud546/dofbot-se (zeros of several
#: degrees), DS-SY15A sheet (backlash up to 1 deg). Sag and sticking are our estimate of plastic horns: half a degree
#: at full stretch, and 3 to 8 mm of play at the tip all told. Lens: a webcam of 70 degrees bends by k1 of -0.2.
HARD = GapLevel(
    "hard",
    "a kit out of the box, a webcam on a gooseneck",
    zero_rad=math.radians(4.0),
    scale=0.05,
    backlash_rad=_deg(0.5, 1.0),
    dead_time_s=(0.060, 0.150),
    camera_m=0.015,
    camera_rad=math.radians(5.0),
    focal=0.04,
    center_px=8.0,
    k1=(-0.20, 0.05),
    k2=(-0.02, 0.06),
    tangential=0.0015,
    noise_rgb=(2.0, 5.0),
    blur_px=(0.3, 0.8),
    light_gain=(0.70, 1.05),
    light_tint=0.08,
    light_fall=0.25,
    marker_m=0.002,
    marker_rad=math.radians(0.6),
    wrist_m=0.003,
    wrist_rad=math.radians(2.0),
    depth_scale=0.01,
    depth_noise=(0.008, 0.0005, 0.3, 0.05, 0.05),
    mass_kg=(0.015, 0.070),
    friction=(0.5, 1.0),
    sag_rad_per_nm=(0.005, 0.020),
    stick_rad=_deg(0.05, 0.20),
)
LEVELS = {level.name: level for level in (NONE, MILD, HARD)}


def gap_level(name: str) -> GapLevel:
    """Return the level of that name; raises UnknownName."""
    if name not in LEVELS:
        raise UnknownName("gap level", name, LEVELS)
    return LEVELS[name]
