"""`tandem jog` at a real keyboard (a pseudo-terminal) and a virtual board on another one."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.episode_reader import read_episode
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from hardware.virtual.pty_port import run_in_thread
from hardware.virtual.sts_board import StsBoard
from scripts.main import main

LYING = (2000, 2300, 2200, 2100, 1487, 1000)


@pytest.fixture
def board() -> Iterator[DofbotBoard]:
    clock = MonotonicClock()
    plant = FreePlant(clock, start_ticks=LYING, sagged_ticks=LYING)
    board = DofbotBoard(plant, np.random.default_rng(5), clock.now_ns())
    with board.run_in_thread(clock):
        yield board
    board.close()


def _own_terminal() -> None:
    """Make standard input the terminal whose Ctrl-C reaches this process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    return tmp_path


class Person:
    """Types keys and reads the screen of a `tandem jog`."""

    def __init__(self, port: str, *options: str) -> None:
        self._keys, screen = os.openpty()
        words = [sys.executable, "-m", "scripts.main", "jog", "--port", port, *options]
        self.process = subprocess.Popen(
            words, stdin=screen, stdout=screen, stderr=screen, start_new_session=True, preexec_fn=_own_terminal
        )
        os.close(screen)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def wait_for(self, text: str, limit_s: float = 10.0) -> str:
        """Return what has been on the screen once `text` is."""
        deadline_s = time.monotonic() + limit_s
        while text not in self.seen:
            ready, _, _ = select.select([self._keys], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, f"{text!r} never came; the screen said:\n{self.seen}"
            try:
                self.seen += os.read(self._keys, 4096).decode()
            except OSError:  # the program has ended
                break
        assert text in self.seen, self.seen
        return self.seen

    def leave(self) -> int:
        code = self.process.wait(5.0)
        while select.select([self._keys], [], [], 0.0)[0]:
            try:
                self.seen += os.read(self._keys, 4096).decode()
            except OSError:
                break
        os.close(self._keys)
        return code


@pytest.fixture
def person(board: DofbotBoard) -> Iterator[Person]:
    person = Person(board.port, "--json")
    yield person
    if person.process.poll() is None:
        person.process.kill()
        person.process.wait()


def settled(board: DofbotBoard) -> list[int]:
    time.sleep(0.3)
    return [round(v) for v in board.plant.positions_ticks()]


def test_jog_holds_the_arm_where_it_lies_and_moves_one_servo_by_small_steps(board: DofbotBoard, person: Person) -> None:
    person.wait_for("keys:")
    assert settled(board) == list(LYING)
    assert board.torque_on == (True,) * 6
    person.type("2")
    for target in (2310, 2320, 2330):
        person.type("\x1b[A")
        person.wait_for(f"target {target}")
    assert settled(board) == [2000, 2330, 2200, 2100, 1487, 1000]
    person.type("6-")
    person.wait_for("target 990")
    person.type("q")
    assert person.leave() == 0
    assert board.torque_on == (True,) * 6  # the arm stays where it is
    result = json.loads(person.seen.strip().splitlines()[-1])
    assert result["steps"] == 4
    assert result["torque_on"] is True
    assert np.abs(np.array(result["position_ticks"]) - [2000, 2330, 2200, 2100, 1487, 990]).max() <= 10
    moves = [f for f in board.heard if 0x11 <= f.command <= 0x16]
    assert [(f.command, int.from_bytes(f.data[:2], "big")) for f in moves] == [
        (0x12, 2310),
        (0x12, 2320),
        (0x12, 2330),
        (0x16, 990),
    ]
    assert all(int.from_bytes(f.data[2:], "big") == 100 for f in moves)


def single_moves(board: DofbotBoard) -> list[int]:
    return [f.stamp_ns for f in list(board.heard) if 0x11 <= f.command <= 0x16]


@pytest.mark.parametrize("key", [" ", "q"])
def test_a_key_that_stops_overtakes_the_keys_before_it(board: DofbotBoard, person: Person, key: str) -> None:
    person.wait_for("torque on")
    person.type("1" + "+-" * 20 + key)
    time.sleep(1.0)
    assert len(single_moves(board)) <= 1
    assert [f.command for f in board.heard if f.command < 0x30][-1] == 0x1D  # the targets, once more


def test_a_held_key_moves_slowly_and_its_release_ends_the_motion(board: DofbotBoard, person: Person) -> None:
    person.wait_for("torque on")
    for _ in range(60):  # a keyboard repeats 30 times a second
        person.type("+")
        time.sleep(1 / 30)
    released_ns = time.monotonic_ns()
    time.sleep(1.0)
    moves = single_moves(board)
    assert len(moves) >= 3
    assert (moves[-1] - moves[0]) * 1e-9 / (len(moves) - 1) > 0.098  # ten steps a second at most
    assert float(np.diff(moves).min()) * 1e-9 > 0.04  # a busy machine hears one late, and the next on time
    assert (moves[-1] - released_ns) * 1e-9 < 0.4


def test_jog_goes_no_further_against_an_obstacle(board: DofbotBoard, person: Person) -> None:
    assert isinstance(board.plant, FreePlant)
    board.plant.blocked[2] = True
    person.wait_for("keys:")
    person.type("3")
    for _ in range(8):
        person.type("+")
        time.sleep(0.3)
    person.wait_for("not moved")
    assert board.setpoint_ticks[2] <= 2250.1
    time.sleep(3.3)
    assert board.stalled_servos == ()  # 50 counts do not trip the protection


def test_what_was_jogged_is_recorded_in_counts(
    board: DofbotBoard, person: Person, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person.wait_for("torque on")
    person.type("2+")
    person.wait_for("target 2310")
    person.type("+")
    person.wait_for("target 2320")
    person.type("r")
    person.wait_for("press r again")
    person.type("r")
    person.wait_for("torque OFF")
    person.type("q")
    assert person.leave() == 0
    (file,) = (data / "episodes").glob("*.mcap")
    episode = read_episode(file)
    assert episode.whole
    assert (episode.header.robot, episode.header.policy, episode.header.joint_names) == (board.port, "jog", ())
    assert episode.ending is not None
    assert (episode.ending.ending, episode.ending.outcome) == ("done", "2 steps")
    held, one_by_one = (
        [w for w in episode.bus_sent if len(w.ticks) == 6],
        [w for w in episode.bus_sent if len(w.ticks) == 1],
    )
    assert [w.ticks for w in held[:2]] == [LYING, LYING]  # before and after the torque comes on
    assert [(w.servo_ids, w.ticks) for w in one_by_one] == [((2,), (2310,)), ((2,), (2320,))]
    on_the_wire = [f.stamp_ns for f in board.heard if f.command == 0x12]
    assert np.abs(np.array([w.stamp_ns for w in one_by_one]) - on_the_wire).max() < 50_000_000
    assert [e.text for e in episode.events if e.name == "torque"] == ["on", "off"]
    assert {r.servo_id for r in episode.bus_read} == {1, 2, 3, 4, 5, 6}
    assert max(r.ticks for r in episode.bus_read if r.servo_id == 2) > 2305

    assert main(["episodes", "show", "--no-plot"]) == 0
    shown = capsys.readouterr().out
    assert "servo 2: sent" in shown
    assert "2300..2320" in shown


def test_nothing_is_recorded_where_nobody_wants_it(board: DofbotBoard, data: Path) -> None:
    person = Person(board.port, "--no-record")
    person.wait_for("torque on")
    person.type("q")
    assert person.leave() == 0
    assert not (data / "episodes").exists()


def test_torque_goes_only_when_asked_twice(board: DofbotBoard, person: Person) -> None:
    person.wait_for("keys:")
    person.type("r")
    person.wait_for("press r again")
    time.sleep(0.1)
    assert board.torque_on == (True,) * 6
    person.type("1")
    person.wait_for("[1:2000]")
    person.type("r")
    time.sleep(0.5)
    assert board.torque_on == (True,) * 6  # another key in between: asked anew
    person.type("r")
    person.wait_for("torque OFF")
    time.sleep(0.1)
    assert board.torque_on == (False,) * 6


@pytest.mark.parametrize(("key", "code"), [("\x1b", 0), ("\x03", 130)])
def test_esc_alone_stops_and_ctrl_c_interrupts(board: DofbotBoard, person: Person, key: str, code: int) -> None:
    person.wait_for("torque on")
    person.type(key)
    assert person.leave() == code
    assert board.torque_on == (True,) * 6


def test_without_a_terminal_nothing_is_opened(board: DofbotBoard) -> None:
    words = [sys.executable, "-m", "scripts.main", "jog", "--port", board.port]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "terminal" in done.stderr
    assert not board.heard


def test_a_missing_port_is_told_before_a_missing_terminal() -> None:
    words = [sys.executable, "-m", "scripts.main", "jog", "--port", "/dev/ttyNoSuchPort"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ttyNoSuchPort" in done.stderr
    assert "terminal" not in done.stderr


def test_a_missing_port_is_a_bad_argument() -> None:
    person = Person("/dev/ttyNoSuchPort")
    assert person.process.wait(10.0) == 2
    assert "ttyNoSuchPort" in person.wait_for("ttyNoSuchPort")


def test_jog_moves_the_servos_of_another_bus_and_shows_how_they_are() -> None:
    clock = MonotonicClock()
    plant = FreePlant(clock, start_ticks=(2048,) * 6, sagged_ticks=(2048,) * 6)
    board = StsBoard(plant, clock.now_ns())
    with run_in_thread(board, clock):
        person = Person(board.port, "--bus", "sts", "--json")
        person.wait_for("target 2048")
        person.type("\x1b[C\x1b[A")  # right, up
        person.wait_for("target 2058")
        person.wait_for("[2:2058]")
        person.type("v")
        person.wait_for("7.4 V, 35 °C, 130 mA")
        person.type("q")
        assert person.leave() == 0
    board.close()
    result = json.loads(person.seen.strip().splitlines()[-1])
    assert (result["steps"], result["measured"]) == (1, True)
    assert round(float(plant.positions_ticks()[1])) == 2058


def test_an_i2c_bus_that_is_not_there_is_a_bad_argument() -> None:
    person = Person("/dev/i2c-77", "--bus", "pca9685")
    assert person.process.wait(10.0) == 2
    assert "/dev/i2c-77" in person.wait_for("i2c-77")


@pytest.mark.parametrize(
    ("words", "said"), [(("--step-ticks", "200"), "1 to 25"), (("--servo-ids", "7"), "a Dofbot's servos are 1 to 6")]
)
def test_a_step_that_is_not_small_and_servos_that_a_dofbot_has_not_are_refused_and_leave_no_recording(
    words: tuple[str, ...], said: str, board: DofbotBoard, data: Path
) -> None:
    person = Person(board.port, *words)
    assert person.process.wait(10.0) == 2
    person.wait_for(said)
    assert board.torque_on == (False,) * 6
    assert not (data / "episodes").exists()
