"""A saved policy: `policy/{policy.onnx, manifest.json, golden.npz}`. Nothing here is ever unpickled.

The manifest says what the policy was made for and carries the hashes of the two other files; it is written last,
so that a folder with a valid manifest is whole. The golden pairs are observations and the actions that the trained
network gave for them: whoever loads the policy computes them again.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.artifacts import write_atomic
from policies.errors import ArtifactError

SCHEMA = 1
ONNX_NAME, MANIFEST_NAME, GOLDEN_NAME = "policy.onnx", "manifest.json", "golden.npz"
#: Largest difference between a golden action and the one computed again.
GOLDEN_TOLERANCE = 1e-5


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


class PolicyManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a policy was made for, and where it comes from. Every field is required."""

    schema: int
    task: str
    rig: str
    arm: str
    arm_sha256: str
    observation: LayoutRecord
    action: LayoutRecord
    control_rate_hz: float
    action_repeat: int
    normaliser: str
    training_run: str
    git_commit: str
    versions: dict[str, str]
    onnx_sha256: str
    golden_sha256: str


@dataclass(frozen=True, slots=True)
class GoldenPairs:
    """Observations (n, d) and the actions (n, a) that the trained network gave for them, float32."""

    observations: NDArray[np.float32]
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
    np.savez(buffer, observations=golden.observations, actions=golden.actions)
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


def load_manifest(folder: Path) -> PolicyManifest:
    """Return the manifest of a policy folder; raises ArtifactError when it is missing, damaged or foreign."""
    data = _read(folder, MANIFEST_NAME)
    try:
        manifest = msgspec.json.decode(data, type=PolicyManifest)
    except msgspec.MsgspecError as error:
        raise ArtifactError(
            f"{folder / MANIFEST_NAME}: {error}; expected a policy manifest of schema {SCHEMA}"
        ) from error
    if manifest.schema != SCHEMA:
        raise ArtifactError(f"{folder / MANIFEST_NAME}: schema {manifest.schema}, this version reads {SCHEMA}")
    return manifest


def load_artifact(folder: Path) -> tuple[PolicyManifest, bytes, GoldenPairs]:
    """Return manifest, ONNX bytes and golden pairs of a policy folder; raises ArtifactError."""
    manifest = load_manifest(folder)
    onnx = _read(folder, ONNX_NAME, manifest.onnx_sha256)
    golden_bytes = _read(folder, GOLDEN_NAME, manifest.golden_sha256)
    try:
        with np.load(io.BytesIO(golden_bytes), allow_pickle=False) as arrays:
            golden = GoldenPairs(arrays["observations"], arrays["actions"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{folder / GOLDEN_NAME}: {error}; expected arrays observations and actions") from error
    count = len(golden.observations)
    expected = (count, len(manifest.observation.feature_names)), (count, len(manifest.action.feature_names))
    if count == 0 or (golden.observations.shape, golden.actions.shape) != expected:
        raise ArtifactError(
            f"{folder / GOLDEN_NAME}: shapes {golden.observations.shape} and {golden.actions.shape} do not fit "
            f"the manifest's {manifest.observation} and {manifest.action}"
        )
    return manifest, onnx, golden
