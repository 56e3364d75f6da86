"""`tandem evaluate` as people meet it: the JSON line, the exit codes, the same numbers from any number of workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from bridge.encoding import GRASP_STATE
from bridge.observation import CameraView, ImageKind, ObservationSpec
from policies.evaluation import episode_seeds
from scripts import main as tandem
from scripts.evaluate import PolicyChoice, choose_policy, evaluate_places, evaluate_policy
from scripts.programs import bench_tasks
from scripts.programs.area_map import Area, PlacedEpisode, area_of, count_regions, place_of
from scripts.programs.area_plot import draw_area_map
from sim.tasks.task import Scene
from tests.fakes.policy_folder import export_untrained, make_manifest
from urdf.description import load_arm
from urdf.errors import ArmError, UnknownName
from urdf.pose import Pose

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


@pytest.mark.deep
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
        one = evaluate_policy(chosen, 3, seed, 1, lambda _: None)
        heard: list[bool] = []
        two = evaluate_policy(chosen, 3, seed, 2, heard.append)
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


# Success by place ---------------------------------------------------------------------------------
AREA = Area("object", (0.0, 0.1), (0.5, 0.4))


def test_each_cell_counts_its_own_episodes() -> None:
    """Cells of 100 mm x 100 mm: five along x from 0, three along y from 100 mm."""
    places = [
        (True, (0.05, 0.15)), (False, (0.01, 0.19)),  # the first
        (True, (0.10, 0.11)),  # on the border to the second, which it belongs to
        (True, (0.49, 0.39)), (True, (0.5, 0.4)), (True, (0.5000001, 0.4000001)),  # the last, its corner and beyond
        (False, (0.25, 0.25)),  # the middle of all
        (True, None),
    ]  # fmt: skip
    regions = count_regions([PlacedEpisode(*place) for place in places], AREA)
    counts = {k: (r.successes, r.episodes) for k, r in enumerate(regions) if r.episodes}
    assert len(regions) == 15
    assert counts == {0: (1, 2), 1: (1, 1), 7: (0, 1), 14: (3, 3)}
    assert regions[7].x_m == pytest.approx((0.2, 0.3))
    assert regions[7].y_m == pytest.approx((0.2, 0.3))
    assert (regions[0].success_rate, regions[7].success_rate, regions[3].success_rate) == (0.5, 0.0, None)
    expected = binomtest(1, 2).proportion_ci(0.95, method="wilson")
    assert (regions[0].wilson_low, regions[0].wilson_high) == pytest.approx((expected.low, expected.high))
    assert (regions[3].wilson_low, regions[3].wilson_high) == (0.0, 1.0)


def test_a_high_area_has_more_cells_upwards() -> None:
    assert (AREA.cells, Area("object", (0.0, 0.0), (0.1, 0.2)).cells) == ((5, 3), (3, 5))


def test_the_area_is_where_the_task_places_things() -> None:
    rig = load_arm("dofbot").rig("table")
    goal = Scene(goal_m=np.array([0.01, 0.15, 0.04]))
    assert area_of(rig, goal) == Area("goal", (-0.10, 0.12), (0.10, 0.19))  # arm.toml
    assert place_of(goal) == (0.01, 0.15)
    assert place_of(Scene()) is None
    with pytest.raises(ArmError, match="--map shows success by the place of an object or a goal"):
        area_of(rig, Scene())


def test_an_episode_is_placed_where_its_reset_said() -> None:
    choice = choose_policy("hold", "table")
    env = choice.make_env()
    try:
        for seed, episode in zip(episode_seeds(5, 3), evaluate_places(choice, 3, 5, 1, lambda _: None), strict=True):
            block = env.reset(seed=seed)[1]["block"]
            assert isinstance(block, Pose)
            assert episode == PlacedEpisode(False, (block.position_m[0], block.position_m[1]))
            assert env.rig.contains(episode.place_m or ())
    finally:
        env.close()


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_map_shows_the_episodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = [tuple(map(float, rng.uniform(AREA.lower_m, AREA.upper_m))) for _ in range(60)]
    seen: list[np.ndarray] = []
    for name, least in (("all", 0.0), ("half", 0.25), ("again", 0.25)):
        episodes = [PlacedEpisode(x >= least, (x, y)) for x, y in places]
        path = tmp_path / f"{name}.png"
        draw_area_map(episodes, count_regions(episodes, AREA), AREA, "a map", path)
        seen.append(pixels(path))
    assert (seen[1] == seen[2]).all()
    assert (seen[0] != seen[1]).any(axis=2).mean() > 0.05


def test_a_map_is_written_and_its_cells_are_in_the_json(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--policy", "oracle", "--episodes", "8", "--seed", "3", "--map", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    path = tmp_path / "evaluation" / "oracle_dofbot_grasp_table_seed3_8.png"
    assert result["map"] == str(path)
    assert f"Map: {path}" in done.stderr
    assert pixels(path).std() > 10
    assert len(result["regions"]) == 15
    assert sum(region["episodes"] for region in result["regions"]) == 8
    assert sum(region["successes"] for region in result["regions"]) == result["successes"]
    assert result["regions"][0]["x_m"] == pytest.approx([-0.05, -0.03])  # of 100 mm about 0
    assert result["regions"][-1]["y_m"] == pytest.approx([0.18 - 0.05 / 3, 0.18])


def test_goals_of_a_reach_are_mapped_too(tmp_path: Path) -> None:
    out = tmp_path / "reach.svg"
    done = evaluate(
        tmp_path, "--policy", "random", "--task", "reach", "--episodes", "3", "--map", "--out", str(out), "--json"
    )
    assert done.returncode == 0, done.stderr
    assert "By the place of the goal" in out.read_text()
    assert sum(region["episodes"] for region in json.loads(done.stdout)["regions"]) == 3


def test_maps_that_cannot_be_written_are_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    played = "scripts.evaluate.evaluate_places"
    monkeypatch.setattr(played, lambda *_: pytest.fail("it was played"))
    for words, said in (
        (("--out", str(tmp_path / "map.png")), "is the file of the map: add --map"),
        (("--map", "--out", str(tmp_path)), "is a folder"),
        (("--map", "--out", str(tmp_path / "map.jpg")), "a map ends in one of .png, .pdf, .svg"),
    ):
        assert tandem.main(["evaluate", "--policy", "hold", *words]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
