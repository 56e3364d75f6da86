"""The 24-byte stream over real sockets: the byte vectors are those of old programs, written down here by hand."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.errors import EndpointRefused
from bridge.remote import RemoteRobot
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_serial import DofbotSerialBus
from hardware.buses.legacy_client import LegacyClient
from hardware.buses.legacy_tcp import LegacyServer
from hardware.errors import BadCommand, BusLost
from hardware.servo_robot import ServoRobot
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.plant import FreePlant
from tests.bridge.benches import ARM, SetpointRobot, command_to, eventually, ipc, serving
from tests.hardware.conftest import FAST
from urdf.description import ArmDescription, load_arm

#: Six times 90 degrees, as the reference's host expects them. Ref: REFERENCE_SYSTEMS section 4.2.
ALL_90 = bytes.fromhex("0000B442" * 6)
#: 90 degrees everywhere and the gripper at 30. The vendor's counts are 2000 2000 2000 2000 1486.7 1266.7, which its
#: library truncates (FIELD 7.7, first row: 05CE 04F2); ours are rounded.
UPRIGHT_GRIPPER_30 = bytes.fromhex("0000B442" * 5 + "0000F041")
UPRIGHT_GRIPPER_30_COUNTS = bytes.fromhex("07D007D007D007D005CF04F3")
UPRIGHT = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 30 / 101 - 1.57])
PERIOD_S = 0.05
LOOPBACK = "127.0.0.1"


class SteppedClock:
    """A clock that stands until it is moved on."""

    def __init__(self) -> None:
        self.stamp_ns = 10**15

    def now_ns(self) -> int:
        return self.stamp_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self.stamp_ns = max(self.stamp_ns, deadline_ns)

    def advance(self, duration_s: float) -> None:
        self.stamp_ns += round(duration_s * 1e9)


class Desk:
    """A server that is turned by hand, on a clock of its own, in front of an arm made of setpoints."""

    def __init__(self, allow: tuple[str, ...] = (), start_rad: np.ndarray = UPRIGHT) -> None:
        self.clock = SteppedClock()
        self.robot = SetpointRobot(self.clock, start_rad)
        self.said: list[str] = []
        self.server = LegacyServer(self.robot, self.clock, LOOPBACK, 0, allow, PERIOD_S, self.said.append)
        self.seen = self.server.statistics
        self._sockets = contextlib.ExitStack()

    def connect(self, source: str = LOOPBACK) -> socket.socket:
        client = self._sockets.enter_context(socket.create_connection((LOOPBACK, self.server.port), 2.0, (source, 0)))
        before = self.seen.clients + self.seen.refused_clients
        self.turn_until(lambda: self.seen.clients + self.seen.refused_clients > before)
        return client

    def turn_until(self, condition: Callable[[], bool]) -> None:
        def turned() -> bool:
            self.server.turn(0.01)
            return condition()

        assert eventually(turned), (self.seen, self.said)

    def run(self, duration_s: float) -> None:
        """Let time pass, in steps of 10 ms."""
        for _ in range(round(duration_s / 0.01)):
            self.clock.advance(0.01)
            self.server.turn()

    def targets(self) -> list[tuple[float, ...]]:
        return [command.position_rad for command in self.robot.commands]

    def close(self) -> None:
        self._sockets.close()
        self.server.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def degrees_frame(*degrees: float) -> bytes:
    return struct.pack("<6f", *degrees)


def has_hung_up(client: socket.socket) -> bool:
    client.settimeout(2.0)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


# Frames --------------------------------------------------------------------------------------------
def test_a_frame_of_the_reference_leads_every_joint_upright(desk: Desk) -> None:
    desk.connect().sendall(ALL_90)
    desk.turn_until(lambda: desk.seen.frames == 1)
    assert desk.targets() == [pytest.approx((0.0,) * 5 + (90 / 101 - 1.57,))]
    assert desk.robot.commands[0].duration_s == pytest.approx(PERIOD_S)


def test_each_servo_has_its_own_zero_scale_and_range(desk: Desk) -> None:
    desk.connect().sendall(degrees_frame(0.0, 180.0, 45.0, 135.0, 270.0, 128.27))
    desk.turn_until(lambda: desk.seen.frames == 1)
    quarter = math.pi / 2
    assert desk.targets() == [pytest.approx((-quarter, quarter, -quarter / 2, quarter / 2, math.pi, -0.3), abs=1e-6)]


def test_frames_arrive_byte_by_byte(desk: Desk) -> None:
    client = desk.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for sent, byte in enumerate(UPRIGHT_GRIPPER_30 + ALL_90, start=1):
        client.sendall(bytes((byte,)))
        time.sleep(0.001)
        desk.server.turn(0.01)
        assert desk.seen.frames <= sent // 24
    desk.turn_until(lambda: desk.seen.frames == 2)
    assert desk.seen.refused_frames == 0


def test_a_hundred_joined_frames_are_one_motion_to_the_newest(desk: Desk) -> None:
    client = desk.connect()
    frames = [degrees_frame(90.0, 90.0, 90.0, 90.0, 90.0, float(i)) for i in range(100)]
    client.sendall(b"".join(frames))
    desk.turn_until(lambda: desk.seen.frames == 100)
    assert len(desk.robot.commands) == 1  # old ones are not acted upon one after the other
    assert desk.targets()[0][5] == pytest.approx(99 / 101 - 1.57, abs=1e-6)
    assert desk.seen.superseded_frames == 99


@pytest.mark.parametrize("seed", range(8))
def test_whatever_tcp_splits_and_joins_no_frame_is_lost_or_made_up(desk: Desk, seed: int) -> None:
    rng = np.random.default_rng(seed)
    client = desk.connect()
    stream = b"".join(degrees_frame(90.0, 90.0, 90.0, 90.0, 90.0, float(i % 180)) for i in range(400))
    cuts = np.sort(rng.integers(0, len(stream), 60)).tolist()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        client.sendall(stream[start:end])
        desk.server.turn()
    desk.turn_until(lambda: desk.seen.frames == 400)
    assert desk.seen.refused_frames == 0
    desk.run(0.1)
    assert desk.targets()[-1][5] == pytest.approx(39 / 101 - 1.57, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 180.6, -0.6, 1e30, 5e-39, -1.2e-7])
@pytest.mark.parametrize("servo", [0, 4, 5])
def test_a_number_that_no_servo_takes_is_refused_and_counted_and_the_arm_holds(
    desk: Desk, bad: float, servo: int
) -> None:
    client = desk.connect()
    client.sendall(UPRIGHT_GRIPPER_30)
    desk.turn_until(lambda: desk.seen.commands == 1)
    angles = [90.0] * 6
    angles[servo] = 270.6 if bad == 180.6 and servo == 4 else bad
    client.sendall(degrees_frame(*angles))
    desk.turn_until(lambda: desk.seen.refused_frames == 1)
    assert len(desk.robot.hold_times_ns) == 1
    desk.run(0.3)
    assert len(desk.robot.commands) == 1
    client.sendall(ALL_90)  # one bad number ends nothing
    desk.turn_until(lambda: desk.seen.commands == 2)


def test_what_rounding_adds_to_a_range_is_taken(desk: Desk) -> None:
    desk.connect().sendall(degrees_frame(-0.05, 180.05, 90.0, 90.0, 269.97, 0.0))  # pi/2 written as 1.57
    desk.turn_until(lambda: desk.seen.commands == 1)
    assert desk.seen.refused_frames == 0


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_stream_that_lost_its_beginning_moves_nothing_and_is_ended(desk: Desk, shift: int) -> None:
    client = desk.connect()
    client.sendall((degrees_frame(90.0, 45.0, 120.0, 60.0, 200.0, 30.0) * 10)[shift:])
    assert has_hung_up_while_turning(desk, client)
    assert desk.robot.commands == []
    assert desk.seen.refused_frames == 3
    assert any("disconnected after 3 refused frames" in line for line in desk.said)


def has_hung_up_while_turning(desk: Desk, client: socket.socket) -> bool:
    desk.turn_until(lambda: desk.seen.refused_frames == 3)
    return has_hung_up(client)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: arm\r\nUser-Agent: browser/1.0\r\n" * 3, b"\xff" * 100])
def test_other_protocols_are_hung_up_on(desk: Desk, garbage: bytes) -> None:
    client = desk.connect()
    client.sendall(garbage)
    assert has_hung_up_while_turning(desk, client)
    assert desk.robot.commands == []


def test_random_bytes_never_move_the_arm(desk: Desk) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100 if "TANDEM_DEEP" not in os.environ else 4000):
        client = desk.connect()
        refused = desk.seen.refused_frames
        client.sendall(rng.bytes(240))
        desk.turn_until(lambda before=refused: desk.seen.refused_frames == before + 3)
        client.close()
    assert desk.robot.commands == []


# Silence and ends ----------------------------------------------------------------------------------
def test_the_arm_is_led_on_between_frames_and_holds_after_a_second_of_silence() -> None:
    desk = Desk(start_rad=np.array([1.2, 0.0, 0.0, 0.0, 0.0, -1.0]))
    client = desk.connect()
    client.sendall(ALL_90)
    desk.turn_until(lambda: desk.seen.commands == 1)
    desk.run(0.99)
    assert 18 <= len(desk.robot.commands) <= 21  # one a period, from one frame
    assert desk.robot.hold_times_ns == []
    desk.run(0.03)
    assert len(desk.robot.hold_times_ns) == 1
    commands = len(desk.robot.commands)
    desk.run(5.0)
    assert len(desk.robot.hold_times_ns) == 1
    assert len(desk.robot.commands) == commands
    assert desk.seen.silences == 1
    client.sendall(ALL_90)
    desk.turn_until(lambda: len(desk.robot.commands) > commands)
    desk.close()


def test_half_a_frame_a_second_feeds_no_watchdog(desk: Desk) -> None:
    client = desk.connect()
    client.sendall(ALL_90)
    desk.turn_until(lambda: desk.seen.commands == 1)
    for _ in range(4):
        client.sendall(b"\x00")
        desk.run(0.3)
    assert desk.seen.silences == 1


def test_a_client_that_goes_in_the_middle_of_a_frame_leaves_a_still_arm_and_nothing_for_the_next(desk: Desk) -> None:
    client = desk.connect()
    client.sendall(UPRIGHT_GRIPPER_30 + ALL_90[:11])
    desk.turn_until(lambda: desk.seen.commands == 1)
    client.close()
    desk.turn_until(lambda: len(desk.robot.hold_times_ns) == 1)
    assert desk.said[-1].endswith("the client has gone")
    again = desk.connect()
    again.sendall(UPRIGHT_GRIPPER_30)
    desk.turn_until(lambda: desk.seen.frames == 2)
    assert desk.seen.refused_frames == 0


def test_a_connection_that_is_reset_holds_too(desk: Desk) -> None:
    client = desk.connect()
    client.sendall(ALL_90)
    desk.turn_until(lambda: desk.seen.commands == 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    desk.turn_until(lambda: len(desk.robot.hold_times_ns) == 1)


def test_closing_holds_an_arm_that_is_led_and_no_other(desk: Desk) -> None:
    desk.connect()
    idle = Desk()
    idle.close()
    assert idle.robot.hold_times_ns == []
    leading = Desk()
    leading.connect().sendall(ALL_90)
    leading.turn_until(lambda: leading.seen.commands == 1)
    leading.close()
    leading.server.close()
    assert len(leading.robot.hold_times_ns) == 1


# Who may connect -----------------------------------------------------------------------------------
def test_a_second_client_is_refused_and_told_of_and_the_first_goes_on(desk: Desk) -> None:
    first = desk.connect()
    first.sendall(UPRIGHT_GRIPPER_30)
    desk.turn_until(lambda: desk.seen.commands == 1)
    second = desk.connect()
    assert has_hung_up(second)
    assert desk.seen.refused_clients == 1
    assert any("another client is connected" in line for line in desk.said)
    first.sendall(UPRIGHT_GRIPPER_30)
    desk.turn_until(lambda: desk.seen.frames == 2)
    assert desk.robot.hold_times_ns == []


def test_a_client_whose_network_died_has_lost_its_place_after_a_second(desk: Desk) -> None:
    first = desk.connect()
    first.sendall(ALL_90)
    desk.turn_until(lambda: desk.seen.commands == 1)
    desk.run(1.1)
    desk.connect().sendall(UPRIGHT_GRIPPER_30)
    desk.turn_until(lambda: desk.seen.frames == 2)
    assert has_hung_up(first)
    assert desk.seen.clients == 2


def test_an_address_that_is_not_listed_is_refused() -> None:
    desk = Desk(allow=("127.0.0.5",))
    stranger = desk.connect("127.0.0.6")
    assert has_hung_up(stranger)
    assert desk.seen.refused_clients == 1
    assert any("127.0.0.6 is not on the allow-list" in line for line in desk.said)
    desk.connect("127.0.0.5").sendall(UPRIGHT_GRIPPER_30)
    desk.turn_until(lambda: desk.seen.commands == 1)
    desk.close()


def test_an_address_is_the_same_where_both_kinds_of_network_are_served() -> None:
    robot, clock, said = SetpointRobot(SteppedClock()), SteppedClock(), list[str]()
    try:
        server = LegacyServer(robot, clock, "::", 0, ("127.0.0.5",), PERIOD_S, said.append)
    except EndpointRefused as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    with contextlib.closing(server), socket.create_connection((LOOPBACK, server.port), 2.0, ("127.0.0.5", 0)) as client:
        client.sendall(UPRIGHT_GRIPPER_30)
        assert eventually(lambda: (server.turn(0.01), server.statistics.commands == 1)[1]), said


def test_a_stranger_who_knocks_all_the_time_fills_no_log() -> None:
    desk = Desk(allow=("127.0.0.5",))
    for _ in range(20):
        desk.connect("127.0.0.6").close()
    assert desk.seen.refused_clients == 20
    assert sum("allow-list" in line for line in desk.said) == 1
    desk.clock.advance(1.1)
    desk.connect("127.0.0.6").close()
    assert desk.said[-1].startswith("legacy stream: refused a client (and 19 more)")
    desk.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.20", "::"])
def test_the_network_needs_a_list_of_addresses(host: str) -> None:
    with pytest.raises(EndpointRefused, match="list of the addresses"):
        LegacyServer(SetpointRobot(SteppedClock()), SteppedClock(), host, 0)


def test_serving_the_network_is_said_at_every_start() -> None:
    for _ in range(2):
        said: list[str] = []
        server = LegacyServer(
            SetpointRobot(MonotonicClock()), MonotonicClock(), "0.0.0.0", 0, ("192.168.1.7",), tell=said.append
        )
        server.start()
        server.close()
        assert said[0].startswith("WARNING: legacy stream (24 bytes, no keys) on 0.0.0.0:")
        assert "UNAUTHENTICATED. Whoever sends from 192.168.1.7 moves the arm" in said[0]


def test_names_and_networks_are_no_addresses() -> None:
    for text in ("pi.local", "192.168.1.0/24"):
        with pytest.raises(EndpointRefused, match="no IP address"):
            LegacyServer(SetpointRobot(SteppedClock()), SteppedClock(), LOOPBACK, 0, (text,))


def test_a_port_that_is_taken_is_named(desk: Desk) -> None:
    with pytest.raises(EndpointRefused, match=f"127.0.0.1:{desk.server.port}.*end the program"):
        LegacyServer(desk.robot, desk.clock, LOOPBACK, desk.server.port)


def test_an_arm_that_is_no_dofbot_is_not_served() -> None:
    pytest.importorskip("pinocchio")  # workstations, where the package that keeps the UR5 is

    class Ur5Robot(SetpointRobot):
        @property
        def description(self) -> ArmDescription:
            return load_arm("ur5")

    with pytest.raises(EndpointRefused, match="carries 6 servos, 'ur5' has 7"):
        LegacyServer(Ur5Robot(SteppedClock()), SteppedClock(), LOOPBACK, 0)


# The lease -----------------------------------------------------------------------------------------
@contextlib.contextmanager
def leased(tmp_path: Path) -> Generator[tuple[SetpointRobot, LegacyServer, RemoteRobot]]:
    """An arm behind its server, the legacy stream as one of its clients, and somebody else as another."""
    clock = MonotonicClock()
    robot = SetpointRobot(clock, UPRIGHT)
    with serving(robot, ipc(tmp_path), clock) as server:
        remote = RemoteRobot(server.endpoint, ARM, clock)
        legacy = LegacyServer(remote, clock, LOOPBACK, 0, period_s=PERIOD_S)
        legacy.start()
        with RemoteRobot(server.endpoint, ARM, clock) as other:
            yield robot, legacy, other
        legacy.close()
        remote.close()


def test_a_stream_is_hung_up_on_while_somebody_else_has_control(tmp_path: Path) -> None:
    with leased(tmp_path) as (robot, legacy, other):
        other.send(command_to(UPRIGHT))
        before = len(robot.commands)
        with socket.create_connection((LOOPBACK, legacy.port), 2.0) as client:
            client.sendall(ALL_90)
            assert has_hung_up(client)
        assert len(robot.commands) == before
        assert legacy.statistics.refused_commands == 1
        assert robot.hold_times_ns == []  # nor does it stop the other
        time.sleep(1.1)  # the lease lapses
        with socket.create_connection((LOOPBACK, legacy.port), 2.0) as client:
            client.sendall(UPRIGHT_GRIPPER_30)
            assert eventually(lambda: len(robot.commands) > before)


def test_an_arm_that_is_lost_hangs_up_on_its_client_and_on_every_later_one(tmp_path: Path) -> None:
    clock, said = MonotonicClock(), list[str]()
    with serving(SetpointRobot(clock, UPRIGHT), ipc(tmp_path), clock) as server:
        remote = RemoteRobot(server.endpoint, ARM, clock, timeout_s=0.2)
        legacy = LegacyServer(remote, clock, LOOPBACK, 0, period_s=PERIOD_S, tell=said.append)
        legacy.start()
        client = socket.create_connection((LOOPBACK, legacy.port), 2.0)
        client.sendall(UPRIGHT_GRIPPER_30)
        assert eventually(lambda: legacy.statistics.commands > 0)
    assert has_hung_up(client)
    client.close()
    assert eventually(lambda: any("the arm is lost" in line for line in said)), said
    with socket.create_connection((LOOPBACK, legacy.port), 2.0) as again:
        again.sendall(UPRIGHT_GRIPPER_30)
        assert has_hung_up(again)
    legacy.close()


# Down to the wire ----------------------------------------------------------------------------------
def test_an_old_client_moves_the_servos_through_the_filter_and_its_end_holds_them(
    clock: MonotonicClock, dofbot: ArmDescription
) -> None:
    plant = FreePlant(clock, start_ticks=(2400, 2000, 2000, 2000, 1487, 1266))
    board = DofbotBoard(plant, np.random.default_rng(1), clock.now_ns(), torque_on=True)
    calibration = ServoCalibration.nominal(dofbot, "virtual")
    with board.run_in_thread(clock), DofbotSerialBus(board.port, clock, FAST) as bus:
        robot = ServoRobot.connect(bus, calibration, dofbot, dofbot.rig("table"), clock)
        server = LegacyServer(robot, clock, LOOPBACK, 0)
        server.start()
        heard = list[bytes]()
        with socket.create_connection((LOOPBACK, server.port), 2.0) as client:
            for _ in range(600):  # the reference's host repeated its last target a hundred times a second
                client.sendall(UPRIGHT_GRIPPER_30)
                time.sleep(0.05)
                if (heard := moves(board))[-1] == UPRIGHT_GRIPPER_30_COUNTS:
                    break
            assert heard[-1] == UPRIGHT_GRIPPER_30_COUNTS
        path = [int.from_bytes(move[:2], "big") for move in heard]
        assert len({p for p in path if 2000 < p < 2400}) >= 2  # it did not jump there
        assert eventually(lambda: not server.leading)
        server.close()
        robot.close()
    board.close()


def moves(board: DofbotBoard) -> list[bytes]:
    """The positions of the six-servo moves on the wire."""
    return [f.data[:12] for f in list(board.heard) if f.command == 0x1D and not f.swallowed]


# The client half -----------------------------------------------------------------------------------
def take(connection: socket.socket, count: int) -> bytes:
    connection.settimeout(2.0)
    data = b""
    while len(data) < count:
        data += connection.recv(count - len(data))
    return data


def test_the_client_sends_what_the_reference_expects() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, clientele(listener) as client:
        client.send(UPRIGHT)
        connection, _ = listener.accept()
        with connection:
            assert take(connection, 24) == UPRIGHT_GRIPPER_30
            client.send([-math.pi / 2, math.pi / 2, 0.0, 0.0, math.pi, -1.57])
            assert take(connection, 24) == degrees_frame(0.0, 180.0, 90.0, 90.0, 270.0, 0.0)


@contextlib.contextmanager
def clientele(listener: socket.socket, clock: SteppedClock | None = None) -> Generator[LegacyClient]:
    with LegacyClient(LOOPBACK, clock or SteppedClock(), listener.getsockname()[1], timeout_s=0.3) as client:
        yield client


def test_a_server_that_restarts_is_found_again_and_old_frames_are_not_repeated() -> None:
    clock = SteppedClock()
    with socket.create_server((LOOPBACK, 0)) as listener, clientele(listener, clock) as client:
        client.send(UPRIGHT)
        connection, _ = listener.accept()
        take(connection, 24)
        connection.close()
        time.sleep(0.05)
        with pytest.raises(BusLost, match="closed the connection"):
            client.send(UPRIGHT)
        with pytest.raises(BusLost, match=r"tried again in 1\.0 s"):
            client.send(UPRIGHT)
        clock.advance(1.0)
        client.send([0.0] * 5 + [90 / 101 - 1.57])
        connection, _ = listener.accept()
        with connection:
            assert take(connection, 24) == ALL_90
        assert client.connections == 2
        assert client.frames_sent == 2


def test_a_server_that_is_not_there_is_lost_at_once() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BusLost, match=f"127.0.0.1:{port} takes no legacy stream"):
        LegacyClient(LOOPBACK, SteppedClock(), port).send(UPRIGHT)


def test_a_server_that_does_not_read_ends_the_connection_in_bounded_time() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, clientele(listener) as client:
        client.send(UPRIGHT)
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        started_s = [0.0]

        def send_on() -> None:
            for _ in range(1_000_000):
                started_s[0] = time.monotonic()
                client.send(UPRIGHT)

        with connection, pytest.raises(BusLost, match="timed out"):
            send_on()
        assert time.monotonic() - started_s[0] < 2.0


@pytest.mark.parametrize("pose", [[0.0] * 5, [math.nan] * 6, [0.0, 0.0, 3.0, 0.0, 0.0, 0.0]])
def test_a_pose_that_the_stream_cannot_carry_is_refused_before_anything_is_sent(pose: list[float]) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, clientele(listener) as client:
        with pytest.raises(BadCommand):
            client.send(pose)
        assert client.connections == 0


def test_client_and_server_understand_each_other(desk: Desk) -> None:
    with LegacyClient(LOOPBACK, desk.clock, desk.server.port) as client:
        client.send(UPRIGHT)
        desk.turn_until(lambda: desk.seen.commands == 1)
        assert desk.targets() == [pytest.approx(UPRIGHT.tolist(), abs=1e-5)]
