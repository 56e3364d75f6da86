"""`tandem ship` and `tandem policies`: ready-trained policies, by name beside the runs; and those that there are."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import msgspec
import onnx
import pytest

from bridge.observation import CameraView, ImageKind, ObservationSpec
from policies import shipped
from policies.artifact import load_artifact, load_manifest, save_artifact, write_json
from policies.config import TrainConfig
from policies.errors import ArtifactError
from policies.evaluation import episode_seeds, play
from policies.learner_config import EncoderKind, Head, PpoConfig
from policies.presets import PRESETS
from policies.shipped import Made, load_made, shipped_folders, shipped_name
from scripts import main as tandem
from scripts import run_folder
from scripts.evaluate import EvaluateArgs, _map_path, choose_policy
from scripts.observe import ObserveArgs, _choose
from scripts.run_folder import RunConfig, RunRecord, create_run_folder, file_hashes
from scripts.ship import training_command
from scripts.train_settings import chosen_settings, parse
from tests.fakes.policy_folder import export_untrained, make_manifest
from urdf.errors import UnknownName
from urdf.tables import arm_names

DEPTH = ObservationSpec(state=False, proprioception=True, views=(CameraView("wrist", ImageKind.DEPTH),))
STATE = ObservationSpec()
GRASP = PRESETS["grasp"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder without runs, and no policy shipped."""
    monkeypatch.setattr(shipped, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def config_of(train: TrainConfig = GRASP, preset: str = "grasp", rig: str = "table", seed: int = 0) -> RunConfig:
    return RunConfig(run_folder.SCHEMA, preset, rig, seed, train, "0123456789abcdef", {}, "20260101T000000Z")


def finished_run(data: Path, spec: ObservationSpec = STATE, rig: str = "table", exit_status: int = 0) -> Path:
    """Leave what a training of 3 minutes leaves, but a policy that nobody trained; its network says where it was."""
    config = config_of(rig=rig, seed=4)
    folder = create_run_folder(data, config)
    export_untrained(folder / "policy", make_manifest(spec, rig))
    manifest, network, golden = load_artifact(folder / "policy")
    model = onnx.load_from_string(network)
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=f'File "{__file__}"')
    save_artifact(folder / "policy", manifest, model.SerializeToString(), golden)
    record = RunRecord(
        run_folder.SCHEMA, config, "20260101T235959Z", exit_status, "success", 5_000, 300, 9_000, 186.0,
        0.98, 98, 100, 4_000, file_hashes(folder),
    )  # fmt: skip
    write_json(folder / run_folder.RUN_NAME, record)
    return folder


def test_a_shipped_policy_is_the_runs_with_how_it_was_made(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(data)
    assert tandem.main(["ship", run.name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = shipped.PRETRAINED / "dofbot-grasp-state"
    assert (told["name"], told["folder"]) == (folder.name, str(folder))
    assert {p.name for p in folder.iterdir()} == {"policy.onnx", "golden.npz", "manifest.json", "made.json"}
    (before, _, golden), (after, network, kept) = load_artifact(run / "policy"), load_artifact(folder)
    assert msgspec.structs.replace(after, onnx_sha256="", golden_sha256="") == msgspec.structs.replace(
        before, onnx_sha256="", golden_sha256=""
    )
    assert (kept.actions == golden.actions).all()
    assert b"test_ship.py" in (run / "policy" / "policy.onnx").read_bytes()
    assert b"test_ship.py" not in network
    made = Made("tandem train --preset grasp --seed 4", "0123456789abcdef", "2026-01-01", 5_000, 3.1, 98, 100)
    assert load_made(folder) == made == msgspec.convert(told["made"], Made)


def test_policies_are_listed_and_played_by_name(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["policies"]) == 0
    assert "no policy comes with this version" in capsys.readouterr().out
    for spec in (STATE, DEPTH):
        assert tandem.main(["ship", str(finished_run(data, spec))]) == 0
    capsys.readouterr()
    assert tandem.main(["policies", "--json"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)["policies"]
    assert [(r["name"], r["arm"], r["task"], r["rig"], r["reads"]) for r in rows] == [
        ("dofbot-grasp-depth", "dofbot", "grasp", "table", ["proprioception", "wrist_depth"]),
        ("dofbot-grasp-state", "dofbot", "grasp", "table", ["state"]),
    ]
    assert rows[1]["made"]["successes"] == 98
    assert "dofbot-grasp-state: dofbot grasp on rig table, reads state\n    98 of 100 episodes" in captured.err
    for name, spec in (("dofbot-grasp-state", STATE), ("dofbot-grasp-depth", DEPTH)):
        choice = choose_policy(name, None)
        assert (choice.name, choice.run_folder, choice.spec) == (name, None, spec)
        env = choice.make_env()
        try:
            assert choice.make_policy(env, 0).act(env.reset(seed=0)[0]).shape == (2,)
        finally:
            env.close()
    assert tandem.main(["evaluate", "--policy", "dofbot-grasp-state", "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 1


def test_what_is_made_of_a_shipped_policy_goes_into_the_data_folder(data: Path) -> None:
    run = finished_run(data)
    assert tandem.main(["ship", "newest"]) == 0
    args = EvaluateArgs(map=True, episodes=8)
    name = "dofbot_grasp_table_seed1000_8.png"
    mine, theirs = choose_policy("newest", None), choose_policy("dofbot-grasp-state", None)
    assert (mine.name, mine.run_folder) == (run.name, run)
    assert _map_path(args, mine) == run / "evaluation" / name
    assert _map_path(args, theirs) == data / "evaluation" / f"dofbot-grasp-state_{name}"


def test_a_run_of_that_name_comes_first(data: Path) -> None:
    run = finished_run(data)
    assert tandem.main(["ship", str(run)]) == 0
    named = run.rename(run.parent / "dofbot-grasp-state")
    assert choose_policy("dofbot-grasp-state", None).folder == named / "policy"


def test_an_unknown_policy_lists_runs_and_shipped_ones(data: Path) -> None:
    run = finished_run(data)
    assert tandem.main(["ship", str(run)]) == 0
    with pytest.raises(UnknownName) as unknown:
        choose_policy("dofbot-grasp-sate", None)
    assert unknown.value.valid[0] == "dofbot-grasp-state"
    assert {"oracle", "newest", f"grasp/{run.name}"} < set(unknown.value.valid)
    with pytest.raises(UnknownName) as unknown:
        _choose(ObserveArgs(policy="dofbot-grasp-sate"))
    assert unknown.value.valid[0] == "dofbot-grasp-state"
    assert "keyboard" in unknown.value.valid


def test_another_rig_is_another_name() -> None:
    assert shipped_name(make_manifest(STATE, "hanging")) == "dofbot-grasp-state-hanging"


@pytest.mark.deep
def test_what_is_not_worth_shipping_is_refused_and_leaves_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(folder: Path, said: str) -> bool:
        assert tandem.main(["ship", str(folder)]) == 2
        return said in capsys.readouterr().err

    assert refused(finished_run(data, exit_status=130), "was not finished: go on with it first")
    killed = finished_run(data)
    (killed / "run.json").unlink()
    assert refused(killed, "expected the record of a training run that has ended")
    other = finished_run(data)
    export_untrained(other / "policy", make_manifest(STATE, "hanging"))
    assert refused(other, "is not the policy that run.json beside it tells of")
    monkeypatch.setattr(shipped, "MAX_BYTES", 20_000)
    assert refused(finished_run(data), "a shipped policy 0.02 MB at most: train a smaller network")
    assert not shipped.PRETRAINED.exists()


COMMANDS: list[tuple[RunConfig, str]] = [
    (config_of(), "--preset grasp"),
    (config_of(PRESETS["depth-asym"], "depth-asym", "hanging", 3), "--preset depth-asym --rig hanging --seed 3"),
    (
        config_of(
            dataclasses.replace(PRESETS["pick-place"], arm="ur5", servo_zero_deg=0.1, shaping_discount=None),
            "pick-place",
        ),
        "--preset pick-place --arm ur5 --shaping-discount None --servo-zero-deg 0.1",
    ),
    (
        config_of(
            dataclasses.replace(GRASP, sac=dataclasses.replace(GRASP.sac, hidden=(32,), layer_norm=False, shift_px=2))
        ),
        "--preset grasp --sac.hidden 32 --sac.no-layer-norm --sac.shift-px 2",
    ),
    (
        config_of(
            dataclasses.replace(
                PRESETS["depth-asym"],
                critic_sees=(),
                frames=2,
                sac=dataclasses.replace(
                    PRESETS["depth-asym"].sac, encoder=EncoderKind.NATURE, coordinates=True, learning_rate=1e-5
                ),
            ),
            "depth-asym",
        ),
        "--preset depth-asym --critic-sees --frames 2 --sac.learning-rate 1e-05 --sac.encoder nature --sac.coordinates",
    ),
    (
        config_of(dataclasses.replace(GRASP, algo="ppo", ppo=PpoConfig(head=Head.BETA, anneal_over=1_000))),
        "--preset grasp --algo ppo --ppo.anneal-over 1000 --ppo.head beta",
    ),
]


@pytest.mark.parametrize(("config", "options"), COMMANDS, ids=[options for _, options in COMMANDS])
def test_the_command_is_what_differs_and_asks_for_the_same_settings(config: RunConfig, options: str) -> None:
    assert training_command(config) == f"tandem train {options}"
    args = parse(shlex.split(options))
    assert (args.settings, args.rig, args.seed) == (config.train, config.rig, config.seed)


def test_settings_that_no_option_asks_for_are_refused() -> None:
    """A curriculum brings the distractors that it grades where the preset has none: no option takes them away."""
    config = config_of(dataclasses.replace(PRESETS["grasp"], curriculum="full", distractors=0))
    with pytest.raises(ArtifactError, match="no options of `tandem train` ask for the settings of this run"):
        training_command(config)


# What is shipped ------------------------------------------------------------------------------------
FOLDERS = shipped_folders()


def test_every_arm_has_a_policy() -> None:
    own_board_alone = {"dofbot-se"}  # the same arm with another board
    assert {load_manifest(folder).arm for folder in FOLDERS} == set(arm_names()) - own_board_alone


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_policy_that_is_shipped_does_what_it_says(folder: Path) -> None:
    manifest, made = load_manifest(folder), load_made(folder)
    assert folder.name == shipped_name(manifest)
    assert {p.name for p in folder.iterdir()} == {"policy.onnx", "golden.npz", "manifest.json", "made.json"}
    assert sum(p.stat().st_size for p in folder.iterdir()) <= shipped.MAX_BYTES
    assert re.search(rb'File "|\.py"', (folder / "policy.onnx").read_bytes()) is None, "a path of one machine"
    command, train, *options = shlex.split(made.command)
    settings = chosen_settings(parse(options))
    assert (command, train, settings.arm, settings.task) == ("tandem", "train", manifest.arm, manifest.task)
    assert parse(options).rig == manifest.rig
    assert 0 < made.successes <= made.episodes
    choice = choose_policy(folder.name, None)
    env = choice.make_env()
    try:
        policy = choice.make_policy(env, 0)  # computes the golden pairs, compares arm, layouts and rate
        assert any(play(policy, env, seed)[0] for seed in episode_seeds(1000, 4))
    finally:
        env.close()
