"""Saved policies that nobody trained: real networks, real exports, for any observation of the Dofbot's grasp."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from bridge.actions import LATERAL_ACTION
from bridge.encoding import GRASP_STATE
from bridge.observation import ObservationSpec
from policies import artifact
from policies.artifact import LayoutRecord, PolicyManifest, SpecRecord, proprioception_record
from policies.export import export_policy
from policies.networks import Encoder, EncoderKind
from policies.onnx_policy import OnnxPolicy
from policies.sac import Actor, DeterministicPolicy
from urdf.description import load_arm

STATE = ObservationSpec()


def make_manifest(spec: ObservationSpec = STATE, rig: str = "table", arm_sha256: str = "") -> PolicyManifest:
    """Return the manifest of a policy for the Dofbot's grasp."""
    arm = load_arm("dofbot")
    return PolicyManifest(
        schema=artifact.SCHEMA,
        task="grasp",
        rig=rig,
        arm="dofbot",
        arm_sha256=arm_sha256 or arm.sha256,
        reads=SpecRecord.of(spec),
        inputs=(),
        observation=LayoutRecord.of(GRASP_STATE),
        proprioception=proprioception_record(arm, spec),
        action=LayoutRecord(LATERAL_ACTION.name, LATERAL_ACTION.version, LATERAL_ACTION.names),
        control_rate_hz=20.0,
        action_repeat=3,
        normaliser="none",
        training_run="made_up",
        git_commit="abc",
        versions={},
        onnx_sha256="",
        golden_sha256="",
    )


def untrained(
    manifest: PolicyManifest,
    encoder: EncoderKind = EncoderKind.STRIDED,
    spatial_softmax: bool = False,
    coordinates: bool = False,
) -> DeterministicPolicy:
    """Return a network with random weights that reads what the manifest says."""
    torch.manual_seed(0)
    boxes = {i.name: gymnasium.spaces.Box(0, 200, i.shape, np.dtype(i.dtype).type) for i in manifest.expected_inputs()}
    seen = Encoder(boxes, encoder, 64, spatial_softmax, coordinates)
    return DeterministicPolicy(seen, Actor(seen.size, (64, 64), len(manifest.action.feature_names)))


def draw(manifest: PolicyManifest, count: int, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Return random observations by part, each (count, ...)."""
    rng = np.random.default_rng(seed)
    parts: dict[str, NDArray[np.generic]] = {}
    for item in manifest.expected_inputs():
        shape = (count, *item.shape)
        if item.dtype == "uint8":
            parts[item.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif item.dtype == "float16":
            parts[item.name] = rng.uniform(0.0, 0.8, shape).astype(np.float16)
        else:
            parts[item.name] = rng.normal(size=shape).astype(np.float32)
    return parts


def export_untrained(folder: Path, manifest: PolicyManifest) -> OnnxPolicy:
    """Write a policy folder for a manifest; return it loaded."""
    return export_policy(folder, untrained(manifest), manifest, draw(manifest, 8))
