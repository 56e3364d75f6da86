from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

from urdf.errors import ArmError
from urdf.meshes import lit


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def stl(normal: tuple[float, float, float], count: int = 1) -> bytes:
    """One triangle in the xy plane, counterclockwise seen from above: its normal is +z."""
    corners = (0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0)
    return b"\0" * 80 + struct.pack("<I", count) + struct.pack("<12fH", *normal, *corners, 7)


def test_missing_normals_are_those_of_the_corners_order(tmp_path: Path) -> None:
    path = tmp_path / "dark.stl"
    path.write_bytes(stl((0.0, 0.0, 0.0)))
    lighter = lit(path)
    assert lighter != path
    assert lighter.read_bytes() == stl((0.0, 0.0, 1.0))
    assert path.read_bytes() == stl((0.0, 0.0, 0.0))
    assert lit(path) == lighter


@pytest.mark.parametrize(
    ("name", "content"), [("a.stl", stl((0.0, 0.0, 1.0))), ("b.obj", b"v 0 0 0"), ("c.stl", b"solid c")]
)
def test_other_files_are_left_alone(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert lit(path) == path


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.stl"
    path.write_bytes(stl((0.0, 0.0, 0.0), count=2))
    with pytest.raises(ArmError, match="2 triangles are announced"):
        lit(path)


def test_the_ur5_is_drawn_with_light_on_it() -> None:
    bullet = pytest.importorskip("pybullet")
    from sim.world import ArmWorld
    from urdf.description import load_arm
    from urdf.errors import PackageMissing

    try:
        arm = load_arm("ur5")
    except PackageMissing as error:
        pytest.skip(str(error))
    world = ArmWorld(arm, arm.rig("table"))
    rgb, _, bodies = world.render(arm.camera("desk", world.rig), 128, 128)
    assert bullet.getNumBodies(physicsClientId=world.client) == 3
    assert np.median(rgb[bodies == world.arm]) > 40
    world.close()
