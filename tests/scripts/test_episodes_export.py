"""`tandem episodes export` and `import`: other libraries read what we write, and what comes back is what went out."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import av
import gymnasium
import minari
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from minari.data_collector import EpisodeBuffer

import sim
from bridge.observation import ObservationSpec
from scripts.episodes_export import ExportSummary
from scripts.main import main
from scripts.programs.demonstration_set import DemonstrationSet
from scripts.programs.demonstration_source import as_demonstrations, open_demonstrations, read_any
from sim.env import ArmEnv
from tests.scripts.demonstrations import make_recording
from urdf.errors import UnknownName

ROOT = Path(__file__).parents[2]
GRASP = "Tandem/Dofbot-Grasp-v0"
ATTEMPTS = ((5, True), (4, False), (3, None), (6, True))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a recording of four attempts, two of which succeeded."""
    folder = tmp_path_factory.mktemp("data")
    make_recording(folder / "episodes" / "20260131T120000Z.mcap", ATTEMPTS, environment=GRASP)
    return folder


@pytest.fixture(autouse=True)
def _data_folder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(data))


def export(capsys: pytest.CaptureFixture[str], *words: str) -> ExportSummary:
    capsys.readouterr()
    assert main(["episodes", "export", *words, "--json"]) == 0
    return msgspec.json.decode(capsys.readouterr().out.splitlines()[-1], type=ExportSummary)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command says that exits with 2."""
    capsys.readouterr()
    assert main(["episodes", *words]) == 2
    return capsys.readouterr().err


def assert_equal(found: DemonstrationSet, expected: DemonstrationSet, colours_within: int = 0) -> None:
    assert found.origin == expected.origin
    assert len(found.attempts) == len(expected.attempts)
    for one, other in zip(found.attempts, expected.attempts, strict=True):
        for name in ("number", "terminated", "truncated", "verdict"):
            assert getattr(one, name) == getattr(other, name), name
        arrays = {"stamp_ns": one.stamp_ns, "actions": one.actions, "rewards": one.rewards, **one.observations}
        wanted = {"stamp_ns": other.stamp_ns, "actions": other.actions, "rewards": other.rewards, **other.observations}
        assert arrays.keys() == wanted.keys()
        for name, array in arrays.items():
            assert array.dtype == wanted[name].dtype, name
            within = colours_within if array.dtype == np.uint8 else 0
            np.testing.assert_allclose(array.astype(float), wanted[name].astype(float), rtol=0, atol=within)


# There and back ----------------------------------------------------------------------------------
@pytest.mark.parametrize("words", [("npz",), ("minari",), ("lerobot", "--lossless-video")])
def test_an_export_that_is_imported_again_is_equal(
    data: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    name = f"there-{words[0]}-v0"
    out = export(capsys, "--all", "--name", name, "--format", *words)
    assert (out.attempts, out.decisions, out.arm, out.task) == (4, 18, "dofbot", "grasp")
    expected = open_demonstrations(["newest"], data, only_successes=False)
    assert_equal(read_any(data / "demonstrations" / name), expected)
    assert main(["episodes", "import", str(data / "demonstrations" / name), "--name", f"back-{words[0]}"]) == 0
    assert_equal(open_demonstrations([f"back-{words[0]}"], data), expected)


def test_colours_of_a_video_that_browsers_play_are_nearly_those_that_were_seen(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything else, depth too, is equal bit by bit."""
    out = export(capsys, "--all", "--name", "browsers", "--format", "lerobot")
    expected = open_demonstrations(["newest"], data, only_successes=False)
    assert_equal(read_any(Path(out.path)), expected, colours_within=12)


def test_only_successes_are_exported_unless_all_are_asked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = export(capsys, "--name", "good")
    assert (out.attempts, out.decisions) == (2, 11)
    learner = as_demonstrations(open_demonstrations(["good"], data))
    assert [len(attempt.actions) for attempt in learner.attempts] == [5, 6]
    assert all(attempt.terminated for attempt in learner.attempts)


# Minari ------------------------------------------------------------------------------------------
def test_minari_reads_it_and_makes_the_environment_again(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = export(capsys, "--name", "library-v0", "--format", "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(Path(out.path).parent))
    dataset = minari.load_dataset("library-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 11)
    expected = open_demonstrations(["newest"], data).attempts
    for episode, attempt in zip(dataset.iterate_episodes(), expected, strict=True):
        np.testing.assert_array_equal(episode.observations["wrist_depth"], attempt.observations["wrist_depth"])
        np.testing.assert_array_equal(episode.actions, attempt.actions)
        assert episode.terminations.tolist() == [False] * (attempt.decisions - 1) + [True]
        assert dataset.observation_space.contains({k: part[0] for k, part in episode.observations.items()})
    env = dataset.recover_environment()
    try:
        arm = env.unwrapped
        assert isinstance(arm, ArmEnv)
        assert arm.observation_spec == open_demonstrations(["newest"], data).origin.layout.spec
        observation, _ = env.reset(seed=1)
        assert observation.keys() == dataset.observation_space.spaces.keys()  # pyright: ignore
        env.step(np.zeros(2, np.float32))
    finally:
        env.close()


def test_a_dataset_that_minari_made_in_our_environment_is_imported(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sim.__name__ == "sim"  # importing it registers the environment
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gymnasium.make("Tandem/Dofbot-Reach-v0")
    seen, actions, rewards = [env.reset(seed=3)[0]], [], []
    for k in range(4):
        actions.append(np.array([0.5, -0.5, 0.1 * k], np.float32))
        observation, reward, terminated, _, _ = env.step(actions[-1])
        assert not terminated
        seen.append(observation)
        rewards.append(float(reward))
    ends = [False, False, False, True]
    buffer = EpisodeBuffer(
        observations=seen, actions=actions, rewards=rewards, terminations=[False] * 4, truncations=ends,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="author"):
        minari.create_dataset_from_buffers("theirs-v0", [buffer], env=env)
    env.close()
    assert main(["episodes", "import", str(tmp_path / "theirs-v0"), "--task", "reach"]) == 0
    found = open_demonstrations(["theirs-v0"], data)
    assert (found.origin.arm, found.origin.layout.task, found.origin.policies) == ("dofbot", "reach", ("minari",))
    (attempt,) = found.attempts
    np.testing.assert_array_equal(attempt.observations["state"], np.stack(seen))
    np.testing.assert_array_equal(attempt.actions, np.stack(actions))
    assert (attempt.rewards.tolist(), attempt.truncated, attempt.verdict) == (rewards, True, "")


def test_a_dataset_of_another_environment_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gymnasium.make("CartPole-v1")
    buffer = EpisodeBuffer(
        observations=[env.observation_space.sample() for _ in range(3)], actions=[0, 1], rewards=[1.0, 1.0],
        terminations=[False, True], truncations=[False, False],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="author"):
        minari.create_dataset_from_buffers("pole-v0", [buffer], env=env)
    said = refused(capsys, "import", str(tmp_path / "pole-v0"))
    assert "is of the environment 'CartPole-v1', not of an arm of Tandem's" in said


# LeRobot -----------------------------------------------------------------------------------------
def test_a_lerobot_dataset_says_what_it_holds(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = export(capsys, "--name", "files", "--format", "lerobot")
    folder = Path(out.path)
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["robot_type"]) == ("v3.0", "dofbot")
    assert (info["total_episodes"], info["total_frames"], info["splits"]) == (2, 11, {"train": "0:2"})
    assert info["fps"] == pytest.approx(20 / 3)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["dx", "dy"], "info": None}
    frames = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    assert frames["episode_index"] == [0] * 5 + [1] * 6
    assert frames["index"] == list(range(11))
    np.testing.assert_allclose(frames["timestamp"][:5], np.arange(5) * 0.15, atol=1e-6)
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"], row["length"]) for row in episodes] == [
        (0, 5, 5), (5, 11, 6)
    ]  # fmt: skip
    stats = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([attempt.actions for attempt in open_demonstrations(["newest"], data).attempts])
    np.testing.assert_allclose(stats["action"]["std"], actions.astype(float).std(axis=0))
    assert stats["action"]["count"] == [11]
    assert np.shape(stats["observation.images.wrist_rgb"]["mean"]) == (3, 1, 1)
    with av.open(str(folder / "videos/observation.images.wrist_rgb/chunk-000/file-000.mp4")) as video:
        stamps = [frame.time or 0.0 for frame in video.decode(video=0)]
    np.testing.assert_allclose(stamps, np.arange(11) * 0.15, atol=1e-6)


def test_lerobots_own_loader_reads_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = os.environ.get("TANDEM_LEROBOT_PYTHON")
    if not python:
        pytest.skip("TANDEM_LEROBOT_PYTHON names no interpreter with lerobot 0.4.4: docs/demonstrations.md says how")
    out = export(capsys, "--name", "loader", "--format", "lerobot", "--lossless-video")
    words = [python, "-m", "tests.scripts.lerobot_loader", out.path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    attempts = open_demonstrations(["newest"], data).attempts
    sentence = "Grasp the block and lift it."
    assert (found["episodes"], found["robot"], found["tasks"], found["task"]) == (2, "dofbot", [sentence], sentence)
    assert found["fps"] == pytest.approx(20 / 3)
    assert found["episode_index"] == [0] * 5 + [1] * 6
    assert found["success"] == [False] * 4 + [True] + [False] * 5 + [True]
    for key, part in (
        ("observation.state", "proprioception"),
        ("observation.environment_state", "state"),
        ("observation.wrist_depth", "wrist_depth"),
    ):
        expected = np.concatenate([attempt.observations[part][:-1] for attempt in attempts])
        np.testing.assert_array_equal(np.array(found["numbers"][key], np.float32), expected.astype(np.float32))
    for part in ("wrist_rgb", "wrist_gray"):
        expected = np.concatenate([attempt.observations[part][:-1] for attempt in attempts])
        shown = 255 * np.array(found["pictures"][f"observation.images.{part}"])
        np.testing.assert_allclose(shown, np.broadcast_to(expected, shown.shape), atol=1e-3)
    actions = np.concatenate([attempt.actions for attempt in attempts])
    np.testing.assert_array_equal(np.array(found["numbers"]["action"], np.float32), actions)
    np.testing.assert_array_equal(np.array(found["ahead"][0], np.float32), actions[:3])
    assert found["beyond"][3:6] == [[False, False, True], [False, True, True], [False, False, False]]
    np.testing.assert_allclose(found["mean"]["action"], actions.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"robot_type": "so100_follower", "tandem": None},
            "is of another arm: robot_type 'so100_follower', with actions",
        ),
        ({"tandem": None}, "was not written by Tandem: it does not say which layouts"),
        ({"codebase_version": "v2.1"}, "has format v2.1: this program reads v3"),
    ],
)
def test_a_lerobot_dataset_of_somebody_else_is_refused_with_the_reason(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], says: str
) -> None:
    out = export(capsys, "--out", str(tmp_path), "--name", "mine", "--format", "lerobot")
    path = Path(out.path) / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert says in refused(capsys, "import", out.path)


# Bad input ---------------------------------------------------------------------------------------
def test_recordings_that_do_not_belong_together_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = {
        "arm is ur5, not dofbot": make_recording(data / "a.mcap", ((2, True),), arm="ur5"),
        "task is pick-place, not grasp": make_recording(data / "t.mcap", ((2, True),), task="pick-place"),
        "parts of an observation is state": make_recording(data / "l.mcap", ((2, True),), spec=ObservationSpec()),
    }
    for says, other in others.items():
        assert says in refused(capsys, "export", "20260131T120000Z", str(other))
    assert not list((data / "demonstrations").glob("*-l-*"))


def test_what_holds_no_whole_or_no_good_attempt_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = make_recording(tmp_path / "empty.mcap", ())
    assert "no attempt has an end" in refused(capsys, "export", str(empty))
    unlabelled = make_recording(tmp_path / "unlabelled.mcap", ((3, None), (2, None)))
    said = refused(capsys, "export", str(unlabelled))
    assert "none of 2 attempts is a success, 2 have no label. Label them with `tandem episodes label`" in said
    cut = make_recording(tmp_path / "cut.mcap", ((3, True),))
    cut.write_bytes(cut.read_bytes()[:3000])
    assert "cut off" in refused(capsys, "export", str(cut))
    with pytest.raises(UnknownName, match="unknown demonstration 'nonsense'"):
        open_demonstrations(["nonsense"], tmp_path)


def test_what_is_there_is_not_written_over(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("npz", "minari", "lerobot"):
        out = export(capsys, "--name", f"twice-{kind}-v0", "--format", kind)
        before = {file: file.stat().st_mtime_ns for file in Path(out.path).parent.rglob("*")}
        assert "exists: give" in refused(capsys, "export", "--name", f"twice-{kind}-v0", "--format", kind)
        assert {file: file.stat().st_mtime_ns for file in Path(out.path).parent.rglob("*")} == before
    assert "--name '../x'" in refused(capsys, "export", "--name", "../x")


def test_a_file_of_another_kind_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "steps.npz").write_bytes(b"no zip at all")
    assert "holds no demonstrations that can be read" in refused(capsys, "import", str(tmp_path / "steps.npz"))
    np.savez(tmp_path / "other.npz", allow_pickle=True, header=np.array([{"a": 1}], dtype=object))
    assert "Object arrays cannot be loaded" in refused(capsys, "import", str(tmp_path / "other.npz"))
    (tmp_path / "folder").mkdir()
    assert "is none of these" in refused(capsys, "import", str(tmp_path / "folder"))


def test_demonstrations_of_an_arm_that_has_changed_are_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts.programs.demonstration_file import write_steps

    good = open_demonstrations(["newest"], data)
    changed = dataclasses.replace(good, origin=msgspec.structs.replace(good.origin, arm_sha256="0" * 64))
    path = write_steps(changed, tmp_path / "steps.npz")
    assert "its actions mean something else here" in refused(capsys, "import", str(path))
    assert "is of task 'grasp', not of 'reach'" in refused(capsys, "import", str(path), "--task", "reach")


def test_a_full_disk_leaves_nothing_behind_and_the_recording_whole(data: Path, tmp_path: Path) -> None:
    """A limit on the size of files says what a full disk says: no more bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    program = (
        "import sys; from scripts.main import main; "
        "sys.exit(sum(main(['episodes', 'export', '--format', k, '--out', sys.argv[1]]) for k in sys.argv[2:]))"
    )
    words = [sys.executable, "-c", program, str(tmp_path), "npz", "minari", "lerobot"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit, timeout=100)
    assert done.returncode == 3, done.stderr  # once each
    assert done.stderr.count("make room") == 3
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert len(open_demonstrations(["newest"], data).attempts) == 2
