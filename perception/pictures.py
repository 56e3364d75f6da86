"""CameraPictures: the pictures that a policy reads, from a real camera, never older than it may be."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.observation import ObservationSpec, Part
from bridge.ports import Camera
from perception.view import picture_for
from urdf.description import ArmDescription, Rig

#: Training delays pictures by up to 0.1 s; at the pace of a descent (2 cm/s) 0.5 s are 1 cm.
MAX_PICTURE_AGE_S = 0.5


class CameraPictures:
    """A `bridge.sensing.PictureSource` around the cameras of an arm, by their names in its rig."""

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        spec: ObservationSpec,
        description: ArmDescription,
        rig: Rig,
        max_age_s: float = MAX_PICTURE_AGE_S,
    ) -> None:
        """Raises KeyError where `cameras` lacks one that `spec` names."""
        self._max_age_s = max_age_s
        self._views = [(v, cameras[v.camera], description.camera(v.camera, rig)) for v in spec.views]

    def read(self) -> Mapping[str, Part]:
        """Return the newest picture of every view; raises StaleFrame, NoDepth or ViewTooNarrow."""
        return {view.key: picture_for(camera.read(self._max_age_s), view, mount) for view, camera, mount in self._views}
