"""A trained policy as it runs on a robot: ONNX Runtime on one thread, no torch."""

from __future__ import annotations

from pathlib import Path

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

from bridge.errors import PolicyMismatch
from policies.artifact import GOLDEN_TOLERANCE, GoldenPairs, Layout, LayoutRecord, PolicyManifest, load_artifact
from policies.errors import ArtifactError
from urdf.description import ArmDescription


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
        self._input = self._session.get_inputs()[0].name
        _check_golden(self, golden)

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action (a,) in [-1, 1] for one observation (d,)."""
        return self.act_batch(np.asarray(observation, dtype=np.float32)[None])[0]

    def act_batch(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the actions (n, a) for observations (n, d)."""
        width = len(self.manifest.observation.feature_names)
        if observations.ndim != 2 or observations.shape[1] != width:
            raise PolicyMismatch(
                f"{self.folder}: expected observations of {width} numbers ({self.manifest.observation}), "
                f"got shape {observations.shape}"
            )
        outputs = self._session.run(None, {self._input: observations.astype(np.float32, copy=False)})
        return np.asarray(outputs[0], dtype=np.float32)

    def check(self, description: ArmDescription, rig: str, observation_layout: Layout) -> None:
        """Raise PolicyMismatch unless the policy was made for this arm, rig and observation layout.

        Call it before the arm moves.
        """
        check_manifest(self.manifest, self.folder, description, rig, observation_layout)

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
    manifest: PolicyManifest, folder: Path, description: ArmDescription, rig: str, observation_layout: Layout
) -> None:
    """Raise PolicyMismatch unless `manifest` was made for this arm, rig and observation layout."""
    layout = LayoutRecord.of(observation_layout)
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
    if manifest.observation != layout:
        found.append(_layout_difference(manifest.observation, layout))
    if found:
        raise PolicyMismatch(f"policy {folder} does not fit: " + "; ".join(found) + "; train it again for this setup")


def _layout_difference(trained: LayoutRecord, live: LayoutRecord) -> str:
    text = f"it expects observation {trained}, this version makes {live}"
    for index, (a, b) in enumerate(zip(trained.feature_names, live.feature_names, strict=False)):
        if a != b:
            return f"{text}; first difference at number {index}: {a!r}, now {b!r}"
    return text


def _check_golden(policy: OnnxPolicy, golden: GoldenPairs) -> None:
    actions = policy.act_batch(golden.observations)
    if actions.shape != golden.actions.shape:
        raise PolicyMismatch(f"{policy.folder}: golden actions have shape {golden.actions.shape}, got {actions.shape}")
    worst = float(np.abs(actions - golden.actions).max())
    if not worst <= GOLDEN_TOLERANCE:  # also refuses NaN
        raise PolicyMismatch(
            f"{policy.folder}: the network gives other actions than when it was saved: largest difference "
            f"{worst:.2e}, allowed {GOLDEN_TOLERANCE:.0e}; export it again from its run, or copy the folder again"
        )
