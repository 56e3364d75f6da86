"""`tandem train` on a small stand-in task: real processes, real signals, real learning."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest

from policies.checkpoint import CheckpointState
from policies.evaluation import evaluate
from policies.metrics import EvaluationRow, Row, TrainRow, read_metrics
from policies.onnx_policy import OnnxPolicy
from scripts.run_folder import RunRecord, file_hashes
from tests.fakes.point_task import PointEnv

ROOT = Path(__file__).parents[2]


def start(data: Path, *words: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    command = [*within, sys.executable, "-m", "tests.fakes.point_task", *words]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TANDEM_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def only_run(data: Path) -> Path:
    (run,) = (data / "runs" / "point").iterdir()
    return run


def newest_state(data: Path) -> CheckpointState:
    path = max(only_run(data).glob("checkpoints/last_*"))
    return msgspec.json.decode((path / "state.json").read_bytes(), type=CheckpointState)


def wait_for_checkpoint(data: Path, process: subprocess.Popen[str], beyond: int = 0) -> int:
    """Return the decisions of a checkpoint that lies beyond `beyond`, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [int(p.name.removeprefix("last_")) for p in data.glob("runs/point/*/checkpoints/last_*")]
        if found and max(found) > beyond:
            return max(found)
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no checkpoint within 60 s")


def processes_of(data: Path) -> list[int]:
    """Return every process that was started for this data folder, workers in their own sessions included."""
    mark = f"TANDEM_DATA={data}\0".encode()
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # another user's process, or one that ended meanwhile
            continue
    return found


def all_gone(data: Path) -> bool:
    """Return whether no process is left of a run, waiting up to 10 s."""
    deadline = time.monotonic() + 10
    while processes_of(data) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_of(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], str]:
    """A whole run: its folder, its JSON line and what it said."""
    data = tmp_path_factory.mktemp("data")
    process = start(data, "--preset", "point", "--json")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return only_run(data), json.loads(out.splitlines()[-1]), err


def test_training_learns_the_task_and_stops_by_itself(finished: tuple[Path, dict[str, object], str]) -> None:
    folder, result, said = finished
    rows = read_metrics(folder / "metrics.jsonl")
    evaluations = [row for row in rows if isinstance(row, EvaluationRow)]
    assert [row.success_rate >= 0.97 for row in evaluations[-2:]] == [True, True]
    assert evaluations[-1].decisions < 6_000
    first = next(row for row in rows if isinstance(row, TrainRow))
    assert first.success_rate < 0.9, "the task must not be solved by the random start"
    policy = OnnxPolicy(folder / "policy")
    assert evaluate(policy, PointEnv(), 200, seed=77).success_rate >= 0.95
    assert "The policy succeeds in" in said
    assert set(result) == {"run", "success_rate", "episodes", "env_steps", "wall_s"}


def test_the_json_line_agrees_with_the_run_record(finished: tuple[Path, dict[str, object], str]) -> None:
    folder, result, _ = finished
    record = msgspec.json.decode((folder / "run.json").read_bytes(), type=RunRecord)
    assert Path(str(result["run"])) == folder
    assert result["env_steps"] == record.decisions
    assert result["episodes"] == record.episodes
    assert result["success_rate"] == record.success_rate
    assert (record.end, record.exit_status) == ("success", 0)
    assert record.files_sha256 == file_hashes(folder)
    assert set(record.files_sha256) == {"policy/policy.onnx", "policy/manifest.json", "policy/golden.npz"}
    assert record.config.versions["torch"]
    assert (record.config.train.renderer, record.config.versions["renderer"]) == ("tiny", "TinyRenderer")


def test_the_run_folder_holds_no_pickle(finished: tuple[Path, dict[str, object], str]) -> None:
    folder, _, _ = finished
    names = {p.suffix for p in folder.rglob("*") if p.is_file()}
    assert not names & {".zip", ".pkl", ".pickle", ".pt", ".pth"}
    for path in folder.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays.files)
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(folder.glob("tensorboard/events*"))


def test_the_golden_pairs_are_observations_of_the_task(finished: tuple[Path, dict[str, object], str]) -> None:
    folder, _, _ = finished
    with np.load(folder / "policy" / "golden.npz", allow_pickle=False) as golden:
        assert golden["observation.state"].shape == (64, 2)
        assert 0.05 < np.abs(golden["observation.state"]).mean() < 2.0


def test_ctrl_c_leaves_a_run_that_resumes_where_it_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "point-slow", "--json")
    wait_for_checkpoint(tmp_path, process, beyond=100)
    assert len(processes_of(tmp_path)) >= 5, "a learner, two workers, two judges"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["success_rate"] is None
    assert all_gone(tmp_path)
    folder = only_run(tmp_path)
    assert not (folder / "policy").exists()
    stopped = newest_state(tmp_path)
    with np.load(max(folder.glob("checkpoints/last_*")) / "replay.npz", allow_pickle=False) as replay:
        assert replay["replay.ready"].size >= stopped.counters.decisions
    assert f"--resume {folder.name}" in err

    target = stopped.counters.decisions + 300
    process = start(tmp_path, "--resume", folder.name, "--steps", str(target), "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"{stopped.counters.decisions} decisions" in err
    result = json.loads(out.splitlines()[-1])
    assert result["env_steps"] == pytest.approx(target, abs=2)
    after = newest_state(tmp_path)
    assert after.counters.episodes > stopped.counters.episodes
    assert after.counters.updates > stopped.counters.updates
    assert after.counters.wall_s > stopped.counters.wall_s
    with np.load(max(folder.glob("checkpoints/last_*")) / "replay.npz", allow_pickle=False) as replay:
        assert replay["replay.ready"].size >= after.counters.decisions, "the replay of before the stop is still there"


def test_sigterm_to_the_whole_process_group_stops_as_orderly(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "point-slow", "--json")
    reached = wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGTERM)  # as a service manager does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert newest_state(tmp_path).counters.decisions >= reached
    assert all_gone(tmp_path)


def workers_of(data: Path, learner: subprocess.Popen[str]) -> list[int]:
    """Return the processes that simulate for a learner."""
    return [pid for pid in processes_of(data) if os.getsid(pid) == pid and pid != learner.pid]


def test_a_simulation_that_is_killed_is_started_again_and_said(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "point-slow", "--json")
    reached = wait_for_checkpoint(tmp_path, process)
    workers = workers_of(tmp_path, process)
    assert len(workers) == 4
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_for_checkpoint(tmp_path, process, beyond=reached + 600)  # with an evaluation on the way
    assert len(workers_of(tmp_path, process)) == 4
    assert not set(workers_of(tmp_path, process)) & set(workers)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    said = re.findall(r"a simulation process died and was started again; episodes lost with it: (\d+)", err)
    assert sum(int(count) for count in said) == 2, "those of the two that trained"
    assert all_gone(tmp_path)


def test_a_simulation_that_dies_again_and_again_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "point-mortal", "--json")
    wait_for_checkpoint(tmp_path, process)
    (tmp_path / "0").touch()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "worker 0 (worlds [0]) died 3 times in a row before it finished a step" in err
    assert f"--resume {only_run(tmp_path).name} goes on from the last checkpoint" in err
    assert all_gone(tmp_path)


def test_a_simulation_that_dies_before_the_first_checkpoint_is_not_said_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    _, err = start(tmp_path, "--preset", "point-mortal", "--json").communicate(timeout=60)
    assert "died 3 times in a row before it finished a step" in err
    assert "There is no checkpoint yet: start the run again" in err
    assert "goes on from" not in err


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a run whose learner was killed after at least two checkpoints."""
    data = tmp_path_factory.mktemp("killed")
    process = start(data, "--preset", "point-slow", "--json")
    wait_for_checkpoint(data, process, beyond=max(100, wait_for_checkpoint(data, process)))
    os.kill(process.pid, signal.SIGKILL)  # the learner alone: the workers must notice by themselves
    process.communicate(timeout=30)
    assert all_gone(data)
    return data


def resumed(
    data: Path, more: int, seen_at: Path | None = None, within: Sequence[str] = ()
) -> tuple[dict[str, object], str]:
    """Resume the only run until `more` decisions after its newest sound checkpoint; return its JSON and its words."""
    seen_at = seen_at or data
    steps = str(newest_state(seen_at).counters.decisions + more)
    process = start(data, "--resume", only_run(seen_at).name, "--steps", steps, "--json", within=within)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1]), err


def test_sigkill_loses_at_most_what_came_after_the_last_checkpoint(killed: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(killed, tmp_path / "data"))
    folder = only_run(data)
    assert not (folder / "run.json").exists()
    stopped = newest_state(data).counters
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind":"train","deci')  # what a kill in the middle of a line leaves

    result, said = resumed(data, 200)
    assert f"going on from last_{stopped.decisions:09d}" in said
    assert result["env_steps"] == pytest.approx(stopped.decisions + 200, abs=2)
    assert newest_state(data).counters.episodes > stopped.episodes
    decisions = [row.decisions for row in read_metrics(folder / "metrics.jsonl")]
    assert decisions == sorted(decisions)
    assert (folder / "run.json").exists()


def weights_of(data: Path, decisions: int) -> dict[str, bytes]:
    """Return what the checkpoint at so many decisions holds, by file."""
    folder = only_run(data) / "checkpoints" / f"last_{decisions:09d}"
    return {name: (folder / name).read_bytes() for name in ("weights.safetensors", "state.json")}


def test_a_killed_run_goes_on_bit_by_bit_as_one_that_never_was(tmp_path: Path) -> None:
    """One world in one process; killed twice, at moments that nothing chose."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = start(whole, "--preset", "point-alone-slow", "--steps", "900", "--json")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err

    process = start(broken, "--preset", "point-alone-slow", "--steps", "900", "--json")
    for beyond in (200, 500):
        wait_for_checkpoint(broken, process, beyond)
        time.sleep(0.13)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        process = start(broken, "--resume", only_run(broken).name, "--steps", "900", "--json")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err

    def rows(data: Path) -> list[Row]:
        return [msgspec.structs.replace(row, wall_s=0.0) for row in read_metrics(only_run(data) / "metrics.jsonl")]

    assert [row.decisions for row in rows(whole) if isinstance(row, EvaluationRow)] == [700, 900]
    assert rows(broken) == rows(whole)
    golden = [(only_run(data) / "policy" / "golden.npz").read_bytes() for data in (broken, whole)]
    assert golden[0] == golden[1]
    last = newest_state(whole).counters.decisions
    assert newest_state(broken).counters.decisions == last
    assert weights_of(broken, last)["weights.safetensors"] == weights_of(whole, last)["weights.safetensors"]
    assert newest_state(broken).facts == newest_state(whole).facts


@pytest.mark.parametrize(
    "algo",
    [pytest.param("ppo", marks=pytest.mark.deep), "sb3-sac", pytest.param("sb3-ppo", marks=pytest.mark.deep)],
)
def test_every_algorithm_trains_exports_and_goes_on(tmp_path: Path, algo: str) -> None:
    words = ("--preset", "point", "--algo", algo, "--steps", "600", "--stop-evaluations", "99")
    process = start(tmp_path, *words, "--json")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["env_steps"] == 600
    assert OnnxPolicy(only_run(tmp_path) / "policy").act(np.array([0.5, -0.5], np.float32)).shape == (2,)
    again, said = resumed(tmp_path, 100)
    assert "going on from last_000000600" in said
    assert again["env_steps"] == 700
    record = msgspec.json.decode((only_run(tmp_path) / "run.json").read_bytes(), type=RunRecord)
    assert record.config.train.algo == algo


def test_a_truncated_checkpoint_is_replaced_by_the_one_before_and_said(killed: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(killed, tmp_path / "data"))
    older, newer = sorted(only_run(data).glob("checkpoints/last_*"))
    weights = newer / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    _, said = resumed(data, 50)
    assert re.search(rf"damaged checkpoint left out: .*{newer.name}", said)
    assert f"going on from {older.name}" in said


def wait_for_decisions(data: Path, process: subprocess.Popen[str], beyond: int) -> int:
    """Return the decisions of the last row of metrics, as soon as they are beyond `beyond`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = read_metrics(only_run(data) / "metrics.jsonl")
        if rows and rows[-1].decisions > beyond:
            return rows[-1].decisions
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(f"no {beyond} decisions within 60 s")


def kept(data: Path) -> list[str]:
    return sorted(path.name for path in (only_run(data) / "checkpoints").iterdir() if path.name.startswith("last_"))


@pytest.mark.deep
def test_a_checkpoint_that_the_kernel_refuses_leaves_the_one_before_and_a_run_that_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "point-slow", "--stop-evaluations", "99", "--json")
    reached = wait_for_checkpoint(tmp_path, process, beyond=100)
    # Smaller than the weights, larger than all that the run writes beside its checkpoints.
    limit = (only_run(tmp_path) / "checkpoints" / f"last_{reached:09d}" / "weights.safetensors").stat().st_size - 1
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    at = wait_for_decisions(tmp_path, process, beyond=reached + 200)  # one that was being written is done
    before = kept(tmp_path)
    wait_for_decisions(tmp_path, process, beyond=at + 300)
    assert kept(tmp_path) == before
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert re.search(rf"a checkpoint could not be written: .*File too large; the last good .*{before[-1]}", err)
    assert kept(tmp_path) == before
    assert not list(tmp_path.glob("runs/*/*/checkpoints/.*")), "what was half written took room"

    result, said = resumed(tmp_path, 200)
    assert f"going on from {before[-1]}" in said
    assert result["env_steps"] == pytest.approx(int(before[-1].removeprefix("last_")) + 200, abs=2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A file system of 8 MB on `tmp_path`: how it is seen from here, and what runs a command where it is seen there."""
    script = 'mount -t tmpfs -o size=8m none "$0" && echo mounted && exec sleep 300'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path)]
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no unshare and nsenter here; the test with a limit on the size of files stands in")
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("no mounts in a namespace here; the test with a limit on the size of files stands in")
        inside = (f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials", f"--wd={ROOT}")
        yield Path(f"/proc/{holder.pid}/root{tmp_path}"), ("nsenter", *inside)
    finally:
        holder.kill()
        holder.communicate()


def fill(path: Path) -> None:
    """Write a file until there is no room for more."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_ends_no_run_and_loses_no_row(tmp_path: Path, small_disk: tuple[Path, tuple[str, ...]]) -> None:
    disk, within = small_disk
    process = start(tmp_path, "--preset", "point-slow", "--stop-evaluations", "99", "--json", within=within)
    wait_for_checkpoint(disk, process, beyond=100)
    fill(disk / "filler")
    logs = [only_run(disk) / "metrics.jsonl", *only_run(disk).glob("tensorboard/*")]
    deadline = time.monotonic() + 60
    while any(log.stat().st_size % 4096 for log in logs):  # as long as there is room in their last pages
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1.0)
    before = kept(disk)
    (disk / "filler").unlink()
    wait_for_checkpoint(disk, process, beyond=int(before[-1].removeprefix("last_")))
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert re.search(
        rf"a checkpoint could not be written: .*No space left on device; the last good .*{before[-1]}", err
    )
    assert "a row of metrics waits for the next" in err
    assert "TensorBoard shows no more of this run until it is resumed" in err
    evaluations = [r.decisions for r in read_metrics(only_run(disk) / "metrics.jsonl") if isinstance(r, EvaluationRow)]
    assert [round(decisions / 500) for decisions in evaluations] == list(range(1, len(evaluations) + 1))
    last = kept(disk)[-1]
    assert last > before[-1]
    _, said = resumed(tmp_path, 200, disk, within)
    assert f"going on from {last}" in said


def stages(data: Path) -> list[int | None]:
    return [row.stage for row in read_metrics(only_run(data) / "metrics.jsonl") if isinstance(row, TrainRow)]


@pytest.mark.deep
def test_a_curriculum_is_logged_and_goes_on_where_a_run_stopped(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    process = start(tmp_path, "--preset", "point-staged", "--curriculum", "reference", "--steps", "60", "--json")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    # Two worlds with episodes of 2 and of 3 decisions end 25 episodes in all, each a success: two promotions.
    assert stages(tmp_path) == [2]
    state = json.loads(newest_state(tmp_path).worlds)
    assert state["stage"] == "half"
    assert 0 < len(state["outcomes"]) < 10
    events = EventAccumulator(str(next(only_run(tmp_path).glob("tensorboard"))))
    events.Reload()
    assert [scalar.value for scalar in events.Scalars("train/stage")] == [2.0]

    process = start(tmp_path, "--resume", only_run(tmp_path).name, "--steps", "66", "--json")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert stages(tmp_path) == [2, 2]
    after = json.loads(newest_state(tmp_path).worlds)
    assert after["stage"] == "half"
    assert len(after["outcomes"]) > len(state["outcomes"])


@pytest.mark.parametrize(
    ("preset", "algo", "message"),
    [
        pytest.param(
            "point-choosing", "sac", "SAC needs a Box of actions (a,), got Discrete(3)", marks=pytest.mark.deep
        ),
        ("point-choosing", "sb3-ppo", "a Box of actions from -1 to 1 is needed"),
        pytest.param("point-unreadable", "sac", "Discrete(3)", marks=pytest.mark.deep),
        ("point-unreadable", "ppo", "Discrete(3)"),
    ],
)
def test_worlds_that_no_learner_can_work_with_are_refused_and_leave_no_run(
    tmp_path: Path, preset: str, algo: str, message: str
) -> None:
    process = start(tmp_path, "--preset", preset, "--algo", algo)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert message in " ".join(err.split())
    assert "Training point" not in out + err, "it is refused before anything begins"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_budget_that_ends_before_learning_begins_is_told_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "point", "--steps", "40")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    said = " ".join(out.split())
    assert "Nothing is learnt in these: the first gradient step comes with decision" in said
    assert "NOTHING WAS LEARNT" in said


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("setting", "was", "value", "message"),
    [
        ("hidden", "sac", [16, 16], "the checkpoint's networks are"),
        ("capacity", "sac", 64, "the checkpoint's replay has"),
        ("algo", "", "ppo", "for networks.actor"),
        ("algo", "", "sb3-sac", "the checkpoint has None for"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_and_left_as_it_was(
    killed: Path, tmp_path: Path, setting: str, was: str, value: object, message: str
) -> None:
    data = Path(shutil.copytree(killed, tmp_path / "data"))
    path = only_run(data) / "config.json"
    config = json.loads(path.read_bytes())
    (config["train"][was] if was else config["train"])[setting] = value
    path.write_text(json.dumps(config))
    before = contents(data)
    process = start(data, "--resume", only_run(data).name)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert message in err
    assert "resume it with the settings" in err
    assert contents(data) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "reach", "--arm", "ur6"], "unknown arm 'ur6'; valid, nearest first: ur5"),
        (["--preset", "reach", "--task", "graps"], "unknown task 'graps'; valid, nearest first: grasp"),
        (["--preset", "reach", "--task", "grasp"], "preset reach is for reach, not for grasp; presets for that: grasp"),
        (["--preset", "grasp", "--arm", "ur5", "--rig", "hanging"], "unknown rig of ur5 'hanging'; valid"),
        (["--preset", "depth-sac", "--sees", "top_depth"], "unknown camera of dofbot 'top'; valid"),
        (["--resume", "newest", "--algo", "ppo"], "keep the settings of their run"),
        (["--from", "newest", "--preset", "reach"], "keep the settings of their run"),
        (["--resume", "newest", "--seed=0"], "keep the settings of their run"),
        (["--seed", "99999999999999999999"], "--seed must be at least 0 and below 2147483648"),
        (["--sac.entropy-per-action", "nan"], "entropy_per_action is nan"),
        (["--screening-episodes", "-1"], "screening_episodes is -1"),
        (["--preset", "grap"], "unknown preset 'grap'; valid, nearest first: grasp"),
        (["--steps", "0"], "max_decisions is 0"),
        (["--resume", "nowhere"], "unknown run 'nowhere'"),
        (["--curriculum", "referense"], "unknown curriculum 'referense'; valid, nearest first: reference"),
        (["--renderer", "elg"], "unknown renderer 'elg'"),
        (["--randomization", "milt"], "unknown randomization preset 'milt'; valid, nearest first: mild"),
        (["--distractors", "5"], "distractors must be a whole number from 0 to 4, got 5"),
        (["--distractors", "-1"], "distractors must be a whole number from 0 to 4, got -1"),
    ],
)
def test_bad_arguments_exit_with_2_and_say_what_would_be_right(
    tmp_path: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts.main import main

    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert main(["train", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
