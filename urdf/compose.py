"""From what an arm.toml says to the one URDF file that everybody reads: PyBullet, Pinocchio and our own chain.

A URDF that lies beside its arm.toml and needs nothing is used as it is. Otherwise it is composed: taken from the
package that keeps it, mesh paths made absolute, limits corrected, a gripper attached.
"""

from __future__ import annotations

import copy
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from urdf.errors import ArmError, PackageMissing, UnknownName
from urdf.kept import keep
from urdf.meshes import lit
from urdf.tables import names_in, number, numbers, only, table_in

#: What to install where the package that keeps a model is missing, if that has another name.
_DISTRIBUTIONS = {"pybullet_data": "pybullet"}
#: Those that the [workstation] extra brings.
_IN_EXTRA = ("pybullet_data", "example-robot-data")
_LIMITS = ("lower", "upper", "effort", "velocity")
_MASSLESS = "ixx iyy izz ixy ixz iyz"
_ATTACH_KEYS = ("urdf", "link", "xyz_m", "rpy_deg")


def urdf_file(folder: Path, table: Mapping[str, object]) -> Path:
    """Return the URDF of an arm.toml's table; `folder` is where that file lies.

    Raises PackageMissing where a package keeps it that is not installed, ArmError where something does not fit.
    """
    source = str(table["urdf"])
    path = _locate(folder, source)
    changes = ("attach", "limits", "drop_links", "drawn_rgba")
    if path == (folder / source).resolve() and not any(key in table for key in changes):
        return path
    robot = _read(path)
    _drop(robot, names_in(table, "drop_links", optional=True), path)
    _root(robot, str(path))
    if "drawn_rgba" in table:
        _draw_collision_shapes(robot, [float(v) for v in numbers(table, "drawn_rgba", 4)])
    if "attach" in table:
        _attach(robot, folder, table_in(table, "attach"))
    _correct_limits(robot, table_in(table, "limits", optional=True))
    _weigh(robot)
    ElementTree.indent(robot)
    return keep(folder.name, ".urdf", ElementTree.tostring(robot, encoding="utf-8", xml_declaration=True))


def _locate(folder: Path, source: str) -> Path:
    """Return the file of `FILE` (beside the arm.toml) or `PACKAGE:FILE` (kept by a Python package)."""
    package, colon, inside = source.partition(":")
    return _package_folder(package) / inside if colon else (folder / source).resolve()


def _package_folder(name: str) -> Path:
    """Return where a package keeps its files: its module, or `share/NAME` of a wheel that holds no Python at all."""
    spec = find_spec(name) if name.isidentifier() else None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    for place in sys.path:
        for share in (Path(place) / "cmeel.prefix" / "share" / name, Path(place) / "share" / name):
            if share.is_dir():
                return share
    raise PackageMissing(name, _DISTRIBUTIONS.get(name, name), in_extra=name in _IN_EXTRA)


def _read(path: Path) -> ElementTree.Element:
    """Return links, joints and materials of a URDF, mesh paths absolute; the rest is for other programs."""
    try:
        robot = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ArmError(f"cannot read the URDF {path}: {error}") from error
    for element in list(robot):
        if element.tag not in ("link", "joint", "material"):
            robot.remove(element)
    for mesh in robot.iter("mesh"):
        mesh.set("filename", str(_mesh(path, mesh.get("filename", ""))))
    return robot


def _mesh(urdf: Path, name: str) -> Path:
    """Return the file of a mesh: `package://` is looked for in every folder above the URDF."""
    inside = name.removeprefix("package://").removeprefix("file://")
    above = list(urdf.parents) if name.startswith("package://") else [urdf.parent]
    for folder in above:
        if (folder / inside).is_file():
            return (folder / inside).resolve()
    raise ArmError(f"{urdf}: the mesh {name!r} is neither beside it nor in a folder above it")


def _drop(robot: ElementTree.Element, links: list[str], path: Path) -> None:
    known = {str(link.get("name")) for link in robot.findall("link")}
    for name in links:
        if name not in known:
            raise UnknownName(f"link of {path} to drop", name, known)
    for element in [*robot.findall("link"), *robot.findall("joint")]:
        ends = [element.get("name")] if element.tag == "link" else [_end(element, "parent"), _end(element, "child")]
        if set(ends) & set(links):
            robot.remove(element)


def _end(joint: ElementTree.Element, which: str) -> str | None:
    end = joint.find(which)
    return None if end is None else end.get("link")


def _draw_collision_shapes(robot: ElementTree.Element, rgba: list[float]) -> None:
    """Show the collision shapes in one colour: a tenth of the triangles of the shapes made for looking at."""
    for link in robot.findall("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
        for collision in link.findall("collision"):
            visual = copy.deepcopy(collision)
            visual.tag = "visual"
            for mesh in visual.iter("mesh"):
                mesh.set("filename", str(lit(Path(mesh.get("filename", "")))))
            material = ElementTree.SubElement(visual, "material", name="drawn")
            ElementTree.SubElement(material, "color", rgba=" ".join(f"{v:g}" for v in rgba))
            link.append(visual)


def _attach(robot: ElementTree.Element, folder: Path, table: Mapping[str, object]) -> None:
    """Fix the root link of another URDF to a link of this one."""
    only(table, "key of [attach]", _ATTACH_KEYS)
    part = _read(_locate(folder, str(table["urdf"])))
    links = {str(link.get("name")) for link in robot.findall("link")}
    if str(table["link"]) not in links:
        raise UnknownName("link to attach to", str(table["link"]), links)
    for tag in ("link", "joint", "material"):
        shared = {e.get("name") for e in robot.findall(tag)} & {e.get("name") for e in part.findall(tag)}
        if shared:
            raise ArmError(f"{table['urdf']} and the arm both have a {tag} named {sorted(map(str, shared))}")
    root = _root(part, str(table["urdf"]))
    robot.extend(list(part))
    mount = ElementTree.SubElement(robot, "joint", name=f"{root}_mount", type="fixed")
    ElementTree.SubElement(mount, "parent", link=str(table["link"]))
    ElementTree.SubElement(mount, "child", link=root)
    rpy = np.radians(numbers(table, "rpy_deg", 3, default=(0.0, 0.0, 0.0)))
    xyz = numbers(table, "xyz_m", 3)
    ElementTree.SubElement(mount, "origin", xyz=_text(xyz.tolist()), rpy=_text(rpy.tolist()))


def _root(robot: ElementTree.Element, source: str) -> str:
    """Return the one link that no joint moves; raises ArmError where there is none, or several."""
    children = {_end(joint, "child") for joint in robot.findall("joint")}
    roots = [str(link.get("name")) for link in robot.findall("link") if link.get("name") not in children]
    if len(roots) != 1:
        raise ArmError(f"{source}: expected one root link, found {roots}")
    return roots[0]


def _text(values: list[float]) -> str:
    return " ".join(f"{v:.12g}" for v in values)


def _correct_limits(robot: ElementTree.Element, limits: Mapping[str, object]) -> None:
    """Put the limits of `[limits.JOINT]` in place of the URDF's: lower, upper, effort, velocity."""
    joints = {str(joint.get("name")): joint for joint in robot.findall("joint")}
    for name in limits:
        if name not in joints:
            raise UnknownName("joint whose limits are corrected", name, joints)
        given = table_in(limits, name)
        only(given, f"limit of {name}", _LIMITS)
        element = joints[name].find("limit")
        if element is None:
            element = ElementTree.SubElement(joints[name], "limit")
        for key in given:
            element.set(key, f"{number(given, key):.12g}")


def _weigh(robot: ElementTree.Element) -> None:
    """Say of every link without inertia that it weighs nothing: PyBullet would make it a kilogram."""
    moving = {_end(joint, "child") for joint in robot.findall("joint") if joint.get("type") != "fixed"}
    for link in robot.findall("link"):
        if link.find("inertial") is not None:
            continue
        if link.get("name") in moving:
            raise ArmError(f"the link {link.get('name')!r} moves and has no <inertial>: give it its mass")
        inertial = ElementTree.SubElement(link, "inertial")
        ElementTree.SubElement(inertial, "mass", value="0")
        ElementTree.SubElement(inertial, "inertia", dict.fromkeys(_MASSLESS.split(), "0"))
