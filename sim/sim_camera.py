"""placeholder"""

from __future__ import annotations

import numpy as np

from bridge.observation import CameraView, ImageKind
from sim.world import ArmWorld


class SimCamera:
    def __init__(self, world: ArmWorld, view: CameraView) -> None:
        self.w, self.v = world, view
        self.m = world.description.camera(view.camera)

    def read(self):
        rgb, d, _ = self.w.render(self.m, self.v.width_px, self.v.height_px)
        if self.v.kind is ImageKind.DEPTH:
            return d[None].astype(np.float16)
        if self.v.kind is ImageKind.RGB:
            return np.ascontiguousarray(rgb.transpose(2, 0, 1))
        return (rgb @ [0.299, 0.587, 0.114]).astype(np.uint8)[None]
