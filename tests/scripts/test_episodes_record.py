"""`tandem episodes record`: what is recorded is what happened; an early end costs the attempt under way."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.episode import EpisodeWriter
from bridge.episode_attempts import RecordedDemonstrations, read_demonstrations
from bridge.episode_reader import read_episode
from bridge.errors import BadEpisode
from bridge.observation import STATE
from policies.evaluation import episode_seeds
from scripts.episodes_record import EpisodesRecordArgs, RecordSummary
from scripts.main import main
from scripts.programs.demonstration_record import (
    SCENE,
    AttemptClock,
    DemonstratedAttempt,
    Reel,
    SimulationTape,
    record_attempts,
)
from scripts.programs.keyboard_policy import KeyboardPolicy
from sim.env import ArmEnv
from tests.scripts.demonstrations import header_of, layout_of

ROOT = Path(__file__).parents[2]
WORDS = ("--task", "pick-place", "--seed", "7", "--sees", "proprioception", "wrist_gray", "--picture-px", "12")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def recorded(data: Path) -> RecordedDemonstrations:
    """Two attempts of the oracle at a pick-and-place."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TANDEM_DATA", str(data))
    assert main(["episodes", "record", "--episodes", "2", *WORDS]) == 0
    patch.undo()
    (file,) = (data / "episodes").glob("*.mcap")
    return read_demonstrations(file)


def start(data: Path, *words: str, file_bytes: int | None = None) -> subprocess.Popen[str]:
    """Start the command in a process of its own; `file_bytes`: no file grows beyond."""

    def limit() -> None:
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [sys.executable, "-m", "scripts.main", "episodes", "record", "--task", "reach", *words]
    environment = {"PATH": "/usr/bin:/bin", "TANDEM_DATA": str(data), "OMP_NUM_THREADS": "1"}
    out, both = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, preexec_fn=limit, text=True, stdout=out, stderr=both
    )  # fmt: skip


def wait_for_attempts(data: Path, count: int) -> Path:
    """Return the recording once so many attempts are whole on the disk."""
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        for file in (data / "episodes").glob("*.mcap"):
            try:
                if len(read_demonstrations(file).attempts) >= count:
                    return file
            except BadEpisode:  # its first bytes are on the way
                pass
        time.sleep(0.1)
    raise AssertionError(f"no {count} attempts within a minute")


# What is recorded --------------------------------------------------------------------------------
def test_the_recorded_actions_lead_through_the_recorded_observations_and_rewards(
    recorded: RecordedDemonstrations,
) -> None:
    """The attempts are played again in an environment of their own, by their actions alone."""
    layout = recorded.layout
    assert (layout.task, layout.environment, layout.discount) == ("pick-place", "Tandem/Dofbot-PickPlace-v0", 1.0)
    env = ArmEnv(task="pick-place", spec=layout.spec, action_repeat=layout.action_repeat, discount=1.0)
    try:
        for attempt, seed in zip(recorded.attempts, episode_seeds(7, 2), strict=True):
            observation, _ = env.reset(seed=seed)
            terminated, info = False, dict[str, object]()
            for k, action in enumerate(attempt.actions):
                assert isinstance(observation, dict)
                for name, part in observation.items():
                    np.testing.assert_array_equal(attempt.observations[name][k], part)
                observation, reward, terminated, _, info = env.step(action)
                assert reward == attempt.rewards[k]
            assert (terminated, info["is_success"]) == (True, True)
            assert (attempt.terminated, attempt.verdict) == (True, "success")
    finally:
        env.close()


def test_the_flight_recorder_runs_beside_on_one_clock(recorded: RecordedDemonstrations) -> None:
    episode = read_episode(recorded.path)
    assert (episode.whole, episode.ending and episode.ending.outcome) == (True, "2 of 2 attempts succeeded")
    assert np.all(np.diff(episode.state_stamp_ns) > 0)  # though the simulation's clock began anew
    assert episode.steps == pytest.approx(3 * sum(attempt.decisions for attempt in recorded.attempts), abs=6)
    texts = [event.text for event in episode.events if event.name == "attempt"]
    assert texts[0] == "attempt 1 begins"
    assert texts[3].startswith("attempt 2: success")
    assert len(episode.picture_stamps_ns[SCENE]) > 20
    first, second = recorded.attempts
    assert first.stamp_ns[-1] < second.stamp_ns[0]


def test_what_the_policy_does_not_read_is_recorded_where_it_is_asked_for(recorded: RecordedDemonstrations) -> None:
    assert [part.name for part in recorded.layout.parts] == ["state", "proprioception", "wrist_gray"]
    pictures = recorded.attempts[0].observations["wrist_gray"]
    assert (pictures.dtype, pictures.shape[1:]) == (np.uint8, (1, 12, 12))
    assert pictures.std() > 5


def test_stats_of_the_recording_name_its_numbers_and_draw_it(
    recorded: RecordedDemonstrations, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(data))
    assert main(["episodes", "stats", recorded.path.stem]) == 0
    said = capsys.readouterr().out
    assert "dofbot pick-place on rig table, by oracle" in said
    assert "2 attempts, 2 of 2 succeeded (34-100 % with 95 %)" in said
    assert "Contact sheet: " in said


def test_a_person_at_the_keys_is_recorded_and_an_attempt_given_up_has_no_end(tmp_path: Path) -> None:
    class Typed:
        """Keys that are pressed one after the other."""

        def __init__(self, text: list[str]) -> None:
            self._text = text

        def read(self, timeout_s: float) -> str:
            return self._text.pop(0)

    tape = SimulationTape()
    env = ArmEnv(task="reach", recorder=tape)
    layout = msgspec.structs.replace(
        layout_of("dofbot", "grasp", env.observation_spec), task="reach", action_layout=env.action_layout
    )
    clock, done = AttemptClock(env.robot), list[DemonstratedAttempt]()
    writer = EpisodeWriter(tmp_path / "keys.mcap", header_of("dofbot"), clock, demonstration=layout)
    person = KeyboardPolicy(env.action_layout, Typed(["up", "w", "n", "left", "q"]), lambda _: None)
    try:
        record_attempts(env, tape, Reel(writer, clock, None), layout, [1, 2, 3], lambda _: person, done.append)
    finally:
        writer.close()
        env.close()
    assert [(attempt.number, attempt.decisions, attempt.success) for attempt in done] == [(1, 2, None)]
    episode = read_episode(tmp_path / "keys.mcap")
    assert episode.steps == 3 * 3
    assert "attempt 2: the person left" in [event.text for event in episode.events]


# What ends it early ------------------------------------------------------------------------------
def test_a_kill_costs_the_attempt_under_way_and_what_is_left_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(tmp_path, "--episodes", "500", "--no-pictures") as process:
        file = wait_for_attempts(tmp_path, 3)
        process.send_signal(signal.SIGKILL)
    whole = read_demonstrations(file)
    count = len(whole.attempts)
    assert [attempt.number for attempt in whole.attempts] == list(range(1, count + 1))
    assert whole.remarks[0].startswith("cut off at byte")
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert main(["episodes", "repair"]) == 0
    assert main(["episodes", "export"]) == 0
    assert f"{count} demonstrations of dofbot reach exported" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_whole_and_says_so(tmp_path: Path) -> None:
    with start(tmp_path, "--episodes", "500", "--no-pictures", "--json") as process:
        file = wait_for_attempts(tmp_path, 2)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "interrupted; what is whole is kept" in said
    summary = msgspec.json.decode(said.splitlines()[-1], type=RecordSummary)
    found = read_demonstrations(file)
    assert summary.attempts == len(found.attempts) >= 2
    assert read_episode(file).ending is not None


def test_a_full_disk_is_told_and_what_was_written_before_stays(tmp_path: Path) -> None:
    with start(tmp_path, "--episodes", "12", file_bytes=30_000) as process:
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 1, said
    assert "make room" in said
    assert "Traceback" not in said
    (file,) = (tmp_path / "episodes").glob("*.mcap")
    assert file.stat().st_size <= 30_000
    assert len(read_demonstrations(file).attempts) >= 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--episodes", "0"), "--episodes must be at least 1, got 0"),
        (("--policy", "orakle"), "valid, nearest first: oracle"),
        (("--sees", "privileged"), "no arm could show that"),
        (("--sees", "wrist_colour"), "unknown part of an observation 'wrist_colour'"),
        (("--robot", "lab", "--policy", "keyboard"), "waits for keys, an arm does not"),
        (("--robot", "lab", "--task", "reach"), "an arm grasps"),
        (("--robot", "attic"), "unknown robot 'attic'"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert main(["episodes", "record", *words]) == 2
    told = capsys.readouterr()
    assert says in " ".join((told.out + told.err).split())
    assert not (tmp_path / "episodes").exists()


def test_the_oracle_sees_the_state_whatever_else_is_asked_for() -> None:
    assert EpisodesRecordArgs().sees == ()
    from scripts.episodes_record import _seen
    from scripts.evaluate import scripted_choice

    args = EpisodesRecordArgs(sees=("wrist_depth",), frames=3)
    spec = _seen(args, scripted_choice("oracle", None).spec)
    assert (spec.part_names, spec.frames) == ((STATE, "wrist_depth"), 3)
