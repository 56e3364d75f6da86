from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from bridge.errors import PolicyMismatch
from bridge.observation import CameraView, ImageKind, ObservationSpec
from policies import artifact
from policies.artifact import (
    GoldenPairs,
    InputRecord,
    LayoutRecord,
    PolicyManifest,
    load_artifact,
    load_manifest,
    sha256_of,
)
from policies.errors import ArtifactError
from policies.export import export_policy, network_actions
from policies.onnx_policy import OnnxPolicy
from policies.parts import ALONE
from tests.fakes.policy_folder import STATE, export_untrained, make_manifest
from urdf.description import load_arm

FEATURES = tuple(f"feature_{i}" for i in range(7))
LAYOUT = LayoutRecord("state", 2, FEATURES)


def manifest() -> PolicyManifest:
    return msgspec.structs.replace(make_manifest(), observation=LAYOUT)


class Lone(torch.nn.Module):
    """Reads an observation that is one array."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [torch.nn.Linear(7, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers, torch.nn.Linear(32, 2), torch.nn.Tanh())

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.layers(parts[ALONE])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "policy"
    observations = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    export_policy(folder, Lone(), manifest(), {ALONE: observations})
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def rewrite_golden(folder: Path, change: float) -> None:
    """Store other golden actions, with a manifest that vouches for them: only recomputing can find out."""
    stored, _, golden = load_artifact(folder)
    buffer = io.BytesIO()
    actions = golden.actions.copy()
    actions[3, 1] += change
    np.savez(buffer, allow_pickle=False, actions=actions, **{"observation.state": golden.observations["state"]})
    (folder / artifact.GOLDEN_NAME).write_bytes(buffer.getvalue())
    artifact.write_json(
        folder / artifact.MANIFEST_NAME, msgspec.structs.replace(stored, golden_sha256=sha256_of(buffer.getvalue()))
    )


def test_the_exported_policy_is_the_trained_one(exported: Path) -> None:
    policy = OnnxPolicy(exported)
    observations = np.random.default_rng(7).normal(scale=3.0, size=(500, 7)).astype(np.float32)
    expected = network_actions(Lone(), {ALONE: observations})
    assert np.abs(policy.act_batch(observations) - expected).max() < 1e-5
    single = np.array([policy.act(o) for o in observations])
    assert single.shape == (500, 2)
    assert single.dtype == np.float32
    assert np.abs(single - expected).max() < 1e-5
    assert np.ptp(expected) > 0.1, "a constant network would prove nothing"


def test_the_manifest_survives_the_round_trip(exported: Path) -> None:
    stored = load_manifest(exported)
    assert msgspec.structs.replace(stored, inputs=(), onnx_sha256="", golden_sha256="") == manifest()
    assert stored.inputs == (InputRecord("state", (7,), "float32"),)
    assert stored.onnx_sha256 == sha256_of((exported / "policy.onnx").read_bytes())


def test_golden_actions_that_differ_are_refused(folder: Path) -> None:
    rewrite_golden(folder, 5e-5)
    with pytest.raises(PolicyMismatch, match=r"other actions than when it was saved.*5\.0\de-05"):
        OnnxPolicy(folder)


def test_golden_actions_within_the_tolerance_are_accepted(folder: Path) -> None:
    before = OnnxPolicy(folder).act(np.ones(7, np.float32))
    rewrite_golden(folder, 5e-6)
    np.testing.assert_array_equal(OnnxPolicy(folder).act(np.ones(7, np.float32)), before)


def test_golden_actions_that_are_not_numbers_are_refused(folder: Path) -> None:
    rewrite_golden(folder, float("nan"))
    with pytest.raises(PolicyMismatch, match="nan"):
        OnnxPolicy(folder)


@pytest.mark.parametrize("name", ["policy.onnx", "golden.npz"])
def test_a_truncated_file_is_refused_by_name(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=name):
        OnnxPolicy(folder)


@pytest.mark.parametrize("name", ["policy.onnx", "golden.npz", "manifest.json"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        OnnxPolicy(folder)


def test_an_unreadable_network_is_refused_in_our_own_words(folder: Path) -> None:
    stored, _, _ = load_artifact(folder)
    (folder / "policy.onnx").write_bytes(b"no network")
    artifact.write_json(folder / "manifest.json", msgspec.structs.replace(stored, onnx_sha256=sha256_of(b"no network")))
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load"):
        OnnxPolicy(folder)


def test_a_manifest_with_a_missing_or_unknown_field_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    fields = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**fields, "colour": "red"}))
    with pytest.raises(ArtifactError, match="colour"):
        load_manifest(folder)
    del fields["rig"]
    path.write_bytes(msgspec.json.encode(fields))
    with pytest.raises(ArtifactError, match="rig"):
        load_manifest(folder)


def test_a_manifest_of_another_schema_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), "schema": 99}))
    with pytest.raises(ArtifactError, match="schema 99"):
        load_manifest(folder)


def test_a_manifest_of_the_first_schema_is_refused_for_its_schema_alone(folder: Path) -> None:
    path = folder / "manifest.json"
    fields = msgspec.json.decode(path.read_bytes())
    for name in ("reads", "inputs", "proprioception"):
        del fields[name]
    path.write_bytes(msgspec.json.encode({**fields, "schema": 1}))
    with pytest.raises(ArtifactError, match="schema 1, this version reads 2: train the policy again"):
        load_manifest(folder)


def test_pickled_golden_arrays_are_not_unpickled(folder: Path) -> None:
    stored, _, _ = load_artifact(folder)
    buffer = io.BytesIO()
    np.savez(buffer, **{"observation.state": np.array([{"a": 1}], dtype=object), "actions": np.zeros((1, 2))})
    (folder / "golden.npz").write_bytes(buffer.getvalue())
    artifact.write_json(
        folder / "manifest.json", msgspec.structs.replace(stored, golden_sha256=sha256_of(buffer.getvalue()))
    )
    with pytest.raises(ArtifactError, match="allow_pickle=False"):
        OnnxPolicy(folder)


@dataclass(frozen=True)
class LiveLayout:
    """A layout as another room would hold it: not our record class."""

    name: str = "state"
    version: int = 2
    feature_names: tuple[str, ...] = FEATURES


def test_the_setup_it_was_trained_for_is_accepted(exported: Path) -> None:
    OnnxPolicy(exported).check(load_arm("dofbot"), "table", LiveLayout(), STATE)


def test_a_foreign_arm_rig_or_layout_is_refused_and_named(exported: Path) -> None:
    policy, arm = OnnxPolicy(exported), load_arm("dofbot")
    with pytest.raises(PolicyMismatch, match="arm 'dofbot', this arm is 'dofbot-se'"):
        policy.check(replace(arm, name="dofbot-se"), "table", LiveLayout(), STATE)
    with pytest.raises(PolicyMismatch, match="description"):
        policy.check(replace(arm, sha256="0" * 64), "table", LiveLayout(), STATE)
    with pytest.raises(PolicyMismatch, match="rig 'table', this rig is 'hanging'"):
        policy.check(arm, "hanging", LiveLayout(), STATE)
    with pytest.raises(PolicyMismatch, match=r"state v2 .*state v3"):
        policy.check(arm, "table", LiveLayout(version=3), STATE)
    swapped = (FEATURES[1], FEATURES[0], *FEATURES[2:])
    with pytest.raises(PolicyMismatch, match="first difference at number 0: 'feature_0', now 'feature_1'"):
        policy.check(arm, "table", LiveLayout(feature_names=swapped), STATE)


def test_an_observation_of_another_size_is_refused(exported: Path) -> None:
    with pytest.raises(PolicyMismatch, match=r"part 'state' must be float32 \(7,\), got float32 \(6,\)"):
        OnnxPolicy(exported).act(np.zeros(6, dtype=np.float32))


def test_golden_pairs_of_another_size_are_refused(tmp_path: Path) -> None:
    golden = GoldenPairs({"state": np.zeros((4, 6), np.float32)}, np.zeros((4, 2), np.float32))
    stored = msgspec.structs.replace(manifest(), inputs=manifest().expected_inputs())
    artifact.save_artifact(tmp_path, stored, b"onnx", golden)
    with pytest.raises(ArtifactError, match=r"\(4, 6\)"):
        load_artifact(tmp_path)


def test_loading_a_policy_loads_no_torch(exported: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from policies.onnx_policy import OnnxPolicy; "
        f"OnnxPolicy(Path({str(exported)!r})); "
        "print([m for m in ('torch', 'stable_baselines3', 'gymnasium', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_golden_pictures_are_kept_small(tmp_path: Path) -> None:
    """Noise is the worst that can be compressed; the pictures of a desk take a third."""
    spec = ObservationSpec(state=False, views=(CameraView("wrist", ImageKind.DEPTH),), frames=3)
    policy = export_untrained(tmp_path, make_manifest(spec))
    pictures = load_artifact(tmp_path)[2].observations["wrist_depth"]
    assert (tmp_path / artifact.GOLDEN_NAME).stat().st_size < 0.95 * pictures.nbytes
    assert pictures.shape == (8, 3, 64, 64)
    assert policy.spec == spec


def test_the_network_does_not_tell_where_it_was_trained(tmp_path: Path) -> None:
    export_untrained(tmp_path, make_manifest())
    network = (tmp_path / artifact.ONNX_NAME).read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in network
    assert b'.py"' not in network
