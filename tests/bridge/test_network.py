"""Bad networks, dead processes, stepped clocks: the arm stands still in time, and nothing old ever moves it.

`TANDEM_DEEP=1` cuts the network for a whole minute, kills two hundred clients and runs ten times the schedules.
"""

from __future__ import annotations

import itertools
import keyword
import os
import re
import signal
import subprocess
import sys
import threading
import time
import token
import tokenize
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import zmq

from bridge.clock import ClockOffset, MonotonicClock
from bridge.errors import CommandRefused, RobotLost, StaleState
from bridge.gate import MAX_TTL_S, CommandGate, Verdict
from bridge.keys import KeyRing, present
from bridge.link import HEARTBEAT_MS, decode_server, encode
from bridge.messages import PROTOCOL_VERSION, Ack, Bye, Clear, ErrorReply, Hello, Hold, JointCommand, Move, Stop
from bridge.remote import RemoteRobot
from bridge.server import RobotServer
from bridge.server_settings import ServerSettings
from bridge.watchdog import HOLD_S
from bridge.watcher import RobotWatcher
from tests.bridge.benches import ARM, PERIOD_S, START, SetpointRobot, command_to, eventually, ipc, serving
from tests.bridge.proxy import PostOffice, Wire
from tests.bridge.served_bench import Bench
from tests.bridge.test_link import Raw

CLOCK = MonotonicClock()
DEEP = bool(os.environ.get("TANDEM_DEEP"))
ROOT = Path(__file__).parents[2]


class TimedRobot(SetpointRobot):
    """Writes down when each command reached it, in order with the holds."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.moved: list[tuple[int, int]] = []  # (seq, ns)

    def send(self, command: JointCommand) -> JointCommand:
        self.moved.append((command.seq, CLOCK.now_ns()))
        return super().send(command)


@pytest.fixture
def robot() -> TimedRobot:
    return TimedRobot()


@pytest.fixture
def server(robot: TimedRobot) -> Generator[RobotServer]:
    with serving(robot, "tcp://127.0.0.1:*", CLOCK) as running:
        yield running


@pytest.fixture
def wire(server: RobotServer) -> Generator[Wire]:
    with Wire(int(server.endpoint.rpartition(":")[2])) as running:
        yield running


class Dialler:
    """Raw clients that are closed at the end, however the test ends."""

    def __init__(self) -> None:
        self._made: list[Raw] = []

    def __call__(self, endpoint: str) -> Raw:
        self._made.append(Raw(endpoint))
        return self._made[-1]

    def end(self) -> None:
        for raw in self._made:
            raw.close()


@pytest.fixture
def dial() -> Generator[Dialler]:
    made = Dialler()
    yield made
    made.end()


def endpoint_of(wire: Wire) -> str:
    return f"tcp://127.0.0.1:{wire.port}"


def hello(session: str, take_over: bool = False) -> Hello:
    return Hello(session, PROTOCOL_VERSION, ARM.name, ARM.sha256, CLOCK.now_ns(), take_over)


def two_wires(to_port: int) -> tuple[Wire, Wire]:
    """Return wires to the commands and to the state of a server, on ports that lie side by side as a server's do."""
    for _ in range(50):
        commands = Wire(to_port)
        try:
            return commands, Wire(to_port + 1, commands.port + 1)
        except OSError:  # somebody has that port
            commands.__exit__(None, None, None)
    raise AssertionError("this machine gives no two neighbouring ports")


# The wire is cut -----------------------------------------------------------------------------------
@pytest.mark.parametrize("cut_s", [1.0, 3.0, *([5.0, 60.0] if DEEP else [])])
def test_a_cut_holds_the_arm_ends_the_client_in_bounded_time_and_delivers_nothing_old(
    dial: Dialler, cut_s: float, robot: TimedRobot, server: RobotServer, wire: Wire
) -> None:
    remote = RemoteRobot(endpoint_of(wire), ARM, CLOCK)
    raw = dial(endpoint_of(wire))
    raw.greet()
    for seq in range(1, 6):
        remote.send(command_to(START + 0.002 * seq, seq))
    wire.cut = True
    cut_ns = CLOCK.now_ns()
    raw.say(Move("raw", command_to(START + 0.5, 1, ttl_s=9.0)))  # lies in the kernel until the cable is back
    with pytest.raises(RobotLost, match="no answer"):
        remote.send(command_to(START + 0.02, 6))
    with pytest.raises(StaleState):
        remote.read_state()
    assert (CLOCK.now_ns() - cut_ns) * 1e-9 < 1.0
    assert eventually(lambda: bool(robot.hold_times_ns))
    last_ns = robot.moved[-1][1]
    assert HOLD_S - 0.01 < (robot.hold_times_ns[0] - last_ns) * 1e-9 < HOLD_S + 0.1
    CLOCK.sleep_until(cut_ns + round(cut_s * 1e9))
    moved = len(robot.moved)
    wire.cut = False
    if cut_s > 2 * HEARTBEAT_MS * 1e-3:
        assert eventually(lambda: wire.ended_by_server > 0)  # the connection, and all that was in it
    else:
        ack = raw.hear(3000)
        assert isinstance(ack, Ack)
        assert ack.verdict == "stale"
    time.sleep(0.5)
    assert len(robot.moved) == moved
    with pytest.raises(RobotLost):
        remote.send(command_to(START + 0.02, 7))
    with RemoteRobot(endpoint_of(wire), ARM, CLOCK, take_over=True) as again:
        again.send(command_to(START + 0.02, 1))
    assert len(robot.moved) == moved + 1


def test_a_short_cut_costs_one_command_and_not_the_session(robot: TimedRobot, server: RobotServer, wire: Wire) -> None:
    with RemoteRobot(endpoint_of(wire), ARM, CLOCK, timeout_s=2.0) as remote:
        remote.send(command_to(START + 0.01, 1))
        wire.cut = True
        threading.Timer(0.35, lambda: setattr(wire, "cut", False)).start()
        remote.send(command_to(START + 0.02, 2))
        assert remote.commands_refused == 1
        assert len(robot.hold_times_ns) == 1
        remote.send(command_to(START + 0.02, 3))
    assert len(robot.moved) == 2


@pytest.mark.parametrize("slow_s", [(0.12, 0.0), (0.0, 0.12), (0.05, 0.05)])
def test_a_slow_network_ages_commands_by_no_more_than_the_clocks_bound(
    slow_s: tuple[float, float], robot: TimedRobot, server: RobotServer, wire: Wire
) -> None:
    wire.delay_s[:] = slow_s
    with RemoteRobot(endpoint_of(wire), ARM, CLOCK, timeout_s=2.0) as remote:
        bound_ns = remote.offset.error_ns(CLOCK.now_ns())
        assert abs(remote.offset.offset_ns) <= bound_ns
        for seq in range(1, 8):
            command = command_to(START + 0.002 * seq, seq)
            executed = len(robot.moved)
            remote.send(command)
            if len(robot.moved) > executed:
                assert robot.moved[-1][1] - command.stamp_ns <= 0.2e9 + bound_ns + 20e6


def test_a_listener_hears_again_after_the_other_machine_lost_its_power(robot: TimedRobot) -> None:
    """The power cut of a machine ends no connection: no byte says so. Only a heart that stops beating does."""
    first = RobotServer(robot, "table", 0.05, "tcp://127.0.0.1:*", CLOCK)
    first.close()
    port = int(first.endpoint.rpartition(":")[2])
    commands, states = two_wires(port)
    with commands, states:
        with serving(robot, first.endpoint, CLOCK) as server:
            watcher = RobotWatcher(endpoint_of(commands), CLOCK)
            epoch = server.epoch
            assert eventually(lambda: watcher.read_state() is not None and watcher.epoch == epoch)
            states.cut = commands.cut = True
        time.sleep(0.4)
        with pytest.raises(StaleState):
            watcher.read_state()
        states.forget()
        commands.forget()
        with serving(robot, first.endpoint, CLOCK) as server:
            states.cut = commands.cut = False
            end_s = time.monotonic() + 8.0
            while watcher.epoch != server.epoch:
                assert time.monotonic() < end_s, "the listener never hears again"
                try:
                    watcher.read_state()
                except StaleState:
                    time.sleep(0.05)
        watcher.close()


class Cable:
    """A network namespace with one cable to this one: another machine, as far as the kernel's TCP can tell."""

    def __init__(self) -> None:
        self.name, self.near, self.far = f"tandem{os.getpid()}", f"tn{os.getpid()}", f"tf{os.getpid()}"
        self.address = "10.213.77.1"

    def _ip(self, words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True)

    def lay(self) -> None:
        self._ip(f"netns add {self.name}")
        self._ip(f"link add {self.near} type veth peer name {self.far} netns {self.name}")
        self._ip(f"addr add {self.address}/30 dev {self.near}")
        self._ip(f"-n {self.name} addr add 10.213.77.2/30 dev {self.far}")
        self._ip(f"-n {self.name} link set {self.far} up")
        self.plug("up")

    def plug(self, way: str) -> None:
        self._ip(f"link set {self.near} {way}")

    def take_up(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.near], check=False, capture_output=True)


@pytest.fixture
def cable() -> Generator[Cable]:
    laid = Cable()
    try:
        laid.lay()
    except (OSError, subprocess.CalledProcessError) as error:
        laid.take_up()
        pytest.skip(f"a network namespace needs root, iproute2 and veth: {error}")
    yield laid
    laid.take_up()


@pytest.mark.parametrize("cut_s", [1.0, *([5.0, 60.0] if DEEP else [])])
def test_a_real_cable_pulled_with_keys_over_it(cut_s: float, cable: Cable, robot: TimedRobot, tmp_path: Path) -> None:
    """The kernel's own TCP, its buffers and retransmissions, with CURVE on top."""
    ring = KeyRing(tmp_path / "keys")
    ring.new("laptop")
    with serving(robot, f"tcp://{cable.address}:*", CLOCK, ServerSettings(keys=ring)) as server:
        words = ["ip", "netns", "exec", cable.name, sys.executable, "-m", "tests.bridge.distant_client"]
        client = subprocess.Popen(
            [*words, server.endpoint, str(ring.client_path("laptop"))], stdout=subprocess.PIPE, text=True
        )
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "moving\n"
            cable.plug("down")
            cut_ns = CLOCK.now_ns()
            assert eventually(lambda: bool(robot.hold_times_ns))
            assert HOLD_S - 0.01 < (robot.hold_times_ns[0] - robot.moved[-1][1]) * 1e-9 < HOLD_S + 0.1
            CLOCK.sleep_until(cut_ns + round(cut_s * 1e9))
            moved = len(robot.moved)
            back_ns = CLOCK.now_ns()
            cable.plug("up")
            word, lost_s = client.stdout.readline().split()
            assert word == "lost"
            assert float(lost_s) < 0.8
            assert client.stdout.readline() == "back\n"
            assert client.stdout.readline() == "moving\n"
            # Whatever moved the arm after the cut was sent after it: its stamp is of our clock, the machine being one.
            after = robot.commands[moved:]
            assert after[0].seq == 1
            assert min(command.stamp_ns for command in after) > back_ns
        finally:
            client.kill()
            client.wait()
            if client.stdout is not None:
                client.stdout.close()


# Messages late, repeated, out of order, lost -------------------------------------------------------
@pytest.mark.parametrize("seed", range(40 if DEEP else 4))
def test_through_a_bad_post_office_the_arm_only_ever_moves_on(
    dial: Dialler, seed: int, robot: TimedRobot, server: RobotServer
) -> None:
    """Numbers that moved the arm strictly increase, none is older than its time to live, none follows a later hold."""
    rng = np.random.default_rng(seed)
    delay_s = (0.02, 0.1, 0.3, 0.8)[seed % 4]
    stamps: dict[int, tuple[int, float]] = {}
    with PostOffice(server.endpoint, rng, delay_s, lost=0.1, repeated=0.4) as office:
        raw = dial(office.endpoint)
        while True:  # greetings are lost as well
            raw.say(hello("raw"))
            if raw.socket.poll(round(1000 * delay_s + 200)):
                break
        for seq in range(1, 700):
            ttl_s = float(rng.choice([0.01, 0.05, 0.2, 3.0]))
            stamps[seq] = (CLOCK.now_ns(), ttl_s)
            kind = float(rng.random())
            if kind < 0.03:
                raw.say(Hold("raw", seq))
            elif kind < 0.05:
                raw.say(hello("raw"))
            else:
                raw.say(Move("raw", command_to(START + 0.0005 * (seq % 40), seq, stamps[seq][0], ttl_s)))
            time.sleep(0.001 * float(rng.random()))
        time.sleep(delay_s + 0.1)
        answers: list[Ack] = []  # in the order in which the server judged
        while raw.socket.poll(100):
            answer = raw.hear()
            if isinstance(answer, Ack):
                answers.append(answer)
    newest = 0
    for answer in answers:  # of holds as well: what they overtook does not move the arm
        assert answer.sent is None or answer.seq > newest
        newest = max(newest, answer.seq) if answer.verdict == "accepted" else newest
    numbers = [seq for seq, _ in robot.moved]
    assert len(numbers) > 5
    assert all(before < after for before, after in itertools.pairwise(numbers))
    for seq, at_ns in robot.moved:
        sent_ns, ttl_s = stamps[seq]
        assert at_ns - sent_ns <= min(ttl_s, MAX_TTL_S) * 1e9 + 20e6  # judged, then sent: a busy machine in between
    assert server.statistics.duplicate > 20


def test_on_thousands_of_bad_ways_nothing_old_is_let_through() -> None:
    """Greetings, commands, holds and goodbyes of three sessions, each copied, late and shuffled, on a made-up clock."""
    rng, passed = np.random.default_rng(1), 0
    for _ in range(50_000 if DEEP else 1_500):
        gate, posted = CommandGate(6), list[tuple[int, int, str, int, JointCommand]]()
        latest_ns = int(rng.choice([5, 50, 300, 2000])) * 1_000_000
        for k in range(24):
            at_ns, draw = 10**12 + k * 20_000_000, float(rng.random())
            kind = "hello" if k % 8 == 0 else "bye" if k % 8 == 7 else "hold" if draw < 0.15 else "move"
            command = command_to(START, k, at_ns, float(rng.choice([0.03, 0.2, 9.0])))
            for _ in range(1 + int(rng.random() < 0.4)):
                posted.append((at_ns + int(rng.integers(latest_ns)), len(posted), kind, k, command))
        newest, ended = dict[str, int](), set[str]()
        for now_ns, _, kind, k, command in sorted(posted, key=lambda p: p[:2]):
            session = f"s{k // 8}"
            if kind == "hello":
                gate.open(session, take_over=True)
            elif kind == "bye":
                ended |= {session} if gate.knows(session) else set()
                gate.close(session)
            elif kind == "hold":
                gate.outdate(session, k)
                newest[session] = max(k, newest.get(session, -1)) if gate.knows(session) else newest.get(session, -1)
            elif gate.judge(session, command, now_ns)[0] is Verdict.ACCEPTED:
                passed += 1
                assert k > newest.get(session, -1)
                assert session not in ended
                assert now_ns - command.stamp_ns <= round(min(command.ttl_s, MAX_TTL_S) * 1e9)
                newest[session] = k
    assert passed > 2_000


def test_a_command_that_a_hold_overtook_moves_nothing(dial: Dialler, robot: TimedRobot, server: RobotServer) -> None:
    raw = dial(server.endpoint)
    raw.greet()
    raw.move(command_to(START + 0.01, 1))
    overtaken = command_to(START + 0.02, 2)
    raw.ask(Hold("raw", 3))
    assert raw.move(overtaken).verdict == "duplicate"
    assert len(robot.moved) == 1


def test_a_command_that_stop_and_clear_overtook_moves_nothing(
    dial: Dialler, robot: TimedRobot, server: RobotServer
) -> None:
    raw = dial(server.endpoint)
    raw.greet()
    overtaken = command_to(START + 0.02, 1)
    raw.ask(Stop("raw", 2))
    assert raw.ask(Clear("raw", 3, CLOCK.now_ns())).verdict == "accepted"  # type: ignore[union-attr]
    assert raw.move(overtaken).verdict == "duplicate"
    assert robot.moved == []


def test_a_repeated_clear_does_not_end_the_next_stop(dial: Dialler, robot: TimedRobot, server: RobotServer) -> None:
    raw = dial(server.endpoint)
    raw.greet()
    clear = Clear("raw", 2, CLOCK.now_ns())
    for message in (Stop("raw", 1), clear, Stop("raw", 3), clear):
        raw.ask(message)
    assert server.stopped


def test_a_clear_that_was_long_on_the_way_ends_no_stop(
    dial: Dialler, robot: TimedRobot, server: RobotServer, wire: Wire
) -> None:
    """Written before the cut, in a kernel's buffer during it; in the meantime somebody else stopped the arm."""
    raw, other = dial(endpoint_of(wire)), dial(server.endpoint)
    raw.greet()
    wire.cut = True
    raw.say(Clear("raw", 1, CLOCK.now_ns()))
    other.ask(Stop("passer-by", 1))
    time.sleep(MAX_TTL_S + 0.2)
    wire.cut = False
    ack = raw.hear(3000)
    assert isinstance(ack, Ack)
    assert ack.verdict == "stale"
    assert server.stopped


def test_a_copy_of_a_whole_session_does_not_play_again_after_it_ended(
    dial: Dialler, robot: TimedRobot, server: RobotServer
) -> None:
    raw = dial(server.endpoint)
    greeting, move = hello("raw"), Move("raw", command_to(START + 0.01, 1, ttl_s=0.5))
    for message in (greeting, move, Bye("raw")):
        raw.ask(message)
    assert isinstance(raw.ask(greeting), ErrorReply)
    ack = raw.ask(move)
    assert isinstance(ack, Ack)
    assert ack.verdict == "unknown session"
    assert len(robot.moved) == 1


def test_a_stranger_to_a_session_supersedes_nothing_of_it(robot: TimedRobot, tmp_path: Path) -> None:
    """Another client, with a key of its own, sends a huge number in the name of the session that leads."""
    ring = KeyRing(tmp_path / "keys")
    mine, theirs = ring.new("mine"), ring.new("theirs")
    stop = threading.Event()
    with serving(robot, "tcp://127.0.0.1:*", CLOCK, ServerSettings(keys=ring)) as server:
        remote = RemoteRobot(server.endpoint, ARM, CLOCK, key=mine)

        def flood() -> None:
            with zmq.Context() as context, context.socket(zmq.DEALER) as loud:
                loud.setsockopt(zmq.LINGER, 0)
                present(loud, theirs)
                loud.connect(server.endpoint)
                while not stop.is_set():
                    loud.send(encode(Move(remote.session, command_to(START, 10**9))))
                    loud.send(encode(Hold(remote.session, 10**9)))
                    time.sleep(0.0002)

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            for seq in range(1, 50):
                remote.send(command_to(START + 0.001, seq))
        finally:
            stop.set()
            flooding.join()
        assert (remote.commands_refused, server.statistics.superseded) == (0, 0)
        remote.close()


def test_a_move_in_a_session_that_ends_in_the_same_turn_does_not_bring_the_server_down(
    robot: TimedRobot, tmp_path: Path
) -> None:
    ring = KeyRing(tmp_path / "keys")
    mine, theirs = ring.new("mine"), ring.new("theirs")
    with (
        RobotServer(robot, "table", PERIOD_S, "tcp://127.0.0.1:*", CLOCK, ServerSettings(keys=ring)) as server,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as owner,
        context.socket(zmq.DEALER) as stranger,
    ):
        for peer, key in ((owner, mine), (stranger, theirs)):
            peer.setsockopt(zmq.LINGER, 0)
            present(peer, key)
            peer.connect(server.endpoint)
            peer.send(encode(hello("raw" if peer is owner else "other")))
            while not peer.poll(0):
                server.turn(10)
            peer.recv()
        for message in (Move("raw", command_to(START, 1)), Bye("raw"), Move("raw", command_to(START, 2))):
            (owner if isinstance(message, Bye) else stranger).send(encode(message))
        time.sleep(0.2)  # all three wait
        server.turn()
        replies = [decode_server(stranger.recv()) for _ in range(2) if stranger.poll(1000)]
        assert len(replies) == 2
        assert not robot.moved  # both were answered, neither was let through


# Two controllers -----------------------------------------------------------------------------------
def test_of_two_controllers_that_race_one_moves_the_arm_at_any_time(robot: TimedRobot, server: RobotServer) -> None:
    """Each tells its targets apart by the sign of the first joint; control changes hands once per taking over."""
    refused: list[int] = []

    def lead(side: int, take_over: bool) -> None:
        with RemoteRobot(server.endpoint, ARM, CLOCK, take_over=take_over) as remote:
            for seq in range(1, 60):
                target = START.copy()
                target[0] += 0.01 * side
                try:
                    remote.send(command_to(target, seq))
                except CommandRefused:
                    refused.append(side)
                    return
                time.sleep(0.005)

    first = threading.Thread(target=lead, args=(1, False))
    first.start()
    assert eventually(lambda: len(robot.commands) > 5)
    second = threading.Thread(target=lead, args=(-1, True))
    second.start()
    first.join()
    second.join()
    sides = [np.sign(c.position_rad[0] - START[0]) for c in robot.commands]
    assert refused == [1]
    assert [side for side, _ in itertools.groupby(sides)] == [1, -1]


# Processes -----------------------------------------------------------------------------------------
def test_killed_clients_leave_an_arm_that_holds(robot: TimedRobot, server: RobotServer) -> None:
    """From the last command to the hold, whenever the client dies. On a machine with other work to do as well."""
    trials = 200 if DEEP else 20
    after_s: list[float] = []
    # Clients that share one interpreter, forked when all is imported: twenty starts of Python cost more.
    nursery = subprocess.Popen(
        [sys.executable, "-m", "tests.bridge.killed_clients", server.endpoint, str(trials)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert nursery.stdout is not None
    for line in nursery.stdout:
        assert line.startswith("killed")
        holds = len(robot.hold_times_ns)
        assert eventually(
            lambda n=holds: len(robot.hold_times_ns) > n or robot.hold_times_ns[-1:] > [robot.moved[-1][1]]
        )
        after_s.append((robot.hold_times_ns[-1] - robot.moved[-1][1]) * 1e-9)
        assert nursery.stdin is not None
        nursery.stdin.write("next\n")
        nursery.stdin.flush()
    assert nursery.wait(timeout=10) == 0
    assert nursery.stdin is not None
    nursery.stdin.close()
    nursery.stdout.close()
    assert len(after_s) == trials
    assert min(after_s) > HOLD_S - 0.01
    assert np.median(after_s) < 0.15
    assert max(after_s) < (0.15 if DEEP else 0.3)


def test_a_killed_server_sends_nothing_more_and_one_started_again_moves_nothing_by_itself(bench: Bench) -> None:
    """What the power cut of a Raspberry Pi looks like on the wire: the servos end their last move, torque on."""
    server = bench.serve()
    bench.stream()
    assert eventually(lambda: bool(bench.plant.moved_ns))
    time.sleep(0.3)
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as looker:
        server.send_signal(signal.SIGKILL)
        server.wait()
        killed_ns = time.monotonic_ns()
        asked_s = time.monotonic()
        with pytest.raises(StaleState):
            eventually(lambda: looker.read_state() is None, 1.0)
        assert time.monotonic() - asked_s < 1.0
    time.sleep(0.7)
    assert bench.heard(killed_ns + 20_000_000) == []  # what lay in the port's buffer is heard a moment later
    assert all(bench.board.torque_on)
    last = [f for f in bench.heard(0) if f.command == 0x1D][-1]
    standing_rad = bench.calibration.to_rad([round(v) for v in bench.plant.positions_ticks()])
    np.testing.assert_allclose(standing_rad, bench.target_rad(last), atol=0.02)
    assert (bench.plant.moved_ns[-1] - killed_ns) * 1e-9 < 0.5
    bench.serve()
    for frame in (f for f in bench.heard(killed_ns + 20_000_000) if f.command == 0x1D):
        np.testing.assert_allclose(bench.target_rad(frame), standing_rad, atol=0.03)
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as again:
        again.send(JointCommand(1, CLOCK.now_ns(), again.read_state().position_rad, 0.05))


#: By name tokens alone: CPython 3.11's `ast` now and then fails where other threads run (gh-106905).
OF_DAY = re.compile(
    r"\btime\.(time|time_ns|localtime)\b|\b(utcnow|CLOCK_REALTIME)\b|datetime[\w.()]*\.(now|today)\b| from time import "
)


def code_of(path: Path) -> str:
    """Return a module without its strings, comments and numbers."""
    with path.open(encoding="utf-8") as file:
        tokens = [t for t in tokenize.generate_tokens(file.readline) if t.type in (token.NAME, token.OP, token.NEWLINE)]
    return "".join(f" {t.string} " if keyword.iskeyword(t.string) else t.string for t in tokens)


# Clocks --------------------------------------------------------------------------------------------
def test_nothing_in_bridge_or_hardware_asks_for_the_time_of_day() -> None:
    """The time of day is stepped by NTP and by people. Recordings may name their files by it, and nothing else.

    RealSense's SDK stamps its pictures by it: how old one is when it comes is told by the same clock, within bounds.
    """
    found: set[str] = set()
    for path in [*(ROOT / "bridge").rglob("*.py"), *(ROOT / "hardware").rglob("*.py")]:
        if OF_DAY.search(code_of(path)):
            found.add(path.relative_to(ROOT).as_posix())
    found.discard("hardware/cameras/realsense.py")
    assert {path for path in found if not path.startswith("bridge/episode")} == set()


class SteppedClock(MonotonicClock):
    """A client's clock that somebody steps."""

    def __init__(self) -> None:
        self.step_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.step_ns


@pytest.mark.parametrize(("step_s", "verdict"), [(3600, "future"), (-3600, "stale")])
def test_a_client_whose_clock_steps_by_an_hour_moves_nothing_until_the_offset_is_learnt_anew(
    step_s: int, verdict: str, robot: TimedRobot, server: RobotServer
) -> None:
    clock = SteppedClock()
    with RemoteRobot(server.endpoint, ARM, clock) as remote:
        remote.send(command_to(START + 0.01, 1, clock.now_ns()))
        clock.step_ns = step_s * 10**9
        if verdict == "future":
            with pytest.raises(CommandRefused, match="future"):
                remote.send(command_to(START + 0.02, 2, clock.now_ns()))
        else:
            remote.send(command_to(START + 0.02, 2, clock.now_ns()))
            assert (remote.commands_refused, server.statistics.stale) == (1, 1)
        assert len(robot.moved) == 1
        assert eventually(lambda: bool(robot.hold_times_ns))
        assert abs(remote.offset.offset_ns + clock.step_ns) < 50e6
        remote.send(command_to(START + 0.02, 3, clock.now_ns()))
        assert len(robot.moved) == 2
        assert abs(clock.now_ns() - remote.read_state().stamp_ns) < 100e6


@pytest.mark.parametrize("step_ns", [3600 * 10**9, -3600 * 10**9, 20_000_000, -20_000_000])
def test_one_answer_after_a_step_is_enough(step_ns: int) -> None:
    offset = ClockOffset()
    for k in range(64):
        offset.add(k * 10**8, k * 10**8 + 500_000, k * 10**8 + 1_000_000)
    now_ns = 64 * 10**8
    offset.add(now_ns, now_ns + step_ns + 500_000, now_ns + 1_000_000)
    assert offset.offset_ns == step_ns


def test_a_watcher_whose_clock_steps_back_does_not_take_an_old_state_for_fresh(
    robot: TimedRobot, tmp_path: Path
) -> None:
    clock = SteppedClock()
    with serving(robot, ipc(tmp_path), CLOCK) as server:
        watcher = RobotWatcher(server.endpoint, clock)
        watcher.read_state()
    clock.step_ns = -3600 * 10**9
    with pytest.raises(StaleState, match="stepped"):
        watcher.read_state()
    watcher.close()
