"""A saved policy: `policy/{policy.onnx, manifest.json, golden.npz}`. Nothing here is ever unpickled.

The manifest says what the policy was made for and carries the hashes of the two other files; it is written last,
so that a folder with a valid manifest is whole. The golden pairs are observations, part by part, and the actions that
the trained network gave for them: whoever loads the policy computes them again.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.encoding import ObservationLayout, proprioception_layout
from bridge.errors import BridgeError
from bridge.observation import PRIVILEGED, PROPRIOCEPTION, STATE, CameraView, ImageKind, ObservationSpec
from calibration.artifacts import write_atomic
from policies.errors import ArtifactError
from urdf.description import ArmDescription

#: 2: a policy reads any observation, part by part. Policies of schema 1 read one vector.
SCHEMA = 2
ONNX_NAME, MANIFEST_NAME, GOLDEN_NAME = "policy.onnx", "manifest.json", "golden.npz"
#: Largest difference between a golden action and the one computed again.
GOLDEN_TOLERANCE = 1e-5
_OBSERVATION = "observation."


class Layout(Protocol):
    """What a vector means: a name, a version, and one name per number."""

    @property
    def name(self) -> str:
        """The layout's name."""
        ...

    @property
    def version(self) -> int:
        """Raised whenever a number changes its meaning, unit, scale or place."""
        ...

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per number, in order."""
        ...


class LayoutRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layout as the manifest keeps it."""

    name: str
    version: int
    feature_names: tuple[str, ...]

    @staticmethod
    def of(layout: Layout) -> LayoutRecord:
        """Return the record of a live layout."""
        return LayoutRecord(layout.name, layout.version, tuple(layout.feature_names))

    def __str__(self) -> str:
        return f"{self.name} v{self.version} ({len(self.feature_names)} numbers)"


def proprioception_record(description: ArmDescription, spec: ObservationSpec) -> LayoutRecord | None:
    """Return the layout of an arm's proprioception, None where a spec has none."""
    return LayoutRecord.of(proprioception_layout(description)) if spec.proprioception else None


class ViewRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A camera view as the manifest keeps it."""

    camera: str
    kind: ImageKind
    width_px: int
    height_px: int


class SpecRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy reads, as the manifest keeps it: an ObservationSpec that cannot ask for what is privileged."""

    state: bool
    object_pose: bool
    proprioception: bool
    views: tuple[ViewRecord, ...]
    frames: int

    @staticmethod
    def of(spec: ObservationSpec) -> SpecRecord:
        """Return the record of a spec; raises ArtifactError where a part is privileged."""
        if spec.privileged:
            raise ArtifactError(
                f"a saved policy cannot read the part {PRIVILEGED!r}: only the simulator knows it, so it is for "
                "critics alone; leave it out of what the actor sees (ObservationSpec(privileged=False))"
            )
        views = tuple(ViewRecord(v.camera, v.kind, v.width_px, v.height_px) for v in spec.views)
        return SpecRecord(spec.state, spec.object_pose, spec.proprioception, views, spec.frames)

    def spec(self) -> ObservationSpec:
        """Return the spec; raises BridgeError where there is none such."""
        views = tuple(CameraView(v.camera, v.kind, v.width_px, v.height_px) for v in self.views)
        return ObservationSpec(self.state, self.object_pose, self.proprioception, views, self.frames)


class InputRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the network: a part of the observation, and what one of it is."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16", "uint8"]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.shape}"


class PolicyManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy was made for, and where it comes from. Every field is required.

    `observation` is the layout of the task's whole state, whether or not the policy reads it; `proprioception` is None
    where it is not read. `inputs` follow the order of the network's inputs and have the names of the spec's parts.
    """

    schema: int
    task: str
    rig: str
    arm: str
    arm_sha256: str
    reads: SpecRecord
    inputs: tuple[InputRecord, ...]
    observation: LayoutRecord
    proprioception: LayoutRecord | None
    action: LayoutRecord
    control_rate_hz: float
    action_repeat: int
    normaliser: str
    training_run: str
    git_commit: str
    versions: dict[str, str]
    onnx_sha256: str
    golden_sha256: str

    def expected_inputs(self) -> tuple[InputRecord, ...]:
        """Return the inputs that follow from what is read, in the order of the spec's parts; raises BridgeError."""
        spec = self.reads.spec()
        inputs: list[InputRecord] = []
        if spec.state:
            layout = ObservationLayout(self.observation.name, self.observation.version, self.observation.feature_names)
            size = layout.size if spec.object_pose else len(layout.without_object())
            inputs.append(InputRecord(STATE, (size,), "float32"))
        if spec.proprioception:
            known = self.proprioception.feature_names if self.proprioception is not None else ()
            inputs.append(InputRecord(PROPRIOCEPTION, (len(known),), "float32"))
        for view in spec.views:
            shape = (view.kind.channels * spec.frames, view.height_px, view.width_px)
            inputs.append(InputRecord(view.key, shape, "float16" if view.kind is ImageKind.DEPTH else "uint8"))
        return tuple(inputs)


@dataclass(frozen=True, slots=True)
class GoldenPairs:
    """Observations by part, each (n, ...), and the actions (n, a) float32 that the trained network gave for them."""

    observations: Mapping[str, NDArray[np.generic]]
    actions: NDArray[np.float32]


def write_json(path: Path, value: msgspec.Struct) -> None:
    """Write a Struct as indented JSON, atomically."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def sha256_of(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def save_artifact(folder: Path, manifest: PolicyManifest, onnx: bytes, golden: GoldenPairs) -> PolicyManifest:
    """Write the three files, the manifest last and with the hashes of the others; return the manifest written."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    parts = {f"{_OBSERVATION}{name}": part for name, part in golden.observations.items()}
    np.savez_compressed(buffer, allow_pickle=False, actions=golden.actions, **parts)
    manifest = msgspec.structs.replace(
        manifest, onnx_sha256=sha256_of(onnx), golden_sha256=sha256_of(buffer.getvalue())
    )
    write_atomic(folder / ONNX_NAME, onnx)
    write_atomic(folder / GOLDEN_NAME, buffer.getvalue())
    write_json(folder / MANIFEST_NAME, manifest)
    return manifest


def _read(folder: Path, name: str, expected_sha256: str | None = None) -> bytes:
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path}: {error.strerror}; a policy folder holds {_FILES}; train or copy it again"
        ) from error
    if expected_sha256 is not None and sha256_of(data) != expected_sha256:
        raise ArtifactError(
            f"{path}: its SHA-256 is {sha256_of(data)[:12]}…, the manifest expects {expected_sha256[:12]}…; "
            "the file is damaged or of another policy; copy the folder again"
        )
    return data


_FILES = f"{ONNX_NAME}, {MANIFEST_NAME} and {GOLDEN_NAME}"


class _Version(msgspec.Struct, frozen=True):
    """What manifests of every schema have."""

    schema: int


def load_manifest(folder: Path) -> PolicyManifest:
    """Return the manifest of a policy folder; raises ArtifactError when it is missing, damaged or foreign."""
    path, data = folder / MANIFEST_NAME, _read(folder, MANIFEST_NAME)
    try:
        version = msgspec.json.decode(data, type=_Version)
        if version.schema != SCHEMA:
            raise ArtifactError(f"{path}: schema {version.schema}, this version reads {SCHEMA}: train the policy again")
        manifest = msgspec.json.decode(data, type=PolicyManifest)
        expected = manifest.expected_inputs()
    except (msgspec.MsgspecError, BridgeError) as error:
        raise ArtifactError(f"{path}: {error}; expected a policy manifest of schema {SCHEMA}") from error
    if manifest.reads.proprioception != (manifest.proprioception is not None):
        raise ArtifactError(f"{path}: a layout of proprioception belongs to policies that read it, and to no others")
    if sorted(manifest.inputs, key=lambda i: i.name) != sorted(expected, key=lambda i: i.name):
        raise ArtifactError(
            f"{path}: what the policy reads makes the inputs {', '.join(map(str, expected))}; the manifest lists "
            f"{', '.join(map(str, manifest.inputs)) or 'none'}"
        )
    return manifest


def load_artifact(folder: Path) -> tuple[PolicyManifest, bytes, GoldenPairs]:
    """Return manifest, ONNX bytes and golden pairs of a policy folder; raises ArtifactError."""
    manifest = load_manifest(folder)
    onnx = _read(folder, ONNX_NAME, manifest.onnx_sha256)
    golden_bytes = _read(folder, GOLDEN_NAME, manifest.golden_sha256)
    names = [item.name for item in manifest.inputs]
    try:
        with np.load(io.BytesIO(golden_bytes), allow_pickle=False) as arrays:
            parts = {name: arrays[f"{_OBSERVATION}{name}"] for name in names}
            golden = GoldenPairs(parts, arrays["actions"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        wanted = ", ".join([*(f"{_OBSERVATION}{name}" for name in names), "actions"])
        raise ArtifactError(f"{folder / GOLDEN_NAME}: {error}; expected the arrays {wanted}") from error
    _check_golden_shapes(folder, manifest, golden)
    return manifest, onnx, golden


def _check_golden_shapes(folder: Path, manifest: PolicyManifest, golden: GoldenPairs) -> None:
    """Raise ArtifactError unless the pairs are as many, and of the shapes and types that the manifest says."""
    count = len(golden.actions)
    found = {name: (part.shape, part.dtype.name) for name, part in golden.observations.items()}
    found["actions"] = (golden.actions.shape, golden.actions.dtype.name)
    expected = {item.name: ((count, *item.shape), str(item.dtype)) for item in manifest.inputs}
    expected["actions"] = ((count, len(manifest.action.feature_names)), "float32")
    wrong = [name for name in expected if found[name] != expected[name]]
    if count == 0 or wrong:
        name = wrong[0] if wrong else "actions"
        raise ArtifactError(
            f"{folder / GOLDEN_NAME}: {name} has shape {found[name][0]} of {found[name][1]}; expected one or more "
            f"pairs, {expected[name][0]} of {expected[name][1]}; copy the folder again"
        )
