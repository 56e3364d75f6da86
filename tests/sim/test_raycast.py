from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pybullet as bullet
import pytest

from sim import raycast_kernel
from sim.errors import SimError
from sim.pinhole import PinholeCamera, view_matrix
from sim.raycast import Cast, DepthCaster, prepare
from sim.rendering import take_picture
from tests.sim.depth_scenes import MeshArm, MeshScene, arm_scenes, look_at, mesh_arms
from urdf.description import load_arm
from urdf.pose import Array, Pose
from urdf.tables import arm_names

#: What createVisualShape is told of a shape, and the distance of points (..., 3) of its frame from its surface.
Size = dict[str, float | list[float]]
Distance = Callable[[Array], Array]
SCENES = 100
LARGEST_ERROR_M = 0.001
SMALLEST_SHARE = 0.99
LENS = PinholeCamera(math.radians(50.0), 0.02, 3.0, 64, 48)
RIGS_AND_CAMERAS = [
    pytest.param(arm, rig, camera, id=f"{arm}-{rig}-{camera}")
    for arm in arm_names()
    for rig in load_arm(arm).rigs
    for camera in load_arm(arm).cameras_of(load_arm(arm).rig(rig))
]


@pytest.fixture
def client() -> Iterator[int]:
    made = bullet.connect(bullet.DIRECT)
    yield made
    bullet.disconnect(made)


def body_of(client: int, kind: int, pose: Pose, size: Size) -> int:
    look = bullet.createVisualShape(kind, physicsClientId=client, **size)
    return bullet.createMultiBody(
        0.0, -1, look, pose.position_m.tolist(), pose.quat_xyzw.tolist(), physicsClientId=client
    )


def box_of(client: int, center_m: list[float], half_m: list[float]) -> int:
    return body_of(client, bullet.GEOM_BOX, Pose.from_rpy(center_m, [0.0, 0.0, 0.0]), {"halfExtents": half_m})


# Each shape alone, against its distance function --------------------------------------------------------


def box_distance(p: Array, half: Array) -> Array:
    q = np.abs(p) - half
    return np.linalg.norm(np.maximum(q, 0.0), axis=-1) + np.minimum(q.max(axis=-1), 0.0)


def sphere_distance(p: Array) -> Array:
    return np.linalg.norm(p, axis=-1) - 0.05


def cylinder_distance(p: Array) -> Array:
    q = np.stack([np.hypot(p[..., 0], p[..., 1]) - 0.04, np.abs(p[..., 2]) - 0.035], axis=-1)
    return np.linalg.norm(np.maximum(q, 0.0), axis=-1) + np.minimum(q.max(axis=-1), 0.0)


def capsule_distance(p: Array) -> Array:
    along = np.clip(p[..., 2], -0.035, 0.035)
    return np.linalg.norm(p - along[..., None] * np.array([0.0, 0.0, 1.0]), axis=-1) - 0.03


BOX_HALF_M = [0.06, 0.04, 0.02]
BOX, SPHERE = bullet.GEOM_BOX, bullet.GEOM_SPHERE
CYLINDER, CAPSULE = bullet.GEOM_CYLINDER, bullet.GEOM_CAPSULE
SIZES: dict[int, Size] = {
    BOX: {"halfExtents": BOX_HALF_M},
    SPHERE: {"radius": 0.05},
    CYLINDER: {"radius": 0.04, "length": 0.07},
    CAPSULE: {"radius": 0.03, "length": 0.07},
}
DISTANCES: dict[int, Distance] = {
    BOX: lambda p: box_distance(p, np.array(BOX_HALF_M)),
    SPHERE: sphere_distance,
    CYLINDER: cylinder_distance,
    CAPSULE: capsule_distance,
}
each_primitive = pytest.mark.parametrize(
    "kind", [pytest.param(BOX, id="box"), SPHERE, CYLINDER, pytest.param(CAPSULE, id="capsule")]
)


def check_against(distance: Distance, desk_from_body: Pose, desk_from_camera: Pose, seen: Cast) -> int:
    """What is seen lies on the surface with nothing before it; where nothing is seen, nothing is. Return the hits."""
    body_from_camera = desk_from_body.inverse() @ desk_from_camera
    hit = seen.body >= 0
    rays = LENS.rays()
    on_surface = body_from_camera.apply(rays[hit] * seen.depth_m[hit][:, None])
    assert np.abs(distance(on_surface)).max(initial=0.0) < 1e-5
    for share in np.linspace(0.0, 0.99, 40):
        before = body_from_camera.apply(rays[hit] * seen.depth_m[hit][:, None] * share)
        assert (distance(before) > -1e-6).all()
    for depth_m in np.linspace(LENS.near_m, 0.6, 400):
        assert (distance(body_from_camera.apply(rays[~hit] * depth_m)) > -1e-5).all()
    assert (seen.depth_m[~hit] == np.float32(LENS.far_m)).all()
    return int(hit.sum())


@each_primitive
def test_a_primitive_is_seen_where_its_surface_is(kind: int, client: int) -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(20):
        pose = Pose.from_rotvec(rng.uniform(-0.03, 0.03, 3), rng.uniform(-2.0, 2.0, 3))
        body = body_of(client, kind, pose, SIZES[kind])
        eye = rng.normal(size=3)
        camera_pose = look_at(eye / np.linalg.norm(eye) * rng.uniform(0.15, 0.4), rng.uniform(-0.03, 0.03, 3))
        hits += check_against(
            DISTANCES[kind], pose, camera_pose, DepthCaster(client, [body], exact=True).cast(camera_pose, LENS)
        )
        bullet.removeBody(body, physicsClientId=client)
    assert hits > 5_000


def test_a_mesh_is_the_box_that_it_describes(client: int, tmp_path: Path) -> None:
    corners = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    quads = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + [f"f {quad}" for quad in quads]
    path = tmp_path / "cube.obj"
    path.write_text("\n".join(lines), encoding="utf-8")
    rng = np.random.default_rng(4)
    for scale in ([0.06, 0.04, 0.02], [0.06, -0.04, 0.02]):
        for _ in range(10):
            pose = Pose.from_rotvec(rng.uniform(-0.03, 0.03, 3), rng.uniform(-2.0, 2.0, 3))
            eye = rng.normal(size=3)
            camera_pose = look_at(eye / np.linalg.norm(eye) * rng.uniform(0.08, 0.4), np.zeros(3))
            box = body_of(client, BOX, pose, SIZES[BOX])
            look = bullet.createVisualShape(
                bullet.GEOM_MESH, fileName=str(path), meshScale=scale, physicsClientId=client
            )
            mesh = bullet.createMultiBody(
                0, -1, look, pose.position_m.tolist(), pose.quat_xyzw.tolist(), physicsClientId=client
            )
            of_box, of_mesh = (DepthCaster(client, [body]).cast(camera_pose, LENS) for body in (box, mesh))
            assert ((of_box.body >= 0) != (of_mesh.body >= 0)).sum() <= 2
            same = (of_box.body >= 0) & (of_mesh.body >= 0)
            np.testing.assert_allclose(of_mesh.depth_m[same], of_box.depth_m[same], atol=1e-5)
            for body in (box, mesh):
                bullet.removeBody(body, physicsClientId=client)


def test_a_plane_reaches_to_the_far_end_and_has_one_side(client: int) -> None:
    look = bullet.createVisualShape(bullet.GEOM_PLANE, planeNormal=[0, 0, 1], physicsClientId=client)
    plane = bullet.createMultiBody(0, -1, look, [0, 0, 0.1], physicsClientId=client)
    caster = DepthCaster(client, [plane])
    camera_pose = look_at(np.array([0.0, 0.0, 0.6]), np.array([1.0, 0.0, 0.4]))
    seen = caster.cast(camera_pose, LENS)
    # By hand: the ray of a pixel sinks from 0.6 m to 0.1 m.
    with np.errstate(divide="ignore"):
        depth = -0.5 / (camera_pose.rotation @ LENS.rays()[..., None])[..., 2, 0]
    reached = (depth > 0) & (depth < LENS.far_m)
    assert 0.3 < reached.mean() < 0.9
    np.testing.assert_allclose(seen.depth_m[reached], depth[reached], rtol=1e-5)
    assert (seen.body[~reached] == -1).all()
    below = caster.cast(look_at(np.array([0.0, 0.0, -0.3]), np.array([0.1, 0.0, 0.1])), LENS)
    assert (below.body == -1).all()


@pytest.mark.parametrize("kind", [SPHERE, CYLINDER, CAPSULE])
def test_round_shapes_are_seen_as_they_are_drawn(kind: int, client: int) -> None:
    fine = PinholeCamera(math.radians(30.0), 0.02, 3.0, 128, 128)
    rng = np.random.default_rng(6)
    body = body_of(client, kind, Pose.from_rotvec([0.0, 0.0, 0.0], [0.3, -0.5, 0.2]), SIZES[kind])
    drawn, exact = DepthCaster(client, [body]), DepthCaster(client, [body], exact=True)
    far_off: list[float] = []
    for _ in range(10):
        eye = rng.normal(size=3)
        camera_pose = look_at(eye / np.linalg.norm(eye) * 0.35, np.zeros(3))
        _, depth, bodies = take_picture(client, camera_pose, fine, shadow=False)
        seen = drawn.cast(camera_pose, fine)
        assert (seen.body != bodies).sum() <= 2
        both = (seen.body == body) & (bodies == body)
        np.testing.assert_allclose(seen.depth_m[both], depth[both], atol=5e-5)
        far_off.append(float((np.abs(exact.cast(camera_pose, fine).depth_m - depth)[both] > LARGEST_ERROR_M).mean()))
    assert np.mean(far_off) > 0.2  # what is drawn is not what is: the reason for there being two ways to see


# What is near, far, inside ----------------------------------------------------------------------------


@each_primitive
def test_what_is_nearer_than_near_is_looked_through(kind: int, client: int) -> None:
    front = body_of(client, kind, Pose.identity(), SIZES[kind])
    wall = box_of(client, [0.0, 0.0, -0.5], [2.0, 2.0, 0.1])
    caster = DepthCaster(client, [front, wall], exact=True)
    top_m = {BOX: 0.02, SPHERE: 0.05, CYLINDER: 0.035, CAPSULE: 0.065}
    straight_down = Pose.from_rpy([0.0, 0.0, top_m[kind] + 0.03], [math.pi, 0.0, 0.0])
    middle = (LENS.height_px // 2, LENS.width_px // 2)
    for near_m, expected in ((0.029, front), (0.0315, wall)):
        seen = caster.cast(straight_down, PinholeCamera(math.radians(20), near_m, 3.0, 64, 48))
        assert seen.body[middle] == expected
        assert (seen.depth_m >= near_m).all()
    inside = caster.cast(Pose.from_rpy([0.0, 0.0, 0.0], [math.pi, 0.0, 0.0]), LENS)
    assert set(np.unique(inside.body)) == {wall}  # nothing shows its inside
    np.testing.assert_allclose(inside.depth_m, 0.4, rtol=1e-6)


def test_beyond_far_reads_far_and_just_before_it_does_not(client: int) -> None:
    wall = box_of(client, [0.0, 0.0, 1.1], [2.0, 2.0, 0.1])
    caster = DepthCaster(client, [wall])
    for far_m, body in ((0.999, -1), (1.001, wall)):
        seen = caster.cast(Pose.identity(), PinholeCamera(1.0, 0.1, far_m, 8, 8))
        assert (seen.body == body).all()
        np.testing.assert_allclose(seen.depth_m, min(far_m, 1.0), rtol=1e-6)


def test_a_box_that_reaches_behind_the_camera_is_cut_at_near(client: int) -> None:
    half_m = [0.6, 0.6, 0.5]
    desk = box_of(client, [0.0, 0.0, -0.5], half_m)
    caster = DepthCaster(client, [desk])
    for height_m in (0.03, 0.2):
        camera_pose = look_at(np.array([0.0, 0.0, height_m]), np.array([0.3, 0.05, 0.0]))
        seen = caster.cast(camera_pose, LENS)
        # By hand: the desk's top, a level plane that ends 0.6 m away.
        sinking = (LENS.rays() @ camera_pose.rotation.T)[..., 2]
        depth = np.where(sinking < 0, height_m / np.maximum(-sinking, 1e-12), np.inf)
        points = camera_pose.apply(LENS.rays() * np.minimum(depth, 10.0)[..., None])
        on_top = (np.abs(points[..., :2]) < 0.6).all(axis=-1) & (depth > LENS.near_m)
        assert 0.3 < on_top.mean() <= 1.0
        np.testing.assert_array_equal(seen.body == desk, on_top)
        np.testing.assert_allclose(seen.depth_m[on_top], depth[on_top], rtol=1e-5)


# Bodies that move, come and go -------------------------------------------------------------------------


def test_bodies_are_seen_where_they_are_now_and_parked_ones_not_at_all(client: int) -> None:
    bodies = [box_of(client, [0.05 * i, 0.0, 0.0], [0.02, 0.02, 0.02]) for i in range(4)]
    caster = DepthCaster(client, bodies)
    above = look_at(np.array([0.07, -0.01, 0.5]), np.array([0.07, 0.0, 0.0]))
    assert set(np.unique(caster.cast(above, LENS).body)) == {-1, *bodies}
    for parked in bodies[1:]:
        bullet.resetBasePositionAndOrientation(parked, [0, 0, 50 + parked], [0, 0, 0, 1], physicsClientId=client)
    alone, with_parked = DepthCaster(client, bodies[:1]).cast(above, LENS), caster.cast(above, LENS)
    np.testing.assert_array_equal(with_parked.body, alone.body)
    np.testing.assert_array_equal(with_parked.depth_m, alone.depth_m)
    bullet.removeBody(bodies[1], physicsClientId=client)
    with pytest.raises(SimError, match="look_again"):
        caster.cast(above, LENS)
    caster.look_again(bodies[:1])
    np.testing.assert_array_equal(caster.cast(above, LENS).body, alone.body)


def test_a_body_that_is_not_there_is_refused(client: int) -> None:
    with pytest.raises(SimError, match="body 7"):
        DepthCaster(client, [7])


def test_a_base_whose_mass_is_off_its_frame_and_links_of_several_shapes(client: int, tmp_path: Path) -> None:
    """Drawn by TinyRenderer and by us: what must agree is where the URDF puts boxes."""
    urdf = """<robot name="odd"><link name="base"><inertial><origin xyz="0.03 -0.02 0.05" rpy="0.4 0.2 -0.3"/>
      <mass value="1"/><inertia ixx="1e-3" iyy="1e-3" izz="1e-3" ixy="0" ixz="0" iyz="0"/></inertial>
      <visual><origin xyz="0.02 0 0" rpy="0 0.3 0"/><geometry><box size="0.06 0.03 0.02"/></geometry></visual>
      <visual><origin xyz="-0.04 0.01 0.02" rpy="0.5 0 0"/><geometry><box size="0.02 0.03 0.05"/></geometry></visual>
      </link><link name="tip"><inertial><origin xyz="0 0.04 0" rpy="0 0 1"/><mass value="1"/>
      <inertia ixx="1e-3" iyy="1e-3" izz="1e-3" ixy="0" ixz="0" iyz="0"/></inertial>
      <visual><origin xyz="0 0 0.03"/><geometry><box size="0.01 0.02 0.06"/></geometry></visual></link>
      <joint name="j" type="revolute"><parent link="base"/><child link="tip"/><origin xyz="0 0.03 0.03" rpy="0 0 0.5"/>
      <axis xyz="1 0 0"/><limit lower="-2" upper="2" effort="1" velocity="1"/></joint></robot>"""
    (tmp_path / "odd.urdf").write_text(urdf, encoding="utf-8")
    body = bullet.loadURDF(str(tmp_path / "odd.urdf"), [0, 0.02, 0], [0.1, 0.2, 0, 1], physicsClientId=client)
    bullet.resetJointState(body, 0, 0.7, physicsClientId=client)
    caster = DepthCaster(client, [body])
    rng = np.random.default_rng(5)
    links: set[int] = set()
    for _ in range(10):
        eye = rng.normal(size=3)
        camera_pose = look_at(eye / np.linalg.norm(eye) * 0.3, np.array([0.0, 0.02, 0.02]))
        seen = caster.cast(camera_pose, LENS)
        flags = bullet.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX
        marks = bullet.getCameraImage(
            64, 48, *gl(camera_pose), flags=flags, renderer=bullet.ER_TINY_RENDERER, physicsClientId=client
        )[4].reshape(48, 64)
        np.testing.assert_array_equal(seen.body >= 0, marks >= 0)
        there = marks >= 0
        np.testing.assert_array_equal(seen.link[there], (marks[there] >> 24) - 1)
        depth = take_picture(client, camera_pose, LENS)[1]
        np.testing.assert_allclose(seen.depth_m[there], depth[there], atol=2e-5)
        links |= set(seen.link[there].tolist())
    assert links == {-1, 0}


def gl(camera_pose: Pose) -> tuple[list[float], list[float]]:
    return view_matrix(camera_pose), LENS.projection_matrix(corner_sampling=True)


# Whole arms against TinyRenderer -----------------------------------------------------------------------


@pytest.mark.parametrize(("arm", "rig", "camera"), RIGS_AND_CAMERAS)
def test_our_arms_look_as_tiny_renderer_draws_them(arm: str, rig: str, camera: str) -> None:
    caster: DepthCaster | None = None
    agreeing: list[float] = []
    same_body: list[float] = []
    for world, pose, lens in arm_scenes(arm, rig, camera, SCENES):
        caster = caster or DepthCaster(world.client, [world.desk, world.arm, world.block])
        seen = caster.cast(pose, lens)
        _, depth, bodies = take_picture(world.client, pose, lens, shadow=False)
        agreeing.append(float((np.abs(seen.depth_m - depth) <= LARGEST_ERROR_M).mean()))
        same_body.append(float((seen.body == bodies).mean()))
    assert len(agreeing) == SCENES
    assert np.mean(agreeing) >= SMALLEST_SHARE
    assert np.mean(same_body) >= SMALLEST_SHARE


@pytest.mark.parametrize("from_desk", [False, True], ids=["wrist", "desk"])
@pytest.mark.parametrize("arm", mesh_arms(), ids=lambda arm: arm.name)
def test_arms_of_meshes_look_as_tiny_renderer_draws_them(arm: MeshArm, from_desk: bool) -> None:
    scene = MeshScene.load(arm)
    caster = DepthCaster(scene.client, [scene.desk, scene.box, scene.arm])
    agreeing, arm_seen = [], 0
    for pose, lens in scene.views(SCENES, from_desk):
        seen = caster.cast(pose, lens)
        _, depth, _ = take_picture(scene.client, pose, lens, shadow=False)
        agreeing.append(float((np.abs(seen.depth_m - depth) <= LARGEST_ERROR_M).mean()))
        arm_seen += int((seen.body == scene.arm).sum())
    scene.close()
    assert arm_seen > 100 * SCENES  # the arm is in the picture
    assert np.mean(agreeing) >= SMALLEST_SHARE


# The compiler ------------------------------------------------------------------------------------------


def test_a_second_process_does_not_compile_again() -> None:
    code = (
        "from sim.raycast import prepare; from sim.raycast_kernel import draw; prepare();"
        "s = draw.stats; print(sum(s.cache_hits.values()), sum(s.cache_misses.values()))"
    )
    prepare()  # if anybody compiles, we do
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert run.stdout.split() == ["1", "0"]


def test_the_compiled_kernel_is_kept_where_there_is_room(tmp_path: Path) -> None:
    """Beside the source; else in the user's cache folder; else nowhere, and every process compiles for itself."""
    package = tmp_path / "sim"
    sources = Path(raycast_kernel.__file__).parents[1]
    for name in ("sim/shapes.py", "sim/raycast_kernel.py", "urdf/compiled.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(sources / name, tmp_path / name)
        (tmp_path / name).with_name("__init__.py").touch()
    code = "from sim.raycast_kernel import draw; print(draw.stats.cache_path)"

    def cache_path(user_cache: Path) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
        environment |= {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(user_cache), "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        return run.stdout.strip()

    assert cache_path(tmp_path / "user") == str(package / "__pycache__")
    shutil.rmtree(package / "__pycache__", ignore_errors=True)
    (package / "__pycache__").touch()  # a folder cannot be made here: as good as read-only, even for root
    assert cache_path(tmp_path / "user").startswith(str(tmp_path / "user"))
    (tmp_path / "full").touch()
    assert cache_path(tmp_path / "full") == "None"
