"""What a policy may ask to see: one frozen ObservationSpec, the same for the simulated and the physical arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, PolicyMismatch
from urdf.checks import check_whole, member_of
from urdf.errors import UnknownName

MAX_FRAMES = 16
MAX_SIDE_PX = 1024
#: The names of the parts that are no pictures; a view has its own, `CameraView.key`.
STATE, PROPRIOCEPTION, PRIVILEGED = "state", "proprioception", "privileged"

Part: TypeAlias = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8]
#: What a policy is given: one part alone, or several by name.
Observed: TypeAlias = Part | Mapping[str, Part]


class ImageKind(StrEnum):
    """What a pixel means: metres, brightness, or colour."""

    DEPTH = "depth"
    GRAY = "gray"
    RGB = "rgb"

    @property
    def channels(self) -> int:
        """Channels of one picture."""
        return 3 if self is ImageKind.RGB else 1


@dataclass(frozen=True, slots=True)
class CameraView:
    """Pictures (channels, H, W) of one kind from one camera of the arm: uint8, or float16 metres for depth."""

    camera: str
    kind: ImageKind
    width_px: int = 64
    height_px: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", member_of(ImageKind, self.kind, "kind of picture"))
        for name in ("width_px", "height_px"):
            check_whole(name, getattr(self, name), 1, MAX_SIDE_PX, BridgeError)

    @property
    def key(self) -> str:
        """The name of these pictures in a Dict observation."""
        return f"{self.camera}_{self.kind.value}"


@dataclass(frozen=True, slots=True)
class ObservationSpec:
    """Which parts an observation has. One part alone is a Box; several are a Dict with a key per part.

    state: the task's own features, float32 (n,); with `object_pose` false those that tell where the object is are
    left out. proprioception: joint angles and speeds, tool pose and opening, float32 (m,). views: pictures, stacked
    over `frames` steps, oldest first. privileged: what only the simulator knows, for a critic; no policy reads it.
    """

    state: bool = True
    object_pose: bool = True
    proprioception: bool = False
    views: tuple[CameraView, ...] = ()
    frames: int = 1
    privileged: bool = False

    def __post_init__(self) -> None:
        if not (self.state or self.proprioception or self.views):
            raise BridgeError("an observation needs at least one of: state, proprioception, views")
        check_whole("frames", self.frames, 1, MAX_FRAMES, BridgeError)
        strange = [view for view in self.views if type(view) is not CameraView]
        if strange:
            raise BridgeError(f"views must be CameraViews, such as CameraView('wrist', 'depth'); got {strange[0]!r}")
        keys = [view.key for view in self.views]
        if len(set(keys)) != len(keys):
            raise BridgeError(f"a camera may give one picture of each kind, got {keys}")

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the parts, in the order that observations have them."""
        vectors = ((STATE, self.state), (PROPRIOCEPTION, self.proprioception))
        asked = [name for name, wanted in vectors if wanted] + [view.key for view in self.views]
        return (*asked, PRIVILEGED) if self.privileged else tuple(asked)

    def only(self, names: Sequence[str]) -> ObservationSpec:
        """Return the spec of the named parts alone; raises UnknownName for a part that this one has not."""
        for name in names:
            if name not in self.part_names:
                raise UnknownName("part of an observation", name, self.part_names)
        return replace(
            self,
            state=STATE in names,
            proprioception=PROPRIOCEPTION in names,
            views=tuple(view for view in self.views if view.key in names),
            privileged=PRIVILEGED in names,
        )


def state_of(observation: Observed) -> NDArray[np.float32]:
    """Return the state (n,), for who reads nothing else; raises PolicyMismatch where there is none."""
    part = observation.get(STATE) if isinstance(observation, Mapping) else observation
    if part is None or part.dtype != np.float32:
        found = ", ".join(observation) if isinstance(observation, Mapping) else f"{observation.dtype} numbers"
        raise PolicyMismatch(f"this policy reads the part {STATE!r}, float32; the observation has {found}")
    return part.astype(np.float32, copy=False)
