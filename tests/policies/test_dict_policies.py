"""Policies of any observation: exported, loaded and asked as on an arm, against the torch network they came from."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bridge.encoding import GRASP_STATE, proprioception_layout
from bridge.errors import PolicyMismatch
from bridge.observation import CameraView, ImageKind, ObservationSpec
from policies import artifact
from policies.artifact import SpecRecord, load_artifact, load_manifest, sha256_of
from policies.errors import ArtifactError
from policies.export import export_policy, network_actions
from policies.networks import EncoderKind
from policies.onnx_policy import OnnxPolicy
from policies.parts import ALONE
from policies.sac import DeterministicPolicy
from tests.fakes.policy_folder import draw, export_untrained, make_manifest, untrained
from urdf.description import load_arm

WRIST = CameraView("wrist", ImageKind.DEPTH)
DEPTH = ObservationSpec(state=False, proprioception=True, views=(WRIST,))
ARM = load_arm("dofbot")
EVERYTHING = ObservationSpec(
    object_pose=False,
    proprioception=True,
    views=(WRIST, CameraView("wrist", ImageKind.GRAY, 48, 40), CameraView("desk", ImageKind.RGB, 40, 40)),
    frames=2,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that reads proprioception and the wrist's depth."""
    folder = tmp_path_factory.mktemp("run") / "policy"
    export_untrained(folder, make_manifest(DEPTH))
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def one(parts: Mapping[str, NDArray[np.generic]], k: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return the k-th of many observations; its pictures are what they are, whatever the checker believes."""
    return {name: part[k] for name, part in parts.items()}  # pyright: ignore[reportReturnType]


def assert_agrees(policy: OnnxPolicy, network: torch.nn.Module, parts: Mapping[str, NDArray[np.generic]]) -> None:
    """Compare 1,000 actions, and the first of them one at a time."""
    expected = network_actions(network, parts)
    assert np.ptp(expected, axis=0).min() > 1e-3, "a constant network would prove nothing"
    actions = policy.act_batch(parts)
    assert (actions.shape, actions.dtype) == ((1000, 2), np.float32)
    assert np.abs(actions - expected).max() <= 1e-5
    single = np.array([policy.act(one(parts, k)) for k in range(50)])
    assert np.abs(single - expected[:50]).max() <= 1e-5


@pytest.mark.parametrize(
    ("encoder", "softmax", "coordinates"),
    [
        pytest.param(EncoderKind.STRIDED, False, False, marks=pytest.mark.deep),
        (EncoderKind.STRIDED, True, True),
        (EncoderKind.NATURE, False, True),
        pytest.param(EncoderKind.IMPALA, True, False, marks=pytest.mark.deep),
    ],
)
def test_every_encoder_acts_as_it_was_trained(
    tmp_path: Path, encoder: EncoderKind, softmax: bool, coordinates: bool
) -> None:
    manifest = make_manifest(DEPTH)
    network = untrained(manifest, encoder, softmax, coordinates)
    policy = export_policy(tmp_path, network, manifest, draw(manifest, 16))
    assert_agrees(OnnxPolicy(tmp_path), network, draw(manifest, 1000, seed=7))
    assert [i.name for i in policy.manifest.inputs] == ["proprioception", "wrist_depth"]


def test_a_policy_of_everything_an_arm_can_see(tmp_path: Path) -> None:
    manifest = make_manifest(EVERYTHING)
    network = untrained(manifest, coordinates=True)
    export_policy(tmp_path, network, manifest, draw(manifest, 8))
    policy = OnnxPolicy(tmp_path)
    # Counted by hand: 9 of the state's 20 numbers tell of the block; 6 joints, 6 speeds and 10 more; two pictures each.
    assert [(i.name, i.shape, i.dtype) for i in policy.manifest.inputs] == [
        ("state", (11,), "float32"),
        ("proprioception", (22,), "float32"),
        ("wrist_depth", (2, 64, 64), "float16"),
        ("wrist_gray", (2, 40, 48), "uint8"),
        ("desk_rgb", (6, 40, 40), "uint8"),
    ]
    assert policy.spec == EVERYTHING
    assert_agrees(policy, network, draw(manifest, 1000, seed=3))


class Normalised(torch.nn.Module):
    """A network that has learnt what its vectors are like, as a buffer."""

    def __init__(self, network: DeterministicPolicy) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.linspace(-2.0, 2.0, 22))
        self.register_buffer("spread", torch.linspace(0.5, 4.0, 22))

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        scaled = (parts["proprioception"] - self.get_buffer("mean")) / self.get_buffer("spread")
        return self.network({**parts, "proprioception": scaled.clamp(-5.0, 5.0)})


def test_a_normaliser_inside_the_network_travels_with_it(tmp_path: Path) -> None:
    manifest = make_manifest(DEPTH)
    network = Normalised(untrained(manifest))
    export_policy(tmp_path, network, manifest, draw(manifest, 8))
    parts = draw(manifest, 1000, seed=5)
    assert_agrees(OnnxPolicy(tmp_path), network, parts)
    assert np.abs(network_actions(network, parts) - network_actions(network.network, parts)).max() > 1e-2


def test_a_lone_picture_is_an_array_or_a_part_by_name(tmp_path: Path) -> None:
    spec = ObservationSpec(state=False, views=(CameraView("wrist", ImageKind.GRAY, 40, 40),))
    manifest = make_manifest(spec)
    network, parts = untrained(manifest), draw(manifest, 20)
    policy = export_policy(tmp_path, FromAlone(network), manifest, {ALONE: parts["wrist_gray"]})
    expected = network_actions(network, parts)
    assert np.abs(policy.act(one(parts)) - expected[0]).max() <= 1e-5
    assert np.abs(policy.act(one(parts)["wrist_gray"]) - expected[0]).max() <= 1e-5
    assert np.abs(policy.act_batch(parts["wrist_gray"]) - expected).max() <= 1e-5


class FromAlone(torch.nn.Module):
    """Reads the only part of an observation as learners call it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.network({"wrist_gray": parts[ALONE]})


def test_exporting_leaves_the_network_in_training_and_pytorch_as_fast_as_it_was(tmp_path: Path) -> None:
    manifest = make_manifest()
    network = untrained(manifest).train()
    torch.set_float32_matmul_precision("medium")
    try:
        export_policy(tmp_path, network, manifest, draw(manifest, 4))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert network.training


class OfTwo(torch.nn.Module):
    """Takes the number of observations from len(), which turns it into a constant."""

    def forward(self, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
        state = parts["state"]
        return torch.zeros(2).expand(len(state), -1) + state[:, :2]


def test_a_network_that_fixes_the_number_of_observations_is_refused(tmp_path: Path) -> None:
    manifest = make_manifest()
    with pytest.raises(ArtifactError, match=r"state of shape \[2, ?20\] alone.*tensor\.shape\[0\]"):
        export_policy(tmp_path, OfTwo(), manifest, draw(manifest, 2))
    assert not (tmp_path / artifact.MANIFEST_NAME).exists()


# What is refused -----------------------------------------------------------------------------------------------------


def test_what_is_privileged_cannot_be_saved(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'privileged'.*only the simulator knows it.*critics alone"):
        SpecRecord.of(ObservationSpec(privileged=True))
    path = folder / artifact.MANIFEST_NAME
    fields = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**fields, "reads": {**fields["reads"], "privileged": True}}))
    with pytest.raises(ArtifactError, match="privileged"):
        load_manifest(folder)


def test_a_network_of_other_parts_than_the_manifest_says_is_not_saved(tmp_path: Path) -> None:
    manifest = make_manifest(DEPTH)
    parts = draw(manifest, 4)
    with pytest.raises(ArtifactError, match=r"reads proprioception float32 \(22,\), wrist_depth .*privileged float32"):
        export_policy(tmp_path, untrained(manifest), manifest, {**parts, "privileged": np.zeros((4, 31), np.float32)})
    with pytest.raises(ArtifactError, match=r"the network reads proprioception float32 \(22,\)$"):
        export_policy(tmp_path, untrained(manifest), manifest, {"proprioception": parts["proprioception"]})
    assert not any(tmp_path.iterdir())


def test_a_missing_part_is_named(exported: Path) -> None:
    policy, seen = OnnxPolicy(exported), one(draw(make_manifest(DEPTH), 1))
    del seen["wrist_depth"]
    with pytest.raises(PolicyMismatch, match=r"part 'wrist_depth' is missing.*wrist_depth float16 \(1, 64, 64\)"):
        policy.act({**seen, "wrist_gray": np.zeros((1, 64, 64), np.uint8)})
    with pytest.raises(PolicyMismatch, match=r"expected the parts proprioception .*one array without a name"):
        policy.act(np.zeros(22, np.float32))


@pytest.mark.parametrize(
    ("name", "expected", "part"),
    [
        ("wrist_depth", r"float16 \(1, 64, 64\)", np.zeros((1, 64, 64), np.float32)),
        ("wrist_depth", r"float16 \(1, 64, 64\)", np.zeros((64, 64), np.float16)),
        ("wrist_depth", r"float16 \(1, 64, 64\)", np.zeros((1, 32, 64), np.float16)),
        ("proprioception", r"float32 \(22,\)", np.zeros(22)),
        ("proprioception", r"float32 \(22,\)", np.zeros(21, np.float32)),
        ("proprioception", r"float32 \(22,\)", np.zeros((1, 22), np.float32)),
    ],
)
def test_a_part_of_another_shape_or_type_is_named(
    exported: Path, name: str, expected: str, part: NDArray[np.float32]
) -> None:
    policy, parts = OnnxPolicy(exported), draw(make_manifest(DEPTH), 3)
    found = re.escape(f"{part.dtype} {part.shape}")
    with pytest.raises(PolicyMismatch, match=rf"part '{name}' must be {expected}, got {found}"):
        policy.act({**one(parts), name: part})
    with pytest.raises(PolicyMismatch, match=rf"part '{name}' must be n times {expected}, got "):
        policy.act_batch({**parts, name: np.repeat(part[None], 3, axis=0)})


def test_parts_of_different_numbers_of_observations_are_refused(exported: Path) -> None:
    parts = draw(make_manifest(DEPTH), 3)
    with pytest.raises(PolicyMismatch, match=r"different numbers of observations: \[2, 3\]"):
        OnnxPolicy(exported).act_batch({**parts, "wrist_depth": parts["wrist_depth"][:2]})


def test_parts_that_the_policy_does_not_read_are_left_alone(exported: Path) -> None:
    policy, seen = OnnxPolicy(exported), one(draw(make_manifest(DEPTH), 1))
    more = {**seen, "state": np.zeros(20, np.float32)}
    assert np.array_equal(policy.act(more), policy.act(seen))


@pytest.mark.parametrize("damage", ["lost", "shape", "type", "action"])
def test_golden_pairs_that_do_not_fit_the_manifest_are_refused(folder: Path, damage: str) -> None:
    stored, _, golden = load_artifact(folder)
    arrays = {f"observation.{name}": part for name, part in golden.observations.items()} | {"actions": golden.actions}
    said = "observation.wrist_depth"
    if damage == "lost":
        del arrays["observation.wrist_depth"]
    elif damage == "shape":
        arrays["observation.wrist_depth"] = arrays["observation.wrist_depth"][:, :, :32]
        said = r"wrist_depth has shape \(8, 1, 32, 64\) of float16; .*\(8, 1, 64, 64\)"
    elif damage == "type":
        arrays["observation.wrist_depth"] = arrays["observation.wrist_depth"].astype(np.float32)
        said = "of float32; .* of float16"
    else:
        arrays["actions"] = np.zeros((0, 2), np.float32)
        said = "one or more pairs"
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    (folder / artifact.GOLDEN_NAME).write_bytes(buffer.getvalue())
    vouching = msgspec.structs.replace(stored, golden_sha256=sha256_of(buffer.getvalue()))
    artifact.write_json(folder / artifact.MANIFEST_NAME, vouching)
    with pytest.raises(ArtifactError, match=said):
        OnnxPolicy(folder)


def test_a_golden_picture_that_was_changed_is_found_by_computing(folder: Path) -> None:
    stored, _, golden = load_artifact(folder)
    parts = {f"observation.{name}": part.copy() for name, part in golden.observations.items()}
    parts["observation.wrist_depth"][2] = 0
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, actions=golden.actions, **parts)
    (folder / artifact.GOLDEN_NAME).write_bytes(buffer.getvalue())
    vouching = msgspec.structs.replace(stored, golden_sha256=sha256_of(buffer.getvalue()))
    artifact.write_json(folder / artifact.MANIFEST_NAME, vouching)
    with pytest.raises(PolicyMismatch, match="other actions than when it was saved"):
        OnnxPolicy(folder)


def test_inputs_that_do_not_follow_from_what_is_read_are_refused(folder: Path) -> None:
    stored = load_manifest(folder)
    path = folder / artifact.MANIFEST_NAME
    artifact.write_json(path, msgspec.structs.replace(stored, inputs=stored.inputs[:1]))
    with pytest.raises(ArtifactError, match=r"makes the inputs proprioception .*the manifest lists proprioception"):
        load_manifest(folder)
    artifact.write_json(path, msgspec.structs.replace(stored, inputs=stored.inputs[::-1]))
    with pytest.raises(ArtifactError, match="the network has"):
        OnnxPolicy(folder)
    artifact.write_json(path, msgspec.structs.replace(stored, proprioception=None))
    with pytest.raises(ArtifactError, match="proprioception"):
        load_manifest(folder)
    no_view = {**msgspec.to_builtins(stored.reads), "views": [{**msgspec.to_builtins(stored.reads.views[0])}]}
    no_view["views"][0]["width_px"] = 0
    path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(stored), "reads": no_view}))
    with pytest.raises(ArtifactError, match="width_px"):
        load_manifest(folder)


def test_an_observation_that_lacks_what_is_read_is_refused_before_the_arm_moves(exported: Path) -> None:
    policy = OnnxPolicy(exported)
    policy.check(ARM, "table", GRASP_STATE, DEPTH)
    more = ObservationSpec(proprioception=True, views=(CameraView("desk", ImageKind.RGB), WRIST), privileged=True)
    policy.check(ARM, "table", GRASP_STATE, more)
    with pytest.raises(PolicyMismatch, match="it reads 'wrist_depth', the observation has state, proprioception"):
        policy.check(ARM, "table", GRASP_STATE, ObservationSpec(proprioception=True))
    small = ObservationSpec(proprioception=True, views=(CameraView("wrist", ImageKind.DEPTH, 32, 32),))
    with pytest.raises(PolicyMismatch, match="'wrist_depth' of 64x64, these have 32x32 pixels"):
        policy.check(ARM, "table", GRASP_STATE, small)
    stacked = ObservationSpec(proprioception=True, views=(WRIST,), frames=4)
    with pytest.raises(PolicyMismatch, match="stacks of 1 pictures, these are of 4"):
        policy.check(ARM, "table", GRASP_STATE, stacked)


def test_proprioception_that_changed_its_meaning_is_refused(folder: Path) -> None:
    stored = load_manifest(folder)
    known = stored.proprioception
    assert known is not None
    assert known.feature_names == proprioception_layout(ARM).feature_names
    newer = msgspec.structs.replace(stored, proprioception=msgspec.structs.replace(known, version=known.version + 1))
    artifact.write_json(folder / artifact.MANIFEST_NAME, newer)
    with pytest.raises(PolicyMismatch, match=r"proprioception-dofbot v3 .*proprioception-dofbot v2"):
        OnnxPolicy(folder).check(ARM, "table", GRASP_STATE, DEPTH)


def test_a_state_with_the_object_is_no_state_without_it(tmp_path: Path) -> None:
    policy = export_untrained(tmp_path, make_manifest(ObservationSpec(object_pose=False)))
    policy.check(ARM, "table", GRASP_STATE, ObservationSpec(object_pose=False))
    with pytest.raises(PolicyMismatch, match="a state that does not tell where the object is, this one tells where"):
        policy.check(ARM, "table", GRASP_STATE, ObservationSpec())
