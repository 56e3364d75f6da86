from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.errors import SimError
from sim.meshes import Mesh, load_mesh

#: A tetrahedron: four corners, faces counter-clockwise seen from outside.
CORNERS = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
FACES = [(0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)]


def volume(mesh: Mesh) -> float:
    """Return the signed volume: positive where every face is counter-clockwise seen from outside."""
    a, b, c = (mesh.vertices[mesh.triangles[:, i]].astype(np.float64) for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def soup(mesh: Mesh) -> NDArray[np.float32]:
    corners = mesh.vertices[mesh.triangles]
    return corners[np.lexsort(corners.sum(axis=1).T)]


def write_obj(path: Path) -> Path:
    lines = ["o first", *(f"v {x} {y} {z}" for x, y, z in CORNERS[:3]), "f -3//1 -1//1 -2//1", "o second"]
    lines += ["v 0 0 1", "f 1/1/1 2/1/1 4/1/1", "f 2 3 4", "f 1 4 3"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_ascii_stl(path: Path) -> Path:
    lines = ["solid thing"]
    for face in FACES:
        lines += ["facet normal 0 0 0", "outer loop", *(f"vertex {x} {y} {z}" for x, y, z in CORNERS[list(face)])]
        lines += ["endloop", "endfacet"]
    path.write_text("\n".join([*lines, "endsolid thing"]), encoding="ascii")
    return path


def write_binary_stl(path: Path) -> Path:
    data = b"solid but binary".ljust(80, b" ") + struct.pack("<I", len(FACES))
    for face in FACES:
        data += struct.pack("<12fH", 0, 0, 0, *CORNERS[list(face)].ravel(), 0)
    path.write_bytes(data)
    return path


def write_collada(path: Path) -> Path:
    """Two geometries, centimetres, corners and normals interleaved; nodes whose turns and shifts undo each other."""
    numbers = " ".join(f"{100 * v - 5}" for v in CORNERS.ravel())
    text = """<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
      <asset><unit name="centimeter" meter="0.01"/><up_axis>Z_UP</up_axis></asset><library_geometries>"""
    triangles = " ".join(f"{i} 0" for face in FACES[:2] for i in face)
    polygons = " ".join(f"{i} 0" for face in FACES[2:] for i in face)
    for name, part in (
        ("a", f'<triangles count="2">INPUTS<p>{triangles}</p></triangles>'),
        ("b", f'<polylist count="2">INPUTS<vcount>3 3</vcount><p>{polygons}</p></polylist>'),
    ):
        inputs = f"""<input semantic="VERTEX" source="#{name}-v" offset="0"/>
            <input semantic="NORMAL" source="#{name}-n" offset="1"/>"""
        text += f"""<geometry id="{name}"><mesh>
          <source id="{name}-p"><float_array count="12">{numbers}</float_array></source>
          <source id="{name}-n"><float_array count="3">0 0 1</float_array></source>
          <vertices id="{name}-v"><input semantic="POSITION" source="#{name}-p"/></vertices>
          {part.replace("INPUTS", inputs)}</mesh></geometry>"""
    text += """</library_geometries><library_visual_scenes><visual_scene id="s">
      <node id="n"><translate>0 0 5</translate><rotate>0 0 1 90</rotate>
        <node id="m"><matrix>0 1 0 5  -1 0 0 -5  0 0 1 0  0 0 0 1</matrix><translate>0 0 0</translate>
          <instance_geometry url="#a"/></node>
        <node id="k"><rotate>0 0 1 -90</rotate><translate>5 5 0</translate><instance_geometry url="#b"/></node>
      </node></visual_scene></library_visual_scenes></COLLADA>"""
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [("t.obj", write_obj), ("a.stl", write_ascii_stl), ("b.STL", write_binary_stl), ("t.dae", write_collada)],
)
def test_every_format_gives_the_same_solid(name: str, write: Callable[[Path], Path], tmp_path: Path) -> None:
    mesh = load_mesh(write(tmp_path / name))
    expected = Mesh(CORNERS.astype(np.float32), np.array(FACES, dtype=np.int32))
    np.testing.assert_allclose(soup(mesh), soup(expected), atol=1e-6)
    assert volume(mesh) == pytest.approx(1 / 6)


def test_scale_stretches_and_a_mirrored_mesh_is_not_inside_out(tmp_path: Path) -> None:
    path = write_obj(tmp_path / "t.obj")
    assert volume(load_mesh(path, (2.0, 0.5, 3.0))) == pytest.approx(3 / 6)
    mirrored = load_mesh(path, (1.0, -1.0, 1.0))
    assert volume(mirrored) == pytest.approx(1 / 6)
    assert mirrored.vertices[:, 1].min() == -1.0


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("t.ply", b"ply", "must be one of .obj, .stl, .dae"),
        ("empty.obj", b"v 0 0 0\n", "0 triangles"),
        ("wild.obj", b"v 0 0 0\nf 1 2 3\n", "no mesh"),
        ("torn.dae", b"<COLLADA><asset>", "cannot be read"),
        ("words.obj", b"v a b c\n", "cannot be read"),
    ],
)
def test_what_is_no_mesh_is_refused_by_name(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SimError, match=what) as refused:
        load_mesh(tmp_path / name)
    assert name in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimError, match=r"nowhere\.stl"):
        load_mesh(tmp_path / "nowhere.stl")
