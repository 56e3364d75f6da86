"""`tandem evaluate` as people meet it: the JSON line, the exit codes, the same numbers from any number of workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from bridge.encoding import GRASP_STATE
from bridge.observation import CameraView, ImageKind, ObservationSpec
from scripts.evaluate import PolicyChoice, choose_policy, evaluate_policy
from scripts.programs import bench_tasks
from tests.fakes.policy_folder import export_untrained, make_manifest
from urdf.errors import UnknownName

ROOT = Path(__file__).parent.parent.parent


def evaluate(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.main", "evaluate", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "TANDEM_DATA": str(tmp_path)},
    )  # fmt: skip


def test_the_json_line_holds_the_count_and_its_interval(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "oracle", "--rig", "hanging", "--episodes", "6", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # everything else goes to stderr
    result = json.loads(line)
    assert list(result) == ["success_rate", "successes", "episodes", "wilson_low", "wilson_high", "wall_s"]
    assert result["episodes"] == 6
    assert 5 <= result["successes"] <= 6
    assert result["success_rate"] == pytest.approx(result["successes"] / 6)
    interval = binomtest(result["successes"], 6).proportion_ci(0.95, method="wilson")
    assert (result["wilson_low"], result["wilson_high"]) == pytest.approx((interval.low, interval.high))
    assert 0.0 < result["wall_s"] < 120.0
    assert "rig hanging" in done.stderr


def test_every_arm_and_task_can_be_evaluated(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "oracle", "--arm", "ur5", "--task", "reach", "--episodes", "4", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["successes"], result["episodes"]) == (4, 4)
    assert "ur5 reach, oracle on rig table: 4 of 4 episodes succeeded" in done.stderr


def test_a_policy_that_sees_by_its_wrist_camera_is_played_with_one(tmp_path: Path) -> None:
    spec = ObservationSpec(state=False, proprioception=True, views=(CameraView("wrist", ImageKind.DEPTH),), frames=2)
    export_untrained(tmp_path / "runs" / "grasp" / "20260101T000000Z_depth_seed0" / "policy", make_manifest(spec))
    done = evaluate(tmp_path, "--policy", "newest", "--episodes", "3", "--workers", "2", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["episodes"] == 3
    assert result["successes"] < 3  # nobody trained it


def test_a_policy_of_another_rig_is_refused(tmp_path: Path) -> None:
    export_untrained(tmp_path / "runs" / "grasp" / "20260101T000000Z_grasp_seed0" / "policy", make_manifest())
    done = evaluate(tmp_path, "--policy", "newest", "--rig", "hanging", "--episodes", "1")
    assert done.returncode == 2
    assert "trained on rig 'table', this rig is 'hanging'" in done.stderr


def test_unknown_arms_and_tasks_are_bad_input(tmp_path: Path) -> None:
    for words, said in (
        (("--arm", "ur3"), "nearest first: ur5, "),
        (("--task", "graps"), "nearest first: grasp, "),
    ):
        done = evaluate(tmp_path, "--policy", "hold", *words, "--json")
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stdout == ""


def test_without_json_people_get_a_sentence(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "hold", "--episodes", "2")
    assert done.returncode == 0, done.stderr
    assert "hold on rig table: 0 of 2 episodes succeeded" in done.stdout


def test_an_unknown_policy_is_bad_input_and_lists_the_names_nearest_first(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "oracel", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]  # PyBullet greets on stderr
    assert "unknown policy 'oracel'" in line
    assert "nearest first: oracle, " in line
    assert all(name in line for name in ("random", "hold", "blind"))


def test_an_unknown_rig_is_bad_input(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "hold", "--rig", "tabel")
    assert done.returncode == 2
    assert "nearest first: table, hanging" in done.stderr


@pytest.mark.parametrize("episodes", ["0", "-3"])
def test_no_episodes_are_bad_input(episodes: str, tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "hold", "--episodes", episodes, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--episodes must be at least 1" in done.stderr


def test_runs_are_offered_beside_the_scripted_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    (tmp_path / "runs" / "grasp" / "20260101T000000Z_grasp_seed0").mkdir(parents=True)
    with pytest.raises(UnknownName, match="grasp/20260101T000000Z_grasp_seed0"):
        choose_policy("20260101T000000Z_grasp_seed1", None)


def test_one_worker_and_two_get_the_same_episodes() -> None:
    choice = choose_policy("random", "hanging")
    easier = PolicyChoice("oracle", None, "table", choice.action_repeat)
    for chosen, seed in ((choice, 1), (easier, 2)):
        one = evaluate_policy(chosen, 5, seed, 1, lambda _: None)
        heard: list[bool] = []
        two = evaluate_policy(chosen, 5, seed, 2, heard.append)
        assert one == two == heard


def test_a_random_policy_does_not_know_where_the_block_is() -> None:
    """Seeded like the episode it would draw the block's place again, as its first action."""
    seeds = range(300)
    drawn = np.array([np.random.default_rng(seed).uniform(-0.5, 0.5, 2) for seed in seeds])
    choice = PolicyChoice("random", None, "table", 3)
    nothing = np.zeros(GRASP_STATE.size, dtype=np.float32)
    acted = np.array([choice.make_scripted(GRASP_STATE, 2, seed).act(nothing) for seed in seeds])
    assert abs(np.corrcoef(drawn[:, 0], acted[:, 0])[0, 1]) < 0.25


def test_the_bench_holds_each_policy_against_its_bar() -> None:
    heard: list[float] = []
    promise = bench_tasks.Promise("hold", 3, "<=", 0.0)
    row = bench_tasks.measure_one(
        promise, bench_tasks.Case("grasp", "dofbot", "hanging"), lambda _, share: heard.append(share)
    )
    assert (row.figure, row.value, row.holds) == ("grasp dofbot hanging hold success", 0.0, True)
    assert heard == pytest.approx([1 / 3, 2 / 3, 1.0])
    too_few = bench_tasks.measure_one(
        bench_tasks.Promise("oracle", 3, ">=", 0.97), bench_tasks.Case("grasp", "dofbot", "table"), lambda _, __: None
    )
    assert not too_few.holds  # three of three show no more than 0.44
    assert too_few.value == pytest.approx(binomtest(3, 3).proportion_ci(0.95, method="wilson").low)
    assert [(p.policy, p.episodes, p.direction, p.bar) for p in bench_tasks.PROMISES] == [
        ("oracle", 500, ">=", 0.97),
        ("random", 1000, "<=", 0.05),
        ("hold", 1000, "<=", 0.0),
        ("blind", 1000, "<=", 0.20),
    ]
