"""`tandem train --demonstrations`: from a real recording to a policy, and what is refused and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from policies.onnx_policy import OnnxPolicy
from scripts.main import main


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


SMALL = ("--evaluation-episodes", "2", "--final-episodes", "2", "--screening-episodes", "0", "--film-every-min", "0")


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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--preset", "bc"), "name recordings with --demonstrations"),
        (("--preset", "bc", "--demonstrations", "nowhere"), "unknown recording 'nowhere'"),
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
