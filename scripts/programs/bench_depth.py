"""Depth pictures a second: ours against TinyRenderer's, of the same scenes, in turn, in one process.

`python -m scripts.programs.bench_depth` prints the table of docs/depth.md, with the engines that were not chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.programs.figures import Row, at_least
from sim.pinhole import PinholeCamera
from sim.raycast import DepthCaster
from sim.rendering import take_picture
from sim.world import ArmWorld
from urdf.description import load_arm
from urdf.pose import Pose

PICTURES = 40
#: Ours are quicker, so more of them make a measurement of the same length.
OURS_PER_PICTURE = 10
AGREE_M = 0.001
_BASELINE = "TinyRenderer without shadows, same poses, processor time of one process, poses gathered from PyBullet"


@dataclass(frozen=True, slots=True)
class DepthScene:
    """Bodies of a client, and how to move them: `pose(rng)` draws joint angles and returns `desk_from_camera`."""

    client: int
    bodies: tuple[int, ...]
    camera: PinholeCamera
    pose: Callable[[np.random.Generator], Pose]


@contextmanager
def arm_scene(arm: str, camera: str = "wrist") -> Iterator[DepthScene]:
    """Yield an arm on its desk, near home, with the block somewhere in its area, seen by one of its cameras."""
    description = load_arm(arm)
    rig = description.rig("table")
    mount = description.camera(camera, rig)
    world = ArmWorld(description, rig)

    def pose(rng: np.random.Generator) -> Pose:
        joints = rig.home_rad + rng.normal(0.0, 0.15, len(rig.home_rad))
        x, y = rig.area_center_m + rng.uniform(-0.5, 0.5, 2) * rig.area_size_m
        block = Pose.from_rotvec([x, y, 0.015], [0.0, 0.0, rng.uniform(-0.8, 0.8)])
        world.reset(np.clip(joints, description.lower_rad, description.upper_rad), block)
        return world.link_pose(mount.link) @ mount.link_from_camera

    lens = PinholeCamera(mount.fov_y_rad, mount.near_m, mount.far_m, 64, 64)
    yield DepthScene(world.client, (world.desk, world.arm, world.block), lens, pose)
    world.close()


@dataclass(slots=True)
class Engine:
    """Something that makes depth pictures of a scene, and what it took for them."""

    see: Callable[[Pose], NDArray[np.floating]]
    repeats: int = 1
    spent_s: float = 0.0
    pictures: int = 0
    agreeing: float = 0.0

    def picture_s(self) -> float:
        """Return the processor time of one picture."""
        return self.spent_s / self.pictures


def tiny_renderer(scene: DepthScene) -> Engine:
    """Return the baseline."""
    return Engine(lambda pose: take_picture(scene.client, pose, scene.camera, shadow=False)[1])


def ours(scene: DepthScene) -> Engine:
    """Return the engine of `sim/raycast.py`."""
    caster = DepthCaster(scene.client, scene.bodies)
    return Engine(lambda pose: caster.cast(pose, scene.camera).depth_m, OURS_PER_PICTURE)


def compare(scene: DepthScene, engines: list[Engine], on_progress: Callable[[float], None]) -> None:
    """Let all engines look at the same scenes in turn; the first one's depth is what the others may agree with."""
    rng = np.random.default_rng(17)
    for engine in engines:
        engine.see(scene.pose(rng))  # compiles, allocates
    for number in range(PICTURES):
        pose = scene.pose(rng)
        truth: NDArray[np.floating] | None = None
        for engine in engines:
            started = time.process_time()
            for _ in range(engine.repeats - 1):
                engine.see(pose)
            depth = engine.see(pose)
            engine.spent_s += time.process_time() - started
            engine.pictures += engine.repeats
            truth = depth if truth is None else truth
            engine.agreeing += float((np.abs(depth - truth) <= AGREE_M).mean()) / PICTURES
        on_progress((number + 1) / PICTURES)


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Return the rows of the Dofbot's primitives and the Kuka's meshes; `on_progress` hears what is done."""
    rows: list[Row] = []
    for name, arm, bar in (("Dofbot, primitives", "dofbot", 4.0), ("Kuka, meshes", "kuka_iiwa", 8.0)):
        figure = f"64x64 wrist depth pictures/s, ours / TinyRenderer: {name}"
        with arm_scene(arm) as scene:
            theirs, mine = tiny_renderer(scene), ours(scene)
            compare(scene, [theirs, mine], lambda share, what=figure: on_progress(what, share))
        rows.append(at_least(figure, theirs.picture_s() / mine.picture_s(), "x", bar, _BASELINE))
    return rows


def main() -> None:
    """Print the table of all engines."""
    from scripts.programs.depth_engines import embree_moved, embree_rebuilt, every_ray

    columns = {
        "Dofbot, wrist": ("dofbot", "wrist"),
        "Kuka, wrist": ("kuka_iiwa", "wrist"),
        "Kuka, desk": ("kuka_iiwa", "desk"),
    }
    print(f"| engine | {' | agrees | '.join(columns)} | agrees |\n|---|{'---|' * 2 * len(columns)}")
    cells: dict[str, dict[str, str]] = {}
    for column, scene_name in columns.items():
        with arm_scene(*scene_name) as scene:
            engines = {
                "TinyRenderer": tiny_renderer(scene),
                "embree, one scene built anew": embree_rebuilt(scene),
                "embree, a scene for each shape, rays moved": embree_moved(scene),
                "Numba, shapes drawn one by one (chosen)": ours(scene),
            }
            if scene_name[0] == "dofbot":
                engines["Numba, every ray against every primitive"] = every_ray(scene)
            compare(scene, list(engines.values()), lambda _: None)
        for name, engine in engines.items():
            cells.setdefault(name, {})[column] = f"{1 / engine.picture_s():,.0f} | {100 * engine.agreeing:.2f} %"
    for name, values in cells.items():
        print(f"| {name} | {' | '.join(values.get(column, 'none | none') for column in columns)} |")


if __name__ == "__main__":
    main()
