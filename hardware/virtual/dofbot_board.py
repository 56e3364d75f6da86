"""DofbotBoard: a Dofbot-SE servo board on a pseudo-terminal, with the real board's manners and faults on request.

An outer loop calls `step(now_ns)`, some hundred times a second; nothing in it waits. What the board does on the wire is
recorded in `heard`, what its servos do is pushed into a `Plant`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bridge.ports import Clock
from calibration.actuator import ActuatorModel
from hardware.errors import HardwareError
from hardware.virtual.dofbot_mcu import FIRMWARE, DofbotMcu
from hardware.virtual.dofbot_wire import (
    CommandScanner,
    HeardFrame,
    misname,
    number_reply,
    offset_reply,
    position_reply,
    spoil,
)
from hardware.virtual.plant import Plant
from hardware.virtual.pty_port import open_pty
from hardware.virtual.servo_rack import ServoManners
from hardware.virtual.wire_bytes import Wire
from urdf.pose import Array


@dataclass(frozen=True, slots=True)
class BoardManners:
    """How the real board behaves. Ref: notes of nahyud546/dofbot-se, Practitioner108/dofbot_sci_ws."""

    read_s: tuple[float, float] = (0.050, 0.080)
    swallows_first: bool = True
    servos: ServoManners = field(default_factory=ServoManners)


@dataclass(slots=True)
class BoardFaults:
    """Faults on request: how many more times each happens; `FOREVER` until cleared."""

    FOREVER = 1 << 60

    drop_replies: int = 0
    corrupt_replies: int = 0
    wrong_id_replies: int = 0
    split_replies: int = 0
    split_gap_s: float = 0.010
    ignore_frames: int = 0
    echo: bool = False
    """The host hears itself."""
    absent_servos: set[int] = field(default_factory=set[int])

    def clear(self) -> None:
        """End every fault."""
        self.drop_replies = self.corrupt_replies = self.wrong_id_replies = self.split_replies = self.ignore_frames = 0
        self.echo = False
        self.absent_servos.clear()


class DofbotBoard:
    """The board. `port` is what a serial driver opens; `link` gives it a stable name."""

    def __init__(
        self,
        plant: Plant,
        rng: np.random.Generator,
        now_ns: int,
        actuator: ActuatorModel | None = None,
        manners: BoardManners | None = None,
        link: Path | None = None,
        torque_on: bool = False,
        wire: Wire | None = None,
    ) -> None:
        """Stand where the plant stands. On a `wire` there is no pseudo-terminal: its host is in this process."""
        self.plant = plant
        self.manners = manners or BoardManners()
        self.faults = BoardFaults()
        self.heard: deque[HeardFrame] = deque(maxlen=20_000)
        self.replies_sent = 0
        self._rng = rng
        self.mcu = DofbotMcu(plant, now_ns, actuator, torque_on, self.manners.servos, self.faults.absent_servos)
        self.rack = self.mcu.rack
        self._scanner = CommandScanner()
        self._reads: deque[int] = deque()
        self._read_due_ns: int | None = None
        #: The second parts of replies that were cut in two, and what comes behind them.
        self._rests: deque[tuple[int, bytes]] = deque()
        self._is_open = False
        self._swallow = self._closed = False
        self._plug = threading.Lock()
        self._wire = wire
        self._master, self.port = (-1, wire.name) if wire is not None else open_pty(link)
        self._link = link

    @property
    def is_open(self) -> bool:
        """Whether the board takes its port for opened; it notices within a step."""
        return self._is_open

    @property
    def torque_on(self) -> tuple[bool, ...]:
        """Each servo's torque."""
        return self.rack.torque_on

    @property
    def stalled_servos(self) -> tuple[int, ...]:
        """The ids of the servos whose stall protection has cut their torque."""
        return self.rack.stalled_servos

    @property
    def setpoint_ticks(self) -> Array:
        """Where the servos' own controllers are heading right now (6,)."""
        return self.rack.setpoint_ticks

    def step(self, now_ns: int) -> None:
        """Hear, move, protect, answer: everything up to `now_ns`; never waits. Unplugged, the servos only go on."""
        with self._plug:
            if self._closed:
                return
            if self._is_plugged:
                self._listen(now_ns)
            self.rack.advance(now_ns)
            if self._is_plugged:
                self._answer(now_ns)

    @property
    def _is_plugged(self) -> bool:
        return self._master >= 0 or self._wire is not None

    def unplug(self) -> None:
        """Pull the USB cable: whoever has the port open loses it; the servos, on their own supply, go on."""
        with self._plug:
            if self._master < 0:
                return
            master, self._master = self._master, -1
            os.close(master)
            self._hang_up()
        if self._link is not None and self._link.is_symlink():
            self._link.unlink()

    def replug(self) -> None:
        """Plug the cable in again. Only a board with a `link` comes back under the same name."""
        with self._plug:
            if self._master < 0 and not self._closed:
                self._master, self.port = open_pty(self._link)

    def press_k1(self, now_ns: int) -> None:
        """Press K1: the torque comes on and the arm centres."""
        with self._plug:
            self.mcu.press_k1(now_ns)

    def press_k2(self, now_ns: int) -> None:
        """Press K2: every torque goes."""
        with self._plug:
            self.mcu.press_k2(now_ns)

    def close(self) -> None:
        """Unplug the board for good. May be called while another thread steps it."""
        self.unplug()
        self._closed = True

    @contextlib.contextmanager
    def run_in_thread(self, clock: Clock, period_s: float = 1 / 240) -> Generator[DofbotBoard]:
        """Step the board in a thread of its own for as long as the context lasts; its errors surface at the end."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def loop() -> None:
            while not stop.is_set() and not self._closed:
                master = self._master
                try:
                    if self._is_open and master >= 0:
                        select.select([master], [], [], period_s)
                    else:  # a hung-up pty is always readable
                        stop.wait(period_s)
                    self.step(clock.now_ns())
                except Exception as error:  # surfaces in the thread that owns the board
                    if master == self._master:  # a plug pulled during select is no failure
                        failures.append(error)
                        return

        thread = threading.Thread(target=loop, name="dofbot board", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join(timeout=2.0)
            if failures:
                raise HardwareError(f"the virtual board failed: {failures[0]!r}") from failures[0]

    # The wire --------------------------------------------------------------------------------------
    def _listen(self, now_ns: int) -> None:
        data = self._receive()
        if self.faults.echo:
            self._send(data)
        for command, payload in self._scanner.scan(data) if data else ():
            swallowed, self._swallow = self._swallow, False
            ignored = self.faults.ignore_frames > 0
            self.faults.ignore_frames -= ignored
            self.heard.append(HeardFrame(now_ns, command, payload, swallowed or ignored))
            if not (swallowed or ignored):
                self._execute(command, payload, now_ns)

    def _receive(self) -> bytes:
        try:
            data = os.read(self._master, 4096) if self._wire is None else self._wire.board_receive()
        except BlockingIOError:
            data = b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._hang_up()
            return b""
        if not self._is_open and (data or self._wire is None):
            self._is_open, self._swallow = True, self.manners.swallows_first
        return data

    def _hang_up(self) -> None:
        self._is_open = False
        self._scanner.forget()
        self._reads.clear()
        self._rests.clear()
        self._read_due_ns = None

    def _execute(self, command: int, data: bytes, now_ns: int) -> None:
        match command, len(data):
            case (0x01, 0):
                self._say(number_reply(0x01, FIRMWARE), now_ns)
            case (0x1B, 0):
                self._say(number_reply(0x33, self.mcu.middle_status), now_ns)
            case (c, 0) if 0x31 <= c <= 0x36:
                self._reads.append(c - 0x30)
            case (0x1C, 1):
                self.mcu.write(command, data, now_ns)
                if 1 <= data[0] <= len(self.mcu.middle_offset):
                    self._say(offset_reply(self.mcu.middle_offset[data[0] - 1]), now_ns)
            case _:
                self.mcu.write(command, data, now_ns)

    def _answer(self, now_ns: int) -> None:
        while self._rests and self._rests[0][0] <= now_ns:
            self._send(self._rests.popleft()[1])
        while self._reads:
            if self._read_due_ns is None:
                low, high = self.manners.read_s
                self._read_due_ns = now_ns + round(self._rng.uniform(low, high) * 1e9)
            if now_ns < self._read_due_ns:
                return
            self._read_due_ns = None
            servo_id = self._reads.popleft()
            self._say(position_reply(servo_id, self.mcu.position_ticks(servo_id)), now_ns)

    def _say(self, frame: bytes, now_ns: int) -> None:
        faults = self.faults
        if faults.drop_replies > 0:
            faults.drop_replies -= 1
            return
        if faults.corrupt_replies > 0:
            faults.corrupt_replies -= 1
            frame = spoil(frame)
        if faults.wrong_id_replies > 0:
            faults.wrong_id_replies -= 1
            frame = misname(frame)
        due_ns = self._rests[-1][0] if self._rests else now_ns
        if faults.split_replies > 0:
            faults.split_replies -= 1
            half = len(frame) // 2
            self._send(frame[:half], due_ns, now_ns)
            frame, due_ns = frame[half:], due_ns + round(faults.split_gap_s * 1e9)
        self._send(frame, due_ns, now_ns)
        self.replies_sent += 1

    def _send(self, data: bytes, due_ns: int = 0, now_ns: int = 0) -> None:
        """Hand bytes to the host, or keep them until they are due."""
        if due_ns > now_ns:
            self._rests.append((due_ns, data))
        elif self._is_open and self._wire is not None:
            self._wire.board_send(data)
        elif self._is_open:
            with contextlib.suppress(BlockingIOError):  # nobody reads: a real UART drops bytes too
                os.write(self._master, data)
