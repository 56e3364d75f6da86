"""`tandem train --demonstrations`: from a real recording to a policy, and what is refused and leaves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge.episode_decisions import FAILURE
from policies.onnx_policy import OnnxPolicy
from policies.presets import find_preset
from scripts.main import main
from scripts.programs.demonstrated import read_demonstrated
from scripts.programs.demonstration_file import read_steps, write_steps
from scripts.programs.demonstration_set import DemonstrationSet
from scripts.run_folder import RunConfig
from scripts.simulation import judged
from scripts.train import manifest_for


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four grasps of the oracle."""
    data = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_DATA", str(data))
        words = ("--episodes", "4", "--sees", "state", "--no-pictures", "--json")
        assert main(["episodes", "record", *words]) == 0
    (path,) = data.glob("episodes/*.mcap")
    return path


SMALL = (
    "--evaluation-episodes",
    "2",
    "--final-episodes",
    "2",
    "--screening-episodes",
    "0",
    "--film-every-min",
    "0",
    "--workers",
    "1",
)


def test_a_clone_of_a_recording_is_exported_evaluated_and_goes_on(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    words = ("--preset", "bc", "--demonstrations", str(recording), "--bc.head", "chunk", *SMALL)
    assert main(["train", *words, "--steps", "100", "--checkpoint-every", "50", "--json"]) == 0
    run = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert run["env_steps"] == 100
    policy = OnnxPolicy(Path(run["run"]) / "policy")
    assert policy.act(np.zeros(20, np.float32)).shape == (2,)
    assert run["success_rate"] > 0.0  # four attempts and 400 steps are enough to lift a block now and then
    assert main(["train", "--resume", "newest", "--steps", "110", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["env_steps"] == 110


def test_an_export_teaches_what_its_recording_teaches_and_one_without_a_success_nothing(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    config = replace(find_preset("bc"), demonstrations=(str(recording),))
    factory = judged(config, "table")
    run = RunConfig(1, "bc", "table", 0, config, "", {}, "")
    manifest = manifest_for(run, factory)
    shown = read_demonstrated(config, manifest, tmp_path)
    assert shown is not None
    assert len(shown.attempts) == 4
    assert main(["episodes", "export", str(recording), "--name", "grasps"]) == 0
    exported = read_demonstrated(replace(config, demonstrations=("grasps",)), manifest, tmp_path)
    assert exported is not None
    assert exported.sha256 == shown.sha256
    steps = read_steps(tmp_path / "demonstrations" / "grasps" / "steps.npz")
    failed = tuple(replace(attempt, verdict=FAILURE) for attempt in steps.attempts)
    write_steps(DemonstrationSet(steps.origin, failed), tmp_path / "failed.npz")
    words = ["--preset", "bc", "--demonstrations", str(tmp_path / "failed.npz")]
    capsys.readouterr()
    assert main(["train", *words]) == 2
    assert "none of 4 attempts is known to have succeeded" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--preset", "bc"), "name recordings with --demonstrations"),
        (("--preset", "bc", "--demonstrations", "nowhere"), "unknown demonstration 'nowhere'"),
        (("--preset", "bc", "--arm", "ur5", "--demonstrations", "SHOWN"), "demonstrated on arm 'dofbot'"),
        (("--preset", "reach", "--demonstrations", "SHOWN"), "the task is grasp there and reach in this run"),
        (("--preset", "grasp", "--shaping-discount", "0.9", "--demonstrations", "SHOWN"), "discount of the shaping"),
        (("--preset", "grasp", "--algo", "ppo", "--demonstrations", "SHOWN"), "ppo learns from none"),
        (("--preset", "grasp", "--action-repeat", "2", "--demonstrations", "SHOWN"), "control periods a decision is 3"),
    ],
)
def test_what_was_shown_of_something_else_is_refused_and_leaves_nothing(
    recording: Path,
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    named = [str(recording) if word == "SHOWN" else word for word in words]
    assert main(["train", *named]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
