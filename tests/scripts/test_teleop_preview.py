"""`tandem teleop --preview`: the twin follows, the person says go, then the arm does; nothing jumps."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bridge.episode_reader import read_episode
from perception.body import BodyPose, Side
from perception.landmark_log import LandmarkLog
from scripts.main import main
from scripts.programs.pose_track import QUIET, Waypoint, pose_track
from scripts.programs.teleop_arm import TeleopArm, simulated_arm
from scripts.programs.teleop_preview import both_hands_up
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
REST, ASIDE, OVERHEAD = (0.15, 0.35, -0.1), (0.27, 0.35, -0.05), (0.05, 0.15, 0.42)


def led(last: Sequence[Waypoint]) -> tuple[Waypoint, ...]:
    """Return somebody who comes with a raised hand, lowers it, raises it again, and leads the arm aside."""
    return (
        Waypoint(0.0, REST, other_raised=True),
        Waypoint(0.8, REST, other_raised=False),
        Waypoint(1.2, REST, other_raised=True),
        Waypoint(1.8, REST, other_raised=True),
        Waypoint(2.6, ASIDE, other_raised=True),
        Waypoint(3.2, ASIDE, other_raised=False),
        *last,
    )


GO = led([Waypoint(4.2, OVERHEAD, other_raised=True), Waypoint(5.6, OVERHEAD, other_raised=True)])
PASSING = led([Waypoint(4.2, OVERHEAD, other_raised=True), Waypoint(4.5, OVERHEAD), Waypoint(5.0, REST)])
STANDING = (Waypoint(0.0, REST), Waypoint(0.3, REST))


@pytest.fixture
def preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Waypoint]], int]:
    """The command before an arm that is simulated as well, but moves by a clock of its own."""
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))

    @contextmanager
    def arm(*_: object) -> Generator[tuple[TeleopArm, None]]:
        with simulated_arm(ARM, RIG, real_time=False) as itself:
            yield itself, None

    monkeypatch.setattr("scripts.teleop._arm", arm)

    def run(waypoints: Sequence[Waypoint]) -> int:
        path = tmp_path / "person.landmarks"
        with LandmarkLog(path, "synthetic", "synthetic person", "20260101T000000Z") as log:
            for sighting in pose_track(waypoints, Side.RIGHT, np.random.default_rng(1)):
                log.add(sighting)
        return main(["teleop", "--source", str(path), "--robot", "lab", "--preview", "--no-window", "--json"])

    return run


def test_both_hands_over_the_head_pass_the_arm_on_and_it_waits_for_a_lowered_hand(
    preview: Callable[[Sequence[Waypoint]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview(GO) == 0
    captured = capsys.readouterr()
    before, after = captured.err.split("now the arm itself")
    assert "preview, a simulated dofbot follows" in before
    assert "engaged: following" in before
    assert "let go of the deadman once" in after
    assert after.index("let go of the deadman once") < after.index("engaged: following")
    told = json.loads(captured.out.splitlines()[-1])
    episode = read_episode(Path(told["episode"]))
    kinematics = PinocchioKinematics(ARM, RIG)
    tools_m = np.array([kinematics.tool_in_desk(sent)[0] for sent in episode.sent_rad])
    assert np.linalg.norm(np.diff(tools_m, axis=0), axis=1).max() < 0.006
    waits = [bool(words) for words in episode.waiting_for]
    engaged = waits.index(False, waits.index(True))
    assert engaged > waits.index(True) + 50  # the hand that was up all the time counts for nothing
    assert np.abs(tools_m[:engaged] - tools_m[0]).max() < 1e-3
    assert tools_m[:, 0].max() - tools_m[0, 0] > 0.02


def test_hands_that_only_pass_over_the_head_leave_the_arm_as_it_is(
    preview: Callable[[Sequence[Waypoint]], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert preview(PASSING) == 0
    assert "the arm itself was not moved" in capsys.readouterr().err
    assert not (tmp_path / "episodes").exists()


@pytest.mark.deep
def test_a_key_says_go_as_well(
    preview: Callable[[Sequence[Waypoint]], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = iter("g")
    monkeypatch.setattr("scripts.teleop._keys", lambda stack: [lambda: next(keys, "")])
    assert preview(STANDING) == 0
    assert "now the arm itself" in capsys.readouterr().err


def test_one_hand_up_says_nothing_and_one_that_is_not_seen_neither() -> None:
    def body(wrist: tuple[float, float, float], raised: bool) -> BodyPose:
        track = pose_track(
            (Waypoint(0.0, wrist, other_raised=raised), Waypoint(0.1, wrist, other_raised=raised)),
            Side.RIGHT, np.random.default_rng(0), QUIET,
        )  # fmt: skip
        return track[0].bodies[0]

    assert both_hands_up(body(OVERHEAD, True))
    assert not both_hands_up(body(OVERHEAD, False))
    assert not both_hands_up(body(REST, True))
    assert not both_hands_up(None)
    hidden = body(OVERHEAD, True)
    hidden.visibility[15] = 0.1
    assert not both_hands_up(hidden)
