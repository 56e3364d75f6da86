"""What a policy may ask to see: one frozen ObservationSpec, the same for the simulated and the physical arm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bridge.errors import BridgeError
from urdf.checks import check_whole, member_of

MAX_FRAMES = 16
MAX_SIDE_PX = 1024


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
