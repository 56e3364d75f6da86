"""Demonstrations in a recording: they come back bit by bit, and what is missing is left out and said."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.actions import LATERAL_ACTION
from bridge.encoding import GRASP_STATE
from bridge.episode import EpisodeWriter
from bridge.episode_attempts import read_demonstrations
from bridge.episode_decisions import Decision, Outcome, PartLayout, pack_picture, unpack_picture
from bridge.episode_reader import read_episode
from bridge.episode_repair import repair_episode
from bridge.episode_witness import Demonstrator, WitnessedPolicy, demonstration_header, part_layouts
from bridge.errors import BadEpisode, BadMessage
from bridge.observation import CameraView, ImageKind, ObservationSpec, Observed
from tests.bridge.recordings import CLOCK, make_header, make_step
from urdf.description import load_arm

ROOT = Path(__file__).parents[2]
DOFBOT = load_arm("dofbot")
SPEC = ObservationSpec(
    views=(CameraView("wrist", ImageKind.DEPTH, 8, 6), CameraView("desk", ImageKind.RGB, 5, 4)), frames=2
)
HEADER = msgspec.structs.replace(
    demonstration_header("grasp", SPEC, GRASP_STATE, LATERAL_ACTION, 3, DOFBOT),
    environment="Tandem/Dofbot-Grasp-v0",
    discount=0.95,
    seed=7,
)
Seen = dict[str, np.ndarray]


def seen(rng: np.random.Generator) -> Seen:
    depth_m = rng.uniform(0, 0.6, (2, 6, 8)).astype(np.float16)
    depth_m[0, 0, :3] = (0.0, np.nan, np.float16(6e-8))
    return {
        "state": rng.normal(size=20).astype(np.float32),
        "wrist_depth": depth_m,
        "desk_rgb": rng.integers(0, 256, (6, 4, 5), dtype=np.uint8),
    }


def write_attempt(demonstrator: Demonstrator, rng: np.random.Generator, decisions: int, success: bool) -> list[Seen]:
    """Write an attempt of so many decisions whose rewards are known; return everything that was seen."""
    demonstrator.begin()
    shown = [seen(rng) for _ in range(decisions + 1)]
    for k, observation in enumerate(shown[:-1]):
        demonstrator.decide(observation, np.array([0.1 * k, -1 / 3], np.float32))
        last = k == decisions - 1
        demonstrator.outcome(0.5 * k, terminated=last, success=success if last else None)
    demonstrator.see_last(shown[-1])
    return shown


def open_writer(path: Path) -> EpisodeWriter:
    return EpisodeWriter(path, make_header(), CLOCK, demonstration=HEADER)


def test_what_a_policy_saw_and_did_comes_back_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    writer = open_writer(tmp_path / "d.mcap")
    demonstrator = Demonstrator(writer, HEADER, CLOCK)
    first = write_attempt(demonstrator, rng, 4, success=True)
    write_attempt(demonstrator, rng, 2, success=False)
    writer.close()
    found = read_demonstrations(tmp_path / "d.mcap")
    assert found.layout == HEADER
    assert (found.header.arm, found.remarks) == ("dofbot", ())
    one, two = found.attempts
    for name in ("state", "wrist_depth", "desk_rgb"):
        expected = np.stack([observation[name] for observation in first])
        assert one.observations[name].dtype == expected.dtype
        np.testing.assert_array_equal(one.observations[name], expected)
    np.testing.assert_array_equal(one.actions, np.array([[0.1 * k, -1 / 3] for k in range(4)], np.float32))
    assert one.rewards.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert (one.number, one.terminated, one.truncated, one.verdict) == (1, True, False, "success")
    assert (two.number, two.decisions, two.verdict) == (2, 2, "failure")
    assert np.all(np.diff(one.stamp_ns) >= 0)


def test_every_half_precision_number_survives() -> None:
    """All 65,536 of them, infinities and NaNs with their payload too."""
    everything = np.arange(1 << 16, dtype=np.uint16).reshape(1, 256, 256)
    layout = PartLayout(name="depth", dtype="float16", shape=(1, 256, 256))
    back = unpack_picture(pack_picture(everything.view(np.float16)), layout)
    np.testing.assert_array_equal(back.view(np.uint16), everything)


def test_a_picture_of_another_size_is_refused() -> None:
    data = pack_picture(np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(BadMessage, match="do not fill"):
        unpack_picture(data, PartLayout(name="rgb", dtype="uint8", shape=(3, 4, 6)))


def test_an_arms_attempt_is_worth_its_success_at_its_end(tmp_path: Path) -> None:
    """On an arm nobody gives rewards: they come from how the attempt ended."""

    class Swing:
        def act(self, observation: Observed) -> np.ndarray:
            return np.array([0.25, 0.5], np.float32)

    writer = open_writer(tmp_path / "d.mcap")
    witness = WitnessedPolicy(Swing())
    rng = np.random.default_rng(2)
    witness.act(seen(rng))  # before anybody looks on
    witness.demonstrator = Demonstrator(writer, HEADER, CLOCK)
    for success, truncated in ((True, False), (None, True)):
        witness.demonstrator.begin()
        for _ in range(3):
            writer.record(make_step(0, CLOCK.now_ns()))
            witness.act(seen(rng))
        witness.demonstrator.end(success, truncated)
    writer.close()
    one, two = read_demonstrations(tmp_path / "d.mcap").attempts
    assert one.rewards.tolist() == [0.0, 0.0, 1.0]
    assert (one.terminated, one.truncated, one.verdict) == (True, False, "success")
    assert two.rewards.tolist() == [0.0, 0.0, 0.0]
    assert (two.terminated, two.truncated, two.verdict) == (False, True, "")
    # Nobody looked after the end: the last observation stands for it.
    np.testing.assert_array_equal(one.observations["state"][3], one.observations["state"][2])
    assert read_episode(tmp_path / "d.mcap").steps == 6


def test_an_attempt_without_its_end_is_left_out_and_said(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "d.mcap")
    demonstrator = Demonstrator(writer, HEADER, CLOCK)
    rng = np.random.default_rng(3)
    write_attempt(demonstrator, rng, 2, success=True)
    demonstrator.begin()
    demonstrator.decide(seen(rng), np.zeros(2, np.float32))
    writer.close("interrupted")
    found = read_demonstrations(tmp_path / "d.mcap")
    assert [attempt.number for attempt in found.attempts] == [1]
    assert found.remarks == (
        "attempt 2 is left out: it has no end after 1 decisions: the run was cut off or interrupted",
    )


def test_an_attempt_with_a_hole_is_left_out_and_said(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "d.mcap")
    rng = np.random.default_rng(4)
    for number in (0, 1, 3):
        writer.demonstrate(Decision(number, 1, number, seen(rng), np.zeros(2, np.float32)))
        writer.demonstrate(Outcome(number, 1, number, 0.0, terminated=number == 3, verdict="success"))
    writer.close()
    found = read_demonstrations(tmp_path / "d.mcap")
    assert found.attempts == ()
    assert found.remarks == ("attempt 1 is left out: 1 of its 4 decisions are missing, the first is number 2",)


def test_a_recording_of_before_is_read_and_has_no_demonstration(tmp_path: Path) -> None:
    path = tmp_path / "e.mcap"
    writer = EpisodeWriter(path, make_header(), CLOCK)
    writer.record(make_step(1, CLOCK.now_ns()))
    writer.close()
    assert read_episode(path).steps == 1
    with pytest.raises(BadEpisode, match=r"holds no demonstration: .* `tandem episodes record`"):
        read_demonstrations(path)


def test_an_action_that_the_layout_has_not_is_refused(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "d.mcap")
    rng = np.random.default_rng(5)
    writer.demonstrate(Decision(0, 1, 0, seen(rng), np.zeros(5, np.float32)))
    writer.demonstrate(Outcome(0, 1, 0, 0.0, terminated=True))
    writer.close()
    with pytest.raises(BadEpisode, match="other than the 2 numbers of lateral"):
        read_demonstrations(tmp_path / "d.mcap")


def test_a_policy_that_is_not_told_where_the_object_is_has_fewer_features() -> None:
    (state, own) = part_layouts(ObservationSpec(object_pose=False, proprioception=True), GRASP_STATE, DOFBOT)
    assert state.shape == (11,)
    assert not any(name.startswith("block_") for name in state.feature_names)
    assert own.shape == (2 * 6 + 10,)


def test_a_kill_costs_less_than_half_a_second_of_a_demonstration(tmp_path: Path) -> None:
    path = tmp_path / "d.mcap"
    words = [sys.executable, "-m", "tests.bridge.demonstrating", str(path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(120)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    last_attempt, last_number, last_ns = (int(word) for word in told[-1].split())
    assert last_attempt > 10
    before = repair_episode(path)  # what is left is made whole
    assert not before.whole
    found = read_demonstrations(path)
    whole = [attempt.number for attempt in found.attempts]
    assert whole == list(range(1, len(whole) + 1))
    lost_ns = last_ns - int(found.attempts[-1].stamp_ns[-1])
    # An attempt lasts 50 ms here, and the one that was under way is left out.
    assert lost_ns < 0.5e9 + 50e6, f"{lost_ns * 1e-9:.3f} s lost after decision {last_number} of attempt {last_attempt}"
