"""A trained policy as it runs on a robot: ONNX Runtime on one thread, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
)

from bridge.encoding import proprioception_layout
from bridge.errors import PolicyMismatch
from bridge.observation import ObservationSpec, Observed
from policies.artifact import (
    GOLDEN_TOLERANCE,
    GoldenPairs,
    InputRecord,
    Layout,
    LayoutRecord,
    PolicyManifest,
    SpecRecord,
    load_artifact,
)
from policies.errors import ArtifactError
from urdf.description import ArmDescription

#: Observations as a learner keeps them: an array, or arrays by part.
_Batch: TypeAlias = NDArray[np.generic] | Mapping[str, NDArray[np.generic]]
_ACTION = ["action"]
#: What ONNX Runtime calls the types of the inputs.
_ONNX_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)", "uint8": "tensor(uint8)"}


class OnnxPolicy:
    """The deterministic policy of a policy folder; implements `bridge.ports.Policy`.

    Loading computes the golden pairs again and raises PolicyMismatch where an action differs by more than 1e-5.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest, onnx, golden = load_artifact(folder)
        options = onnxruntime.SessionOptions()
        # More threads than one cost more than they give for networks this small, and steal the control loop's core.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented) as error:
            raise ArtifactError(f"{folder}: ONNX Runtime cannot load the network: {error}") from error
        self._inputs = [(i, i.name, (1, *i.shape), np.dtype(i.dtype)) for i in self.manifest.inputs]
        _check_network(self._session, self.manifest, folder)
        check_agreement(self, golden)

    @property
    def spec(self) -> ObservationSpec:
        """What the policy reads."""
        return self.manifest.reads.spec()

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the action (a,) in [-1, 1] for one observation: an array where one part is read, or parts by name.

        Parts that the policy does not read are left alone; raises PolicyMismatch for one that is missing or other than
        what it was trained on.
        """
        parts = self._parts(observation)
        feed: dict[str, NDArray[np.generic]] = {}
        for item, name, shape, dtype in self._inputs:
            part = np.asarray(parts.get(name))[None]
            if part.shape != shape or part.dtype != dtype:
                raise self._misfit(item, observation, "")
            feed[name] = part
        # Binding buffers that are made once saves 1 us of 8, and makes two calls at a time overwrite each other.
        return np.asarray(self._session.run(_ACTION, feed)[0])[0]

    def act_batch(self, observations: _Batch) -> NDArray[np.float32]:
        """Return the actions (n, a) for n observations at once, every part (n, ...)."""
        parts = self._parts(observations)
        feed: dict[str, NDArray[np.generic]] = {}
        counts: set[int] = set()
        for item, name, shape, dtype in self._inputs:
            part = np.asarray(parts.get(name))
            if part.ndim != len(shape) or part.shape[1:] != shape[1:] or part.dtype != dtype:
                raise self._misfit(item, observations, "n times ")
            feed[name] = part
            counts.add(len(part))
        if len(counts) > 1:
            raise PolicyMismatch(f"{self.folder}: the parts are of different numbers of observations: {sorted(counts)}")
        return np.asarray(self._session.run(_ACTION, feed)[0])

    def _parts(self, observation: _Batch) -> Mapping[str, NDArray[np.generic]]:
        """Return the observation by part; raises PolicyMismatch where an array cannot be one."""
        if isinstance(observation, Mapping):
            return observation
        if len(self._inputs) == 1:
            return {self._inputs[0][1]: observation}
        raise PolicyMismatch(f"{self.folder}: expected the parts {self._expected()}; got one array without a name")

    def _misfit(self, item: InputRecord, observation: _Batch, count: str) -> PolicyMismatch:
        """Return the error of a part that is missing or other than expected."""
        if isinstance(observation, Mapping) and item.name not in observation:
            found = ", ".join(observation) or "no part at all"
            return PolicyMismatch(
                f"{self.folder}: part {item.name!r} is missing; expected {self._expected()}; got {found}"
            )
        part = np.asarray(self._parts(observation)[item.name])
        return PolicyMismatch(
            f"{self.folder}: part {item.name!r} must be {count}{item.dtype} {item.shape}, got {part.dtype} {part.shape}"
        )

    def _expected(self) -> str:
        return ", ".join(map(str, self.manifest.inputs))

    def check(self, description: ArmDescription, rig: str, observation_layout: Layout, spec: ObservationSpec) -> None:
        """Raise PolicyMismatch unless the policy was made for this arm, rig and observation.

        `observation_layout` is that of the task's whole state, `spec` what is observed, which may be more than
        the policy reads. Call it before the arm moves.
        """
        check_manifest(self.manifest, self.folder, description, rig, observation_layout, spec)

    def check_control(
        self, action_name: str, action_version: int, action_names: tuple[str, ...], rate_hz: float
    ) -> None:
        """Raise PolicyMismatch unless the policy's actions mean what the loop makes of them, at the loop's rate."""
        live = LayoutRecord(action_name, action_version, action_names)
        if self.manifest.action != live:
            raise PolicyMismatch(f"policy {self.folder} gives actions {self.manifest.action}, the loop wants {live}")
        if self.manifest.control_rate_hz != rate_hz:
            rates = f"{self.manifest.control_rate_hz:g} Hz, the loop runs at {rate_hz:g} Hz"
            raise PolicyMismatch(f"policy {self.folder} decides in periods of {rates}")


def check_manifest(
    manifest: PolicyManifest,
    folder: Path,
    description: ArmDescription,
    rig: str,
    observation_layout: Layout,
    spec: ObservationSpec,
) -> None:
    """Raise PolicyMismatch unless `manifest` was made for this arm, rig and observation."""
    found: list[str] = []
    if manifest.arm != description.name:
        found.append(f"it was trained for arm {manifest.arm!r}, this arm is {description.name!r}")
    elif manifest.arm_sha256 != description.sha256:
        found.append(
            f"it was trained for {manifest.arm!r} with description {manifest.arm_sha256[:12]}…, "
            f"the description is now {description.sha256[:12]}… (kinematics, limits, gripper or tool changed)"
        )
    if manifest.rig != rig:
        found.append(f"it was trained on rig {manifest.rig!r}, this rig is {rig!r}")
    if manifest.reads.state:
        found += _layout_difference(manifest.observation, LayoutRecord.of(observation_layout))
    if manifest.proprioception is not None and manifest.arm == description.name:
        found += _layout_difference(manifest.proprioception, LayoutRecord.of(proprioception_layout(description)))
    found += _not_observed(manifest.reads, spec)
    if found:
        raise PolicyMismatch(f"policy {folder} does not fit: " + "; ".join(found) + "; train it again for this setup")


def _layout_difference(trained: LayoutRecord, live: LayoutRecord) -> list[str]:
    if trained == live:
        return []
    text = f"it expects observation {trained}, this version makes {live}"
    for index, (a, b) in enumerate(zip(trained.feature_names, live.feature_names, strict=False)):
        if a != b:
            return [f"{text}; first difference at number {index}: {a!r}, now {b!r}"]
    return [text]


def _not_observed(reads: SpecRecord, spec: ObservationSpec) -> list[str]:
    """Return what a policy reads and an observation of `spec` does not have."""
    wanted = reads.spec()
    names = [name for name in wanted.part_names if name not in spec.part_names]
    found = [f"it reads {name!r}, the observation has {', '.join(spec.part_names)}" for name in names]
    if wanted.state and spec.state and wanted.object_pose != spec.object_pose:
        tells = {True: "tells where the object is", False: "does not tell where the object is"}
        found.append(f"it reads a state that {tells[wanted.object_pose]}, this one {tells[spec.object_pose]}")
    live = {view.key: view for view in spec.views}
    for view in wanted.views:
        other = live.get(view.key, view)
        if other != view:
            sizes = f"{view.width_px}x{view.height_px}, these have {other.width_px}x{other.height_px}"
            found.append(f"it reads {view.key!r} of {sizes} pixels")
    if wanted.views and wanted.frames != spec.frames:
        found.append(f"it reads stacks of {wanted.frames} pictures, these are of {spec.frames}")
    return found


def _check_network(session: onnxruntime.InferenceSession, manifest: PolicyManifest, folder: Path) -> None:
    """Raise ArtifactError unless the network has the inputs that the manifest lists, and an action."""
    found = [(i.name, list(i.shape[1:]), i.type) for i in session.get_inputs()]
    expected = [(i.name, list(i.shape), _ONNX_TYPES[i.dtype]) for i in manifest.inputs]
    outputs, wanted = [(o.name, o.type) for o in session.get_outputs()], [(_ACTION[0], _ONNX_TYPES["float32"])]
    if found != expected or outputs != wanted:
        raise ArtifactError(
            f"{folder}: the manifest asks for inputs {expected} and the output {wanted}, the network has {found} and "
            f"{outputs}; copy the folder again"
        )


def check_agreement(policy: OnnxPolicy, golden: GoldenPairs) -> None:
    """Raise PolicyMismatch where a policy's actions are not those of the pairs."""
    actions = policy.act_batch(golden.observations)
    if actions.shape != golden.actions.shape:
        raise PolicyMismatch(f"{policy.folder}: golden actions have shape {golden.actions.shape}, got {actions.shape}")
    worst = float(np.abs(actions - golden.actions).max())
    if not worst <= GOLDEN_TOLERANCE:  # also refuses NaN
        raise PolicyMismatch(
            f"{policy.folder}: the network gives other actions than when it was saved: largest difference "
            f"{worst:.2e}, allowed {GOLDEN_TOLERANCE:.0e}; export it again from its run, or copy the folder again"
        )
