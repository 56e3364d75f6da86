"""Where an arm's links stand beside its twin, by a camera: what no reading of a servo tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from calibration.servo_vision import ServoVisionFit
from urdf.description import ArmDescription
from urdf.pose import Array


class LinkMirror(msgspec.Struct, frozen=True):
    """One joint's link, by the camera: it stands at `scale` times what its servo reads, and `zero_rad`.

    `offset_rad` is how far it stood from the twin's where the motion ended. `*_error` are standard deviations.
    """

    offset_rad: float
    offset_error_rad: float
    zero_rad: float
    zero_error_rad: float
    scale: float
    scale_error: float


class CameraMirror(msgspec.Struct, frozen=True):
    """What a camera had to say. `trouble`: why it told nothing. `open`: zeros and scales that it does not determine.

    `corners_px` is how well the pictures fit, `tool_mm` how far the tool stood from the twin's where the motion ended.
    """

    camera: str
    trouble: str = ""
    samples: int = 0
    corners_px: float = 0.0
    open: tuple[str, ...] = ()
    tool_mm: float | None = None


@dataclass(frozen=True, slots=True)
class CameraLook:
    """What a camera found out, or why it did not. `corners_px` is how well the pictures fit."""

    camera: str
    fit: ServoVisionFit | None = None
    corners_px: float = 0.0
    trouble: str = ""


def seen_links(
    fit: ServoVisionFit, twin_rad: Array, offsets_rad: Sequence[float | None], names: Sequence[str]
) -> list[LinkMirror | None]:
    """Return the links of all joints (n) of an arm whose twin stood at `twin_rad` (n,), its readings off by so much.

    None where the camera does not determine the zero, and of the gripper, which it does not see.
    """
    read_off = np.array([offset or 0.0 for offset in offsets_rad])
    count = len(fit.play_rad)
    apart_rad, std_rad = fit.offset_rad((twin_rad + read_off)[:count])
    error_rad = np.hypot(std_rad, fit.unexplained_rad)
    links: list[LinkMirror | None] = [None] * len(names)
    for k, name in enumerate(names[:count]):
        if f"{name} zero" not in fit.held:
            links[k] = LinkMirror(
                float(apart_rad[k] + read_off[k]), float(error_rad[k]), float(fit.errors.zero_rad[k]),
                float(fit.zero_std_rad[k]), float(fit.errors.scale[k]), float(fit.scale_std[k]),
            )  # fmt: skip
    return links


def camera_mirror(
    look: CameraLook, links: Sequence[LinkMirror | None], twin_rad: Array, description: ArmDescription
) -> CameraMirror:
    """Return what the camera had to say, beside the twin that stood at `twin_rad` (n,)."""
    if look.fit is None:
        return CameraMirror(look.camera, look.trouble)
    seen_rad = twin_rad + [link.offset_rad if link is not None else 0.0 for link in links]
    tool, beside = (description.base_from_tool(q).position_m for q in (seen_rad, twin_rad))
    apart_mm = 1e3 * float(np.linalg.norm(tool - beside))
    samples = len(look.fit.residual) - len(look.fit.dropped)
    return CameraMirror(look.camera, "", samples, round(look.corners_px, 3), look.fit.held, round(apart_mm, 3))
