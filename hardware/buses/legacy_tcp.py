"""LegacyServer: takes the 24-byte TCP stream of older Dofbot programs, as safely as such a stream can be taken.

| what happens | what the server does |
|---|---|
| a frame | leads the robot there, one command a period: filter, lease and watchdog are the robot's own |
| several frames since the last command | the newest counts, the others are counted |
| NaN, infinity, out of range, shifted bytes | refused, counted, the arm holds; the third in a row ends the connection |
| no good frame for more than 1 s | the arm holds; the next good frame moves it again |
| the client goes, in the middle of a frame or not | the arm holds |
| somebody else has control, a fault has latched, the arm is lost | the connection ends: it knows no other answer |
| a second client | refused while the first was heard within the last second; a silent one has lost its place |

The stream carries no keys. So it is served on loopback, or to the addresses of an allow-list, and then says so.
"""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import threading
from collections.abc import Callable, Sequence

import msgspec

from bridge.errors import BridgeError, CommandRefused, EndpointRefused
from bridge.messages import JointCommand
from bridge.ports import Clock, Robot
from hardware.buses.legacy_frames import PORT, SERVO_COUNT, FrameCutter, decode
from hardware.errors import BadCommand, HardwareError

SILENCE_S = 1.0
REFUSED_IN_A_ROW = 3
_TURN_S = 0.02
_TELL_S = 1.0
_AT_ONCE_BYTES = 65536


class LegacyStatistics(msgspec.Struct):
    """What a server has seen since it started."""

    clients: int = 0
    refused_clients: int = 0
    frames: int = 0
    superseded_frames: int = 0
    refused_frames: int = 0
    commands: int = 0
    refused_commands: int = 0
    silences: int = 0


class LegacyServer:
    """Serves `robot` to one old client at a time. `start` and `close`, or `turn` from a loop of one's own.

    `robot` is asked from the serving thread alone. Where others command the same arm, give a Robot whose `send` goes
    through the lease, such as a RemoteRobot of the arm's own server: what it refuses, this refuses.
    """

    def __init__(
        self,
        robot: Robot,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = PORT,
        allow: Sequence[str] = (),
        period_s: float = 0.05,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Bind at once; raises EndpointRefused. `host` beyond loopback needs `allow`, the addresses that may connect.

        `port` 0 takes any free one. `tell` gets the lines of the log, from the serving thread.
        """
        if len(robot.description.joint_names) != SERVO_COUNT:
            raise EndpointRefused(
                f"the legacy stream carries {SERVO_COUNT} servos, {robot.description.name!r} has "
                f"{len(robot.description.joint_names)} joints: serve it to `tandem run` alone"
            )
        self.statistics = LegacyStatistics()
        self._robot, self._clock = robot, clock
        self._period_ns = round(period_s * 1e9)
        self._tell = tell or _say_nothing
        self._allowed = frozenset(_address(text) for text in allow)
        self._address = _address(host)
        if not self._address.is_loopback and not self._allowed:
            raise EndpointRefused(
                f"the legacy stream carries no keys, so {host} needs a list of the addresses that may connect; "
                "without one it is served on 127.0.0.1 alone"
            )
        self._listener = _listen(self._address, port)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._client: socket.socket | None = None
        self._cutter = FrameCutter()
        self._target_rad: tuple[float, ...] | None = None
        self._is_new = False
        self._heard_ns = self._due_ns = self._told_ns = 0
        self._untold = self._refused_in_a_row = self._seq = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="legacy stream", daemon=True)

    @property
    def notice(self) -> str:
        """Where it is served and to whom; where that is the network, what it means."""
        where = f"legacy stream (24 bytes, no keys) on {self._address}:{self.port}"
        if self._address.is_loopback:
            return f"{where}: programs on this machine may move the arm"
        listing = ", ".join(sorted(map(str, self._allowed)))
        return (
            f"WARNING: {where}: UNAUTHENTICATED. Whoever sends from {listing} moves the arm, and addresses can be "
            "forged: only on a network that you trust"
        )

    @property
    def leading(self) -> bool:
        """Whether the stream moves the arm at this moment."""
        return self._target_rad is not None

    def start(self) -> None:
        """Say where it is served and serve in a thread of its own until `close`."""
        self._tell(self.notice)
        self._thread.start()

    def close(self) -> None:
        """End the thread, hold the arm if the stream was moving it, give the port back. Twice is harmless.

        The robot stays the caller's.
        """
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        self._drop()
        self._listener.close()
        self._selector.close()

    def turn(self, timeout_s: float = 0.0) -> None:
        """Wait up to `timeout_s` for bytes or a client, take in what there is, and lead the arm on."""
        if self.leading:
            timeout_s = min(timeout_s, max((self._due_ns - self._clock.now_ns()) * 1e-9, 0.0))
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._receive()
        self._lead()

    def _serve(self) -> None:
        while not self._stop.is_set():
            self.turn(_TURN_S)

    # The arm ---------------------------------------------------------------------------------------
    def _lead(self) -> None:
        if self._target_rad is None:
            return
        now_ns = self._clock.now_ns()
        if now_ns - self._heard_ns > SILENCE_S * 1e9:
            self.statistics.silences += 1
            self._tell(f"legacy stream: silent for {SILENCE_S:g} s, the arm holds")
            self._rest()
        elif now_ns >= self._due_ns:
            on_time = self._due_ns + self._period_ns
            self._due_ns = on_time if on_time > now_ns else now_ns + self._period_ns
            self._command(self._target_rad, now_ns)

    def _command(self, target_rad: tuple[float, ...], now_ns: int) -> None:
        self._seq += 1
        self._is_new = False
        try:
            self._robot.send(JointCommand(self._seq, now_ns, target_rad, self._period_ns * 1e-9))
        except CommandRefused as error:
            self.statistics.refused_commands += 1
            self._target_rad = None  # not ours to hold
            self._drop(f"disconnected, its command was refused: {error}")
        except (BridgeError, HardwareError) as error:
            self.statistics.refused_commands += 1
            self._drop(f"disconnected, the arm is lost: {error}")
        else:
            self.statistics.commands += 1

    def _rest(self) -> None:
        """Stand still, if it is us who move."""
        leading, self._target_rad, self._is_new = self.leading, None, False
        if leading:
            try:
                self._robot.hold()
            except (BridgeError, HardwareError) as error:
                self._tell(f"legacy stream: the arm could not be told to hold: {error}")

    # The client ------------------------------------------------------------------------------------
    def _accept(self) -> None:
        try:
            client, address = self._listener.accept()
        except OSError:  # it has gone again
            return
        now_ns = self._clock.now_ns()
        peer = _address(str(address[0]).partition("%")[0])
        if self._allowed and peer not in self._allowed:
            self._refuse(client, f"{peer} is not on the allow-list", now_ns)
            return
        if self._client is not None and now_ns - self._heard_ns <= SILENCE_S * 1e9:
            self._refuse(client, f"{peer}: another client is connected", now_ns)
            return
        self._drop("disconnected: silent, and another client has come")
        client.setblocking(False)
        self._client, self._cutter, self._heard_ns, self._refused_in_a_row = client, FrameCutter(), now_ns, 0
        self._selector.register(client, selectors.EVENT_READ)
        self.statistics.clients += 1
        self._tell(f"legacy stream: {peer} is connected")

    def _refuse(self, client: socket.socket, why: str, now_ns: int) -> None:
        """Hang up on a client; one that knocks all the time fills no log."""
        client.close()
        self.statistics.refused_clients += 1
        self._untold += 1
        if self._told_ns == 0 or now_ns - self._told_ns > _TELL_S * 1e9:
            more = f" (and {self._untold - 1} more)" if self._untold > 1 else ""
            self._tell(f"legacy stream: refused a client{more}: {why}")
            self._told_ns, self._untold = now_ns, 0

    def _receive(self) -> None:
        if self._client is None:
            return
        try:
            data = self._client.recv(_AT_ONCE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(f"disconnected: {error}")
            return
        if not data:
            self._drop("has gone")
            return
        for frame in self._cutter.feed(data):
            if not self._take(frame):
                return

    def _take(self, frame: bytes) -> bool:
        """Take one frame in; return whether the client is still there."""
        self.statistics.frames += 1
        try:
            target_rad = decode(frame)
        except BadCommand as error:
            return self._spurn(str(error))
        now_ns = self._clock.now_ns()
        if self._target_rad is None:
            self._due_ns = now_ns
        self.statistics.superseded_frames += self._is_new
        self._target_rad, self._is_new, self._heard_ns, self._refused_in_a_row = target_rad, True, now_ns, 0
        return True

    def _spurn(self, why: str) -> bool:
        self.statistics.refused_frames += 1
        self._refused_in_a_row += 1
        self._rest()
        if self._refused_in_a_row < REFUSED_IN_A_ROW:
            self._tell(f"legacy stream: refused a frame, the arm holds: {why}")
            return True
        self._drop(f"disconnected after {REFUSED_IN_A_ROW} refused frames in a row: {why}")
        return False

    def _drop(self, why: str = "") -> None:
        """Part with the client, if there is one; the arm holds if it was moving it."""
        client, self._client = self._client, None
        if client is not None:
            self._selector.unregister(client)
            client.close()
            if why:
                self._tell(f"legacy stream: the client {why}")
        self._rest()


def _say_nothing(_line: str) -> None:
    """Nobody reads the log."""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address("127.0.0.1" if text == "localhost" else text)
    except ValueError as error:
        raise EndpointRefused(f"{text!r} is no IP address, such as 192.168.1.20") from error
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address  # where both kinds of network are served, clients of the older one have mapped addresses


def _listen(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(address), port))
        listener.listen(4)
    except (OSError, OverflowError) as error:
        listener.close()
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        advice = ": end the program that has it (`ss -ltnp`)" if busy else ""
        raise EndpointRefused(f"cannot serve the legacy stream on {address}:{port}: {error}{advice}") from error
    listener.setblocking(False)
    return listener
