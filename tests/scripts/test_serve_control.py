"""A served arm from the command line: keys, stop and clear, the older programs' stream. Real processes on a pty."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.episode_reader import read_episode
from bridge.errors import CommandRefused, EndpointRefused, RobotLost
from bridge.keys import ClientKey, KeyRing
from bridge.link import default_endpoint
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from bridge.server_settings import ServerSettings
from bridge.stop_latch import StopLatch
from scripts.main import main
from scripts.programs.legacy_serving import legacy_stream
from scripts.programs.robot_file import RobotFile
from scripts.programs.stop_requests import StopRequests
from scripts.serve import ServeArgs, Served, serve_robot
from tests.bridge.benches import SetpointRobot, eventually
from tests.bridge.served_bench import ARM, CLOCK, MOVE_SIX, NAME, START_RAD, TORQUE, Bench
from tests.hardware import pca9685_bench


def tandem(bench: Bench, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.main", *words],
        env=bench.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def command(seq: int, offset_rad: float = 0.0) -> JointCommand:
    return JointCommand(seq, CLOCK.now_ns(), tuple((START_RAD + offset_rad).tolist()), 0.05)


def test_stop_and_clear_from_another_terminal(bench: Bench) -> None:
    bench.serve()
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        robot.send(command(1))
        stopped = tandem(bench, ["stop", "--robot", NAME, "--json"])
        assert stopped.returncode == 0, stopped.stderr
        assert "emergency stop by session" in json.loads(stopped.stdout.splitlines()[-1])["fault"]
        with pytest.raises(CommandRefused, match="emergency stop"):
            robot.send(command(2))
        since_ns = CLOCK.now_ns()
        cleared = tandem(bench, ["stop", "--robot", NAME, "--clear"])
        assert cleared.returncode == 0, cleared.stderr
        robot.send(command(3))
    stands_rad = bench.calibration.to_rad(bench.plant.positions_ticks())
    assert eventually(lambda: any(frame.command == MOVE_SIX for frame in bench.heard(since_ns)))
    moves = [frame for frame in bench.heard(since_ns) if frame.command == MOVE_SIX]
    assert all(abs(bench.target_rad(frame) - stands_rad).max() < 0.06 for frame in moves)  # it sagged first


def test_clients_are_told_the_servers_own_period(bench: Bench) -> None:
    bench.serve(more=["--period-s", "0.1"])
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        assert robot.period_s == 0.1


def test_a_stop_outlives_the_server_which_moves_nothing_as_it_ends(bench: Bench) -> None:
    server = bench.serve(more=["--on-exit", "relax"])
    assert tandem(bench, ["stop", "--robot", NAME]).returncode == 0
    since_ns, stands_rad = CLOCK.now_ns(), bench.calibration.to_rad(bench.plant.positions_ticks())
    server.terminate()
    assert server.wait(20) == 0
    ending = bench.heard(since_ns)
    assert ending
    assert not [frame for frame in ending if frame.command == TORQUE and frame.data == b"\x00"]
    assert all(abs(bench.target_rad(f) - stands_rad).max() < 0.02 for f in ending if f.command == MOVE_SIX)
    bench.serve()
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as robot, pytest.raises(CommandRefused, match="emergency stop"):
        robot.send(command(1))


def test_a_stop_may_let_go(bench: Bench) -> None:
    bench.serve(more=["--on-stop", "torque_off"])
    since_ns = CLOCK.now_ns()
    assert tandem(bench, ["stop", "--robot", NAME]).returncode == 0
    assert [frame.data for frame in bench.heard(since_ns) if frame.command == TORQUE][:1] == [b"\x00"]


@contextmanager
def on_a_terminal(bench: Bench, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server on a terminal of its own, which serves; the process, and where the terminal's keys are pressed."""
    leader, follower = pty.openpty()
    words = ["serve", "--port", bench.board.port, "--robot", NAME, "--endpoint", bench.endpoint, *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.main", *words], stdin=follower, stdout=follower, stderr=follower,
        env=bench.environment,
    )  # fmt: skip
    try:
        assert eventually(lambda: Path(bench.endpoint.removeprefix("ipc://")).exists(), 20.0)
        time.sleep(0.3)
        yield process, leader
        process.terminate()
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        os.close(leader)
        os.close(follower)


def test_the_space_bar_of_the_servers_terminal_stops_the_arm(bench: Bench) -> None:
    with on_a_terminal(bench) as (_, keys), RemoteRobot(bench.endpoint, ARM, CLOCK) as robot:
        robot.send(command(1))
        os.write(keys, b" ")
        assert eventually(lambda: "the keyboard" in robot.read_state().fault)
        os.write(keys, b"c")
        assert eventually(lambda: robot.read_state().fault == "")
        robot.send(command(2))


def test_a_terminal_that_is_halted_stops_neither_the_stop_nor_the_end(bench: Bench) -> None:
    """Ctrl-S: whoever prints there stands still until Ctrl-Q."""
    with on_a_terminal(bench, "--on-exit", "hold") as (process, keys):
        ignored = re.search(r"^SigIgn:\s+(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        assert ignored is not None
        assert int(ignored[1], 16) >> (signal.SIGTSTP - 1) & 1  # nor does Ctrl-Z halt it
        os.write(keys, b"\x13")
        with RemoteRobot(bench.endpoint, ARM, CLOCK, timeout_s=3.0) as robot:
            robot.send(command(1))
            since_ns = CLOCK.now_ns()
            robot.stop()
            assert [frame for frame in bench.heard(since_ns) if frame.command == MOVE_SIX]
            assert "emergency stop" in robot.read_state().fault
        process.terminate()
        assert process.wait(10) == 0


def test_a_server_that_cannot_begin_moves_no_arm_that_was_stopped(tmp_path: Path) -> None:
    """It had the torque on already when its port turned out to be taken, and walked the arm to its rest pose."""
    latch = StopLatch(tmp_path / "emergency_stop")
    latch.write("emergency stop by the button")
    robot, rig, settings = SetpointRobot(CLOCK), ARM.rig("table"), ServerSettings(latch=latch)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EndpointRefused):
            serve_robot(robot, rig, endpoint, CLOCK, "relax", StopRequests(), lambda text: None, settings)
    assert robot.commands == []
    assert robot.let_go_ns == []
    assert len(robot.hold_times_ns) == 1


def test_keys_from_the_command_line_open_the_network_and_close_it(bench: Bench, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bench.endpoint = f"tcp://0.0.0.0:{free.getsockname()[1]}"
    refused = tandem(bench, ["serve", "--port", bench.board.port, "--robot", NAME, "--endpoint", bench.endpoint])
    assert refused.returncode == 2
    assert "tandem keys new" in refused.stderr
    RobotFile("dofbot", "table", bench.board.port, "ipc:///elsewhere", camera="uvc:0").save(NAME, bench.folder)
    made = tandem(bench, ["keys", "new", "laptop", "--json"])
    assert made.returncode == 0, made.stderr
    key = ClientKey.load(Path(json.loads(made.stdout.splitlines()[-1])["path"]))
    assert tandem(bench, ["keys", "new", "laptop"]).returncode == 2
    bench.serve(more=["--keys"])
    filed = RobotFile.load(NAME, bench.folder)
    assert (filed.endpoint, filed.camera) == (bench.endpoint, "uvc:0")  # what was said now is where it is reached
    near = bench.endpoint.replace("0.0.0.0", "127.0.0.1")
    with RemoteRobot(near, ARM, CLOCK, key=key) as robot:
        robot.send(command(1))
    with pytest.raises(RobotLost):
        RemoteRobot(near, ARM, CLOCK, timeout_s=0.3)
    assert "laptop" in tandem(bench, ["keys", "list"]).stdout
    assert tandem(bench, ["keys", "revoke", "laptop"]).returncode == 0
    assert tandem(bench, ["keys", "revoke", "laptop"]).returncode == 2
    with pytest.raises(RobotLost):
        RemoteRobot(near, ARM, CLOCK, timeout_s=0.3, key=key)


def test_a_service_serves_in_its_own_folder_what_was_served_in_a_login_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/run/user is hidden from the service, and gone when nobody is logged in."""
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    RobotFile("dofbot", "table", "/dev/ttyUSB0", default_endpoint(NAME)).save(NAME, tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/tandem-arm")
    served = Served.of(ServeArgs(robot=NAME))
    assert served.address.endpoint.startswith("ipc:///run/tandem-arm/")
    assert served.is_news
    RobotFile("dofbot", "table", "/dev/ttyUSB0", "ipc:///elsewhere").save(NAME, tmp_path)
    assert Served.of(ServeArgs(robot=NAME)).address.endpoint == "ipc:///elsewhere"


def test_older_programs_move_the_arm_through_the_same_door(bench: Bench) -> None:
    server = bench.serve(more=["--legacy"])
    degrees = [90.0 + 57.29578 * float(q) for q in START_RAD[:5]]
    since_ns = CLOCK.now_ns()
    with socket.create_connection(("127.0.0.1", 65432), timeout=5.0) as old:
        frame = struct.pack("<6f", *[d + 2.0 for d in degrees], 30.0)
        for _ in range(10):
            old.sendall(frame[:7])
            old.sendall(frame[7:])
            time.sleep(0.05)
        assert eventually(lambda: any(f.command == MOVE_SIX for f in bench.heard(since_ns)))
        assert tandem(bench, ["stop", "--robot", NAME]).returncode == 0
        moved = len(bench.heard(since_ns))
        old.sendall(frame)
        time.sleep(0.3)
        assert len(bench.heard(since_ns)) <= moved + 1
    server.terminate()
    assert server.wait(20) == 0
    (recorded,) = (bench.folder / "episodes").glob("*_serve.mcap")
    told = [e.text for e in read_episode(recorded).events]
    assert "legacy stream: 127.0.0.1 is connected" in told
    assert any("EMERGENCY STOP" in text for text in told)


def test_a_killed_server_s_key_of_the_stream_neither_stays_nor_hinders_the_next(tmp_path: Path) -> None:
    """A service that starts at boot may have the number that it had before the power cut."""
    ring = KeyRing(tmp_path / "keys")
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"legacy-{os.getpid()}", f"legacy-{ended.pid}", "legacy-1", "legacy-laptop"):
        ring.new(name)
    with legacy_stream("ipc:///nobody", ARM, "127.0.0.1", (), ring, lambda text: None, port=0):
        names = {f"legacy-{os.getpid()}", "legacy-1", "legacy-laptop"}  # the process 1 runs
        assert set(ring.allowed().values()) == names
    assert set(ring.allowed().values()) == {"legacy-1", "legacy-laptop"}


def test_a_stream_that_cannot_be_served_is_refused_before_the_torque_comes_on(bench: Bench) -> None:
    words = ["serve", "--port", bench.board.port, "--robot", NAME, "--endpoint", bench.endpoint]
    refused = tandem(bench, [*words, "--allow-unauthenticated", "0.0.0.0"])
    assert refused.returncode == 2
    assert "addresses that may connect" in refused.stderr
    with socket.create_server(("127.0.0.1", 65432)):
        taken = tandem(bench, [*words, "--legacy"])
    assert taken.returncode == 2
    assert "end the program that has it" in taken.stderr
    assert list(bench.board.heard) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hold-after-s", "-1"], "--hold-after-s must be above 0"),
        (["--period-s", "0"], "--period-s must be above 0"),
        (["--move-time-s", "nan"], "--move-time-s must be above 0"),
        (["--park-after-s", "0.05"], "--park-after-s must be above --hold-after-s, 0.1"),
        (["--legacy-clients", "10.0.0.5"], "--allow-unauthenticated ADDRESS"),
        (["--allow-unauthenticated", "127.0.0.1", "--legacy-clients", "desk"], "'desk' is no IP address"),
        (["--endpoint", "tcp://127.0.0.1"], "port of 1 to 65534"),
        (["--endpoint", "ipc:///missing/arm.sock"], "/missing is missing"),
    ],
)
def test_what_is_wrong_is_told_before_the_torque_comes_on(
    words: list[str], said: str, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(bench.folder))
    heard = len(bench.board.heard)
    assert main(["serve", "--port", bench.board.port, "--robot", NAME, "--endpoint", bench.endpoint, *words]) == 2
    assert said in capsys.readouterr().err
    assert len(bench.board.heard) == heard
    assert not (bench.folder / "episodes").exists()


def test_robot_toml_follows_the_address_so_that_a_stop_reaches_the_arm(bench: Bench) -> None:
    RobotFile("dofbot", "table", "/dev/old", f"ipc://{bench.folder}/old.sock", camera="uvc:0").save(NAME, bench.folder)
    bench.serve()
    assert tandem(bench, ["stop", "--robot", NAME]).returncode == 0
    written = RobotFile.load(NAME, bench.folder)
    assert (written.port, written.endpoint, written.camera) == (bench.board.port, bench.endpoint, "uvc:0")


def test_servos_that_cannot_be_read_are_served_where_somebody_says_how_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    calibration = pca9685_bench.nominal_calibration(ARM)
    calibration.save(tmp_path)
    endpoint = f"ipc://{tmp_path}/a"
    words = ["serve", "--robot", calibration.robot_serial, "--bus", "pca9685", "--port", "/dev/i2c-1"]
    words += ["--endpoint", endpoint, "--on-exit", "hold"]
    rest_rad = ARM.rig("table").rest_rad
    with pca9685_bench.open_bench(CLOCK, calibration.to_ticks(rest_rad)) as (board, bus):
        monkeypatch.setattr("scripts.serve.open_bus", lambda *_: bus)
        before = len(board.wire.writes)
        assert main(words) == 2
        assert "--assume-rest" in capsys.readouterr().err
        assert len(board.wire.writes) == before
    with pca9685_bench.open_bench(CLOCK, calibration.to_ticks(rest_rad)) as (board, bus):
        monkeypatch.setattr("scripts.serve.open_bus", lambda *_: bus)

        def use() -> None:
            assert eventually(lambda: Path(endpoint.removeprefix("ipc://")).exists(), 10.0)
            with RemoteRobot(endpoint, ARM, CLOCK) as robot:
                stood.append(robot.read_state().position_rad)
                robot.send(JointCommand(1, CLOCK.now_ns(), tuple((rest_rad + 0.01).tolist()), 0.05))
                arrived.append(eventually(lambda: off_rad() < 0.01, 5.0))  # it had sagged before
            os.kill(os.getpid(), signal.SIGTERM)

        def off_rad() -> float:
            return float(abs(calibration.to_rad(board.plant.positions_ticks()) - rest_rad - 0.01).max())

        stood: list[tuple[float, ...]] = []
        arrived: list[bool] = []
        user = threading.Thread(target=use)
        user.start()
        assert main([*words, "--assume-rest"]) == 0
        user.join()
        assert stood[0] == pytest.approx(tuple(rest_rad.tolist()), abs=1e-6)
        assert arrived == [True]
