"""How the arm is left, read off the wire: a real server process on a servo board that speaks the real bytes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from bridge.errors import CommandRefused
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from hardware.virtual.dofbot_board import BoardFaults
from tests.bridge.benches import eventually
from tests.bridge.served_bench import ARM, CLOCK, MOVE_SIX, NAME, REST_RAD, TORQUE, Bench


def assert_ramp_to_rest_then_torque_off(bench: Bench, since_ns: int) -> None:
    """The wire carries a slow ramp that ends in the rest pose, then torque off, then nothing."""
    frames = bench.heard(since_ns)
    moves = [f for f in frames if f.command == MOVE_SIX]
    offs = [f for f in frames if f.command == TORQUE]
    assert offs
    assert all(f.data == b"\x00" for f in offs)
    assert moves[-1].stamp_ns < offs[0].stamp_ns
    assert frames[-1].command == TORQUE
    targets = np.array([bench.target_rad(f) for f in moves])
    np.testing.assert_allclose(targets[-1], REST_RAD, atol=5e-3)
    assert np.abs(targets[0] - REST_RAD).max() > 0.1
    gaps_s = np.diff([f.stamp_ns for f in moves]) * 1e-9
    assert len(moves) >= 8
    speeds = np.abs(np.diff(targets, axis=0)).max(axis=1) / 0.05
    assert np.sort(speeds)[:-2].max() < 0.8  # two frames may belong to the end of the stream
    assert np.median(gaps_s) == pytest.approx(0.05, abs=0.02)
    assert (offs[0].stamp_ns - moves[-1].stamp_ns) * 1e-9 > 0.1
    assert not any(bench.board.torque_on)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_arm_down_before_it_lets_go(bench: Bench, number: signal.Signals) -> None:
    server = bench.serve()
    bench.stream()
    time.sleep(0.4)
    signalled_ns = time.monotonic_ns()
    server.send_signal(number)
    assert server.wait(timeout=15) == (130 if number is signal.SIGINT else 0)
    assert_ramp_to_rest_then_torque_off(bench, signalled_ns)


def test_an_exception_inside_the_server_sets_the_arm_down_before_it_lets_go(bench: Bench) -> None:
    words = ["tests.bridge.failing_server", bench.board.port, NAME, bench.endpoint, "relax", "4.0"]
    server = bench.start(words, "ready")
    bench.stream()
    started_ns = time.monotonic_ns()
    assert server.wait(timeout=15) == 1
    frames = bench.heard(started_ns)
    streamed = max(f.stamp_ns for f in frames if f.command == MOVE_SIX and f.stamp_ns < started_ns + 0.3e9)
    assert_ramp_to_rest_then_torque_off(bench, streamed + 1)


def test_a_server_whose_terminal_has_gone_still_sets_the_arm_down(bench: Bench) -> None:
    """Nobody reads its output any more: printing fails, the arm must not."""
    server = bench.serve()
    assert server.stdout is not None
    server.stdout.close()
    signalled_ns = time.monotonic_ns()
    server.send_signal(signal.SIGHUP)
    server.wait(timeout=15)
    assert_ramp_to_rest_then_torque_off(bench, signalled_ns)


@pytest.mark.parametrize(
    ("on_exit", "torque_left_on", "number"), [("hold", True, signal.SIGINT), ("torque_off", False, signal.SIGTERM)]
)
def test_on_exit_is_obeyed(
    bench: Bench, on_exit: Literal["hold", "torque_off"], torque_left_on: bool, number: signal.Signals
) -> None:
    server = bench.serve(on_exit)
    signalled_ns = time.monotonic_ns()
    server.send_signal(number)
    assert server.wait(timeout=5) == (130 if number is signal.SIGINT else 0)
    time.sleep(0.1)
    frames = bench.heard(signalled_ns)
    assert {f.command for f in frames} == ({MOVE_SIX} if torque_left_on else {TORQUE})
    assert all(on == torque_left_on for on in bench.board.torque_on)


@pytest.mark.parametrize("on_exit", ["hold", "torque_off"])
def test_on_exit_is_obeyed_after_an_exception_as_well(bench: Bench, on_exit: str) -> None:
    words = ["tests.bridge.failing_server", bench.board.port, NAME, bench.endpoint, on_exit, "3.0"]
    server = bench.start(words, "ready")
    ready_ns = time.monotonic_ns()
    assert server.wait(timeout=15) == 1
    time.sleep(0.1)
    frames = bench.heard(ready_ns)
    assert {f.command for f in frames} == ({MOVE_SIX} if on_exit == "hold" else {TORQUE})
    assert all(on == (on_exit == "hold") for on in bench.board.torque_on)


def test_a_second_signal_stops_the_ramp_and_keeps_the_torque(bench: Bench) -> None:
    server = bench.serve()
    server.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    second_ns = time.monotonic_ns()
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=5) == 0
    frames = bench.heard(second_ns + 100_000_000)
    assert frames == []
    assert all(bench.board.torque_on)
    assert not any(f.command == TORQUE and f.data == b"\x00" for f in bench.heard(0))


def test_a_client_killed_while_the_arm_moves_leaves_it_standing(bench: Bench) -> None:
    """Hold frame on the wire 100 ms after the last command, every joint at rest within 500 ms, torque still on."""
    bench.serve()
    client = bench.stream()
    assert eventually(lambda: bool(bench.plant.moved_ns))
    time.sleep(0.5)
    killed_ns = time.monotonic_ns()
    assert (killed_ns - bench.plant.moved_ns[-1]) * 1e-9 < 0.1  # it did move when it was killed
    client.kill()
    time.sleep(1.2)
    *sent, hold = [f for f in bench.heard(killed_ns - 200_000_000) if f.command == MOVE_SIX]
    # What the client had sent is on the wire within a period; what follows is the watchdog's, and it is one frame.
    assert (sent[-1].stamp_ns - killed_ns) * 1e-9 < 0.06
    assert 0.09 < (hold.stamp_ns - sent[-1].stamp_ns) * 1e-9 < 0.2
    assert (bench.plant.moved_ns[-1] - killed_ns) * 1e-9 < 0.5
    standing_rad = bench.calibration.to_rad([round(v) for v in bench.plant.positions_ticks()])
    np.testing.assert_allclose(bench.target_rad(hold), standing_rad, atol=5e-3)
    assert all(bench.board.torque_on)
    assert [f for f in bench.heard(killed_ns) if f.command == TORQUE] == []
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        assert robot.read_state().holding


def test_a_latched_fault_refuses_every_command_and_keeps_the_server_alive(bench: Bench) -> None:
    server = bench.serve()
    bench.board.faults.drop_replies = BoardFaults.FOREVER
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        assert eventually(lambda: robot.read_state().fault != "", timeout_s=5.0)
        faulted_ns = time.monotonic_ns()
        state = robot.read_state()
        assert state.holding
        with pytest.raises(CommandRefused, match="reads"):
            robot.send(JointCommand(1, CLOCK.now_ns(), state.position_rad, 0.05))
        assert bench.heard(faulted_ns + 100_000_000) == []
    assert server.poll() is None
    assert all(bench.board.torque_on)


def test_a_port_that_goes_away_is_told_to_the_client_and_ends_the_server_as_a_failure(bench: Bench) -> None:
    words = ["scripts.main", "serve", "--port", bench.board.port, "--robot", NAME, "--endpoint", bench.endpoint]
    server = bench.start(words, "ready", errors=True)
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        here = robot.read_state().position_rad
        bench.pull_the_plug()
        assert eventually(lambda: robot.read_state().fault != "", timeout_s=5.0)
        with pytest.raises(CommandRefused, match="port is gone"):
            robot.send(JointCommand(1, CLOCK.now_ns(), here, 0.05))
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=10) == 1
    assert server.stderr is not None
    assert bench.board.port in server.stderr.read()


def test_without_a_calibration_nothing_is_opened(bench: Bench, tmp_path: Path) -> None:
    words = ["scripts.main", "serve", "--port", bench.board.port, "--robot", NAME]
    environment = os.environ | {"TANDEM_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", *words], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "calibrat" in done.stderr
    assert list(bench.board.heard) == []


def test_a_refused_endpoint_is_refused_before_the_port_is_opened(bench: Bench) -> None:
    bench.serve()
    heard = len(bench.board.heard)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ways = (
            ("tcp://0.0.0.0:5555", "keys"),
            (bench.endpoint, "already serves"),
            (f"tcp://127.0.0.1:{port}", "in use"),
            (f"tcp://127.0.0.1:{port - 1}", "in use"),  # the state's
        )
        for endpoint, why in ways:
            words = ["scripts.main", "serve", "--port", bench.board.port, "--robot", NAME, "--endpoint", endpoint]
            done = subprocess.run(
                [sys.executable, "-m", *words], env=bench.environment, capture_output=True, text=True, timeout=30
            )
            assert done.returncode in (1, 2)
            assert why in done.stderr
            assert "opening" not in done.stdout
    commands = list(bench.board.heard)[heard:]
    assert [f for f in commands if f.command in (MOVE_SIX, TORQUE)] == []
