"""Pictures that no camera took: the arm of a recording in simulation, with its joints where they were."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bridge.episode_reader import Episode
from scripts.programs.footage import Image
from scripts.programs.scene_eye import world_picture
from sim.world import ArmWorld
from urdf.description import load_arm
from urdf.pose import Pose

_SIZE_PX = (240, 180)
_LEVEL = np.array([0.0, 0.0, 0.0, 1.0])


def posed_picture(episode: Episode, stamp_ns: int) -> Image | None:
    """Return the arm (H, W, 3) as it stood then, and the block where it was seen last, level.

    None where the arm is not known here as it was then, or nothing was recorded of its joints.
    """
    header = episode.header
    if not episode.steps or load_arm(header.arm).sha256 != header.arm_sha256:
        return None
    world = _world(header.arm, header.rig)
    seen = int(np.searchsorted(episode.block_stamp_ns, stamp_ns, side="right"))
    base_from_block = Pose(episode.block_m[seen - 1], _LEVEL) if seen else None
    step = min(int(np.searchsorted(episode.state_stamp_ns, stamp_ns)), episode.steps - 1)
    world.reset(
        episode.position_rad[step],
        None if base_from_block is None else world.rig.desk_from_base @ base_from_block,
    )
    return world_picture(world, _SIZE_PX)


@lru_cache(maxsize=1)
def _world(arm: str, rig: str) -> ArmWorld:
    description = load_arm(arm)
    return ArmWorld(description, description.rig(rig))
