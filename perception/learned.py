"""The learned locator as it runs on a robot: ONNX Runtime on one thread, no torch. Place, yaw, and how sure it is.

`data/locators/<run>/{locator.onnx, manifest.json, golden.npz}`; the manifest holds the hash of the two others and is
written last. Whoever loads it computes the golden pairs again.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf

from bridge.observation import CameraView, ImageKind
from bridge.ports import Frame, Intrinsics
from calibration.artifacts import write_atomic
from calibration.lens import undistort
from perception.errors import LocatorUnfit, NothingStandsOut, PoseUncertain
from perception.view import picture_for, view_intrinsics
from urdf.description import ArmDescription, CameraMount
from urdf.pose import Array, Pose

SCHEMA = 1
ONNX_NAME, MANIFEST_NAME, GOLDEN_NAME = "locator.onnx", "manifest.json", "golden.npz"
GOLDEN_TOLERANCE = 1e-4
#: Depth is cut off here before the network sees it: wrist cameras see 7 to 31 cm.
FAR_M = 0.6
#: A block that is less likely to be there than this is not.
_LEAST_LIKELY = 0.5
#: A place that is less sure than this along the desk is of no use to a gripper that opens 57 mm.
_MOST_UNSURE_M = 0.03


class LocatorManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a locator was made for, and how good it was on pictures it had never met.

    `sigma_scale`: its standard deviations times this are right on those. Errors in metres of the desk frame, the
    camera's pose being known.
    """

    schema: int
    arm: str
    arm_sha256: str
    rig: str
    camera: str
    kinds: tuple[ImageKind, ...]
    side_px: int
    fov_y_rad: float
    block_size_m: float
    randomization: str
    scenes: int
    sigma_scale: float
    median_error_m: float
    p95_error_m: float
    median_yaw_error_rad: float
    training_run: str
    git_commit: str
    versions: dict[str, str]
    onnx_sha256: str
    golden_sha256: str


@dataclass(frozen=True, slots=True)
class Located:
    """Where a block is in the desk frame, with the covariance (6, 6) of x y z [m] and a small rotation [rad]."""

    desk_from_block: Pose
    covariance: Array
    pixel: Array
    likely: float


def network_input(pictures: Mapping[ImageKind, NDArray[np.generic]]) -> NDArray[np.float32]:
    """Return what the network sees (n, c, h, w) of pictures (n, C, H, W) by kind: depth in metres, colours as bytes.

    Depth makes two channels: decimetres from the middle one of the picture, holes being in the middle, and where holes
    are. A hole that read 0 would be the brightest thing in it.
    """
    parts: list[NDArray[np.float32]] = []
    for kind in sorted(pictures):
        part = np.asarray(pictures[kind], dtype=np.float32)
        if kind is not ImageKind.DEPTH:
            parts.append(part / np.float32(255.0))
            continue
        holes = part <= 0
        near = np.where(holes, np.nan, np.minimum(part, FAR_M))
        near[holes.all(axis=(1, 2, 3))] = FAR_M
        middle = np.nanmedian(near, axis=(1, 2, 3), keepdims=True)
        parts += [np.where(holes, 0.0, 10.0 * (near - middle)).astype(np.float32), holes.astype(np.float32)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


def place_on_desk(
    outputs: Array, sigma_scale: float, lens: Intrinsics, desk_from_camera: Pose, height_m: float
) -> Located:
    """Return where a block of which the network said `outputs` (9,) is: its ray, cut at the height of its centre.

    The yaw that the network tells is that against the camera's own heading along the desk.
    """
    sides = np.array([lens.width_px - 1, lens.height_px - 1]) / 2
    pixel = (outputs[:2] + 1.0) * sides

    def on_desk(at_px: Array) -> Array:
        x, y = undistort(at_px[None], lens)[0]
        ray = desk_from_camera.rotation @ np.array([x, y, 1.0])
        if ray[2] > -1e-3:
            raise PoseUncertain("the camera does not look down at the place where the block seems to be")
        return (desk_from_camera.position_m + ray * (height_m - desk_from_camera.position_m[2]) / ray[2])[:2]

    place = on_desk(pixel)
    slopes = np.stack([(on_desk(pixel + d) - on_desk(pixel - d)) / 0.2 for d in 0.1 * np.eye(2)], axis=1)
    sigma = np.exp(outputs[2:4]) * sides * sigma_scale
    rho = 0.98 * math.tanh(float(outputs[4]))
    spread = np.array([[sigma[0] ** 2, rho * sigma[0] * sigma[1]], [rho * sigma[0] * sigma[1], sigma[1] ** 2]])
    covariance = np.zeros((6, 6))
    covariance[:2, :2] = slopes @ spread @ slopes.T
    covariance[2, 2] = 0.001**2
    covariance[3, 3] = covariance[4, 4] = math.radians(1.0) ** 2
    covariance[5, 5] = (math.exp(float(outputs[7])) * sigma_scale / 4) ** 2
    yaw = math.atan2(float(outputs[6]), float(outputs[5])) / 4 + heading(desk_from_camera)
    yaw = (yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4
    pose = Pose.from_rpy([*place, height_m], [0.0, 0.0, yaw])
    return Located(pose, covariance, pixel, 1.0 / (1.0 + math.exp(-float(outputs[8]))))


def heading(desk_from_camera: Pose) -> float:
    """Return which way the picture's columns run along the desk [rad]."""
    right = desk_from_camera.rotation[:, 0]
    return math.atan2(float(right[1]), float(right[0]))


class LearnedLocator:
    """The locator in a folder. Raises LocatorUnfit where that is damaged, or computes other numbers than when saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = load_manifest(folder)
        onnx = _read(folder, ONNX_NAME, self.manifest.onnx_sha256)
        golden = _read(folder, GOLDEN_NAME, self.manifest.golden_sha256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
            with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
                worst = float(np.abs(self.outputs(arrays["pictures"]) - arrays["outputs"]).max())
        except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, OSError, ValueError, KeyError) as error:
            raise LocatorUnfit(f"{folder}: the locator cannot be loaded: {error}; train it again") from error
        except zipfile.BadZipFile as error:
            raise LocatorUnfit(f"{folder / GOLDEN_NAME} is damaged: {error}; train it again") from error
        if not worst <= GOLDEN_TOLERANCE:
            raise LocatorUnfit(
                f"{folder}: the network gives other numbers than when it was saved: largest difference {worst:.1e}, "
                f"allowed {GOLDEN_TOLERANCE:.0e}"
            )

    def outputs(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network says (n, 9) of pictures (n, c, h, w) as `network_input` makes them."""
        return np.asarray(self._session.run(["outputs"], {"pictures": pictures})[0])

    def check(self, description: ArmDescription, rig: str, mount: CameraMount) -> None:
        """Raise LocatorUnfit unless the locator was trained for this camera of this arm in this rig."""
        m = self.manifest
        wanted = (m.arm, m.arm_sha256, m.rig, m.camera, round(m.fov_y_rad, 6))
        here = (description.name, description.sha256, rig, mount.name, round(mount.fov_y_rad, 6))
        names = ("arm", "description of the arm", "rig", "camera", "field of view [rad]")
        for name, a, b in zip(names, wanted, here, strict=True):
            if a != b:
                raise LocatorUnfit(f"{self.folder}: trained for {name} {a!r}, here it is {b!r}: tandem train-locator")

    def locate(self, frame: Frame, mount: CameraMount, desk_from_camera: Pose) -> Located:
        """Return where the block is in a camera's picture.

        Raises NothingStandsOut where it is not in sight, PoseUncertain where its place is too unsure, and what
        `picture_for` raises.
        """
        m = self.manifest
        views = {kind: CameraView(m.camera, kind, m.side_px, m.side_px) for kind in m.kinds}
        pictures = {kind: picture_for(frame, view, mount)[None] for kind, view in views.items()}
        outputs = self.outputs(network_input(pictures))[0].astype(np.float64)
        lens = view_intrinsics(mount, views[m.kinds[0]])
        found = place_on_desk(outputs, m.sigma_scale, lens, desk_from_camera, m.block_size_m / 2)
        if found.likely < _LEAST_LIKELY:
            raise NothingStandsOut(f"the block is in this picture with a likelihood of {100 * found.likely:.0f} % only")
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(found.covariance[:2, :2])[-1]))
        if sigma_m > _MOST_UNSURE_M:
            raise PoseUncertain(f"the block's place is unsure by {1000 * sigma_m:.0f} mm (one standard deviation)")
        return found


def save_locator(
    folder: Path,
    manifest: LocatorManifest,
    onnx: bytes,
    pictures: NDArray[np.float32],
    network: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> LearnedLocator:
    """Write a locator with golden pairs from `network` on `pictures`; return it loaded again, which compares them."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, pictures=pictures, outputs=network(pictures))
    write_atomic(folder / ONNX_NAME, onnx)
    write_atomic(folder / GOLDEN_NAME, buffer.getvalue())
    whole = msgspec.structs.replace(manifest, onnx_sha256=_sha256(onnx), golden_sha256=_sha256(buffer.getvalue()))
    write_atomic(folder / MANIFEST_NAME, msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")
    return LearnedLocator(folder)


def load_manifest(folder: Path) -> LocatorManifest:
    """Return the manifest of a locator; raises LocatorUnfit."""
    try:
        manifest = msgspec.json.decode(_read(folder, MANIFEST_NAME), type=LocatorManifest)
    except msgspec.MsgspecError as error:
        raise LocatorUnfit(f"{folder / MANIFEST_NAME}: {error}; expected a locator of schema {SCHEMA}") from error
    if manifest.schema != SCHEMA:
        raise LocatorUnfit(f"{folder}: schema {manifest.schema}, this version reads {SCHEMA}: train it again")
    return manifest


def _read(folder: Path, name: str, sha256: str | None = None) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise LocatorUnfit(f"{folder / name}: {error.strerror}; tandem train-locator makes one") from error
    if sha256 is not None and _sha256(data) != sha256:
        raise LocatorUnfit(f"{folder / name} is not the file that the manifest was written for: copy the folder again")
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
