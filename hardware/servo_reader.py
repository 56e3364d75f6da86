"""ServoReader: a thread that reads one servo after the other, so that nobody else ever waits for one.

It never gives up: after a fault, and while the port is gone, it goes on asking, so that the state shows where the arm
is as soon as it can be known again. What a reading means, and what to do about a failure, is its owner's to decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bridge.ports import Clock
from hardware.errors import BadChecksum, BusError, NoReply, NotMeasured, ServoAlarm
from hardware.estimate import ReadSchedule
from hardware.servo_bus import Reading, ServoVitals
from hardware.servo_joints import ServoJoints

#: Reads that fail in a row, retries included, before the bus, or the one servo, counts as silent.
FAILED_READS = 3
#: One servo is asked how it is so often: six of them in six seconds, and heat takes minutes.
VITALS_S = 1.0
#: A bus that is quick is read so often, as long as reading takes no more than this share of the time: the rest is for
#: commands. One whose reading takes a period or longer is read without a pause.
TURNS_A_PERIOD, MOST_SHARE = 3, 0.2
#: How long to wait before asking again while the port is gone; the bus opens it at most this often.
LOST_S = 0.5


@dataclass(frozen=True, slots=True)
class Listener:
    """What the owner of the arm does about what is read; called from the reader's thread."""

    gripper_moves: Callable[[], bool]
    """Whether the gripper is on its way: it is then read every second turn."""
    reading: Callable[[int, Reading], bool]
    """A joint has been read; returns whether to read the same one again before any other."""
    vitals: Callable[[int, ServoVitals], bool]
    """A joint's servo has said how it is; returns whether to ask the same one again."""
    alarm: Callable[[ServoAlarm], None]
    """A servo says of itself that something is wrong."""
    silence: Callable[[BusError], None]
    """Several reads in a row have failed, or the port is lost; said again at every turn that it lasts."""


class ServoReader:
    """Reads in a thread of its own from `start` to `stop`."""

    def __init__(self, joints: ServoJoints, listener: Listener, clock: Clock, period_s: float) -> None:
        self._joints, self._listener, self._clock, self._period_s = joints, listener, clock, period_s
        self._schedule = ReadSchedule(joints.count)
        self._again: int | None = None
        self._failed_reads = 0
        self._failed_by_joint = [0] * joints.count
        self._tells = True
        self._vitals_joint = 0
        self._vitals_due_ns = clock.now_ns()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="servo reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; whoever waits for the end calls `join` once the bus is closed."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the thread to end, unless it is this one."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def turn(self) -> None:
        """Read once; raises BusLost where there is nothing to read from."""
        joint, self._again = self._again, None
        if joint is None:
            joint = self._schedule.next(self._listener.gripper_moves())
        try:
            reading = self._joints.read(joint)
            self._failed_reads = self._failed_by_joint[joint] = 0
            if self._listener.reading(joint, reading):
                self._again = joint
            if self._tells and self._clock.now_ns() >= self._vitals_due_ns:
                self._ask_vitals()
        except ServoAlarm as alarm:
            self._listener.alarm(alarm)
        except (NoReply, BadChecksum) as error:
            self._failed_reads += 1
            self._failed_by_joint[joint] += 1
            if max(self._failed_reads, self._failed_by_joint[joint]) >= FAILED_READS:
                self._listener.silence(error)

    def _ask_vitals(self) -> None:
        self._vitals_due_ns = self._clock.now_ns() + round(VITALS_S * 1e9)
        joint = self._vitals_joint
        try:
            again = self._listener.vitals(joint, self._joints.read_vitals(joint))
        except NotMeasured:
            self._tells = False
            return
        except (NoReply, BadChecksum):  # the readings of its position say whether it is silent
            again = False
        if not again:
            self._vitals_joint = (joint + 1) % self._joints.count

    def _read_on(self) -> None:
        while not self._stop.is_set():
            started_ns = self._clock.now_ns()
            try:
                self.turn()
            except BusError as error:
                if not self._stop.is_set():
                    self._listener.silence(error)
                self._stop.wait(LOST_S)
                continue
            except Exception as error:  # whatever it is, the arm must not go on unwatched
                self._listener.silence(NoReply(f"reading the servos failed: {error!r}"))
                self._stop.wait(LOST_S)
                continue
            spent_s = (self._clock.now_ns() - started_ns) * 1e-9
            turn_s = min(max(self._period_s / TURNS_A_PERIOD, spent_s / MOST_SHARE), self._period_s)
            self._stop.wait(max(0.0, turn_s - spent_s))
