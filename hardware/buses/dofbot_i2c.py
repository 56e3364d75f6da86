"""DofbotI2cBus: the Dofbot's co-processor on the Raspberry Pi's or the Jetson's I2C bus, address 0x15.

A position is asked for, waited for and fetched, 5 ms in all, and nothing may come between. So a move waits for one
exchange under way, and no longer: 7 ms at 100 kHz. Further reads wait for the move.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.clock import MonotonicClock
from bridge.ports import Clock
from hardware.buses.dofbot_registers import (
    MAX_TICKS,
    MIN_TICKS,
    PING_OK,
    SERVO_IDS,
    MiddleStatus,
    Register,
    StoredMiddle,
    any_servo,
    beep_byte,
    lamp_bytes,
    middle_servo,
    move_time_word,
    own_servo,
    six_words,
    ticks_word,
)
from hardware.buses.i2c_chip import ChipSettings, I2cChip, OpenBus, SmBus, open_smbus
from hardware.errors import BadChecksum, NoReply, NotMeasured
from hardware.servo_bus import BusHealth, Reading, ServoVitals

ADDRESS = 0x15
#: No servo stands beyond 12 bits: a larger word has been read while it changed, or with its bytes swapped.
_HIGHEST_WORD = 0x0FFF
#: The outcome of storing a middle must be fetched within 1.5 s. Ref: i2c_register_map.xlsx, register 0x1B.
_MIDDLE_S, _MIDDLE_STEP_S = 1.5, 0.2


@dataclass(frozen=True, slots=True)
class DofbotI2cSettings:
    """Times and counts of the driver."""

    read_wait_s: float = 0.005
    """From asking for a position to fetching it. Ref: i2c_register_map.xlsx, 5 ms; the vendor's library waits 3."""
    torque_repeats: int = 2
    """How often a torque command is sent."""
    chip: ChipSettings = field(default_factory=ChipSettings)


class DofbotI2cBus:
    """A ServoBus over the co-processor's registers.

    The I2C bus has no checksum. What gives itself away is refused and asked again: 0 (no servo answered) and words that
    no servo can stand at, bytes swapped among them; a swapped word that looks like a position does not.
    A write is acknowledged by the co-processor, never by the servos; one that is not is written again within
    milliseconds, and then the bus counts as lost.
    """

    def __init__(
        self,
        port: str = "/dev/i2c-1",
        clock: Clock | None = None,
        settings: DofbotI2cSettings | None = None,
        open_bus: OpenBus = open_smbus,
    ) -> None:
        """Open the bus and ask for the firmware's version; raises PortError, or BusLost when no board answers."""
        self._settings = settings or DofbotI2cSettings()
        self._clock: Clock = clock or MonotonicClock()
        self._read_lock = threading.Lock()
        self._reads_ok = self._retries = self._timeouts = self._bad_words = 0
        self._chip = I2cChip(port, ADDRESS, "Dofbot board", self._clock, _greet, self._settings.chip, open_bus)

    @property
    def port(self) -> str:
        """The name of the I2C bus."""
        return self._chip.port

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The ids that `write_ticks` addresses, in its order."""
        return SERVO_IDS

    @property
    def ticks_range(self) -> tuple[int, int]:
        """The lowest and the highest count that a servo takes."""
        return MIN_TICKS, MAX_TICKS

    def ping(self, servo_id: int) -> bool:
        """Return whether a servo of any id, 1 to 250, answers and is in order; raises BusLost."""
        data = bytes((any_servo(servo_id),))
        with self._read_lock:
            return any(self._ask_once(Register.PING, data, 1, attempt, PING_OK, PING_OK) for attempt in self._tries())

    def find_others(self, servo_ids: Sequence[int]) -> list[int]:
        """Return which of the board's other servos answer; raises BusLost."""
        return [i for i in SERVO_IDS if i not in servo_ids and self.ping(i)]

    def read_ticks(self, servo_id: int) -> Reading:
        """Read one servo's position; raises NoReply, BadChecksum (impossible words) or BusLost after the retries."""
        who = f"servo {servo_id}"
        value = self._ask(Register.READ_ONE + own_servo(servo_id), b"\0", 2, who, "position", 1, _HIGHEST_WORD)
        return Reading(servo_id, *value)

    def read_vitals(self, servo_id: int) -> ServoVitals:
        """Raise NotMeasured: the co-processor passes neither temperature nor voltage nor current on."""
        raise NotMeasured(f"{self.port}: this board does not tell how its servos are")

    def read_version(self) -> int:
        """Read the firmware's number; raises as `read_ticks`."""
        return self._ask(Register.VERSION, b"\x01", 1, "the board", "version", 1, 255)[0]

    def write_ticks(self, ticks: Sequence[int], duration_s: float) -> None:
        """Send the six servos to their counts, the move time first; raises BadCommand or BusLost."""
        data = six_words(ticks)
        self._chip.write((Register.MOVE_TIME, move_time_word(duration_s)), (Register.MOVE_SIX, data))

    def write_one(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send one servo to its count; raises BadCommand or BusLost."""
        data = ticks_word(ticks) + move_time_word(duration_s)
        self._chip.write((Register.MOVE_ONE + own_servo(servo_id), data))

    def write_any(self, servo_id: int, ticks: int, duration_s: float) -> None:
        """Send a servo of any id, 1 to 250, to a count; raises BadCommand or BusLost."""
        data = bytes((any_servo(servo_id),)) + ticks_word(ticks) + move_time_word(duration_s)
        self._chip.write((Register.MOVE_ANY, data))

    def write_all(self, ticks: int, duration_s: float) -> None:
        """Send every servo to one count; raises BadCommand or BusLost."""
        self._chip.write((Register.MOVE_ALL, ticks_word(ticks) + move_time_word(duration_s)))

    def set_torque(self, on: bool) -> None:
        """Switch every servo's torque; raises BusLost."""
        for _ in range(self._settings.torque_repeats):
            self._chip.write((Register.TORQUE, bytes((int(on),))))

    def set_lamp(self, red: int, green: int, blue: int) -> None:
        """Colour the board's lamp, 0 to 255 each; raises BadCommand or BusLost."""
        self._chip.write((Register.RGB, lamp_bytes(red, green, blue)))

    def sound(self, duration_s: float | None) -> None:
        """Sound the buzzer for up to 5 s, for ever (None), or no more (0); raises BadCommand or BusLost."""
        self._chip.write((Register.BUZZER, beep_byte(duration_s)))

    def store_middle(self, servo_id: int) -> StoredMiddle:
        """Make where a servo stands now its middle (0: every servo's factory middle), and return what became of it.

        Every later count of that servo shifts: calibrate again. Waits up to 1.5 s; raises as `read_ticks`.
        """
        status_by_ns = self._clock.now_ns() + round(_MIDDLE_S * 1e9)
        self._chip.write((Register.STORE_MIDDLE, middle_servo(servo_id)))
        while True:
            step_ns = self._clock.now_ns() + round(_MIDDLE_STEP_S * 1e9)
            self._clock.sleep_until(step_ns)
            status = self._ask(Register.MIDDLE_STATUS, b"\x01", 1, "the board", "status of the middle", 0, 2)[0]
            if status != MiddleStatus.NOT_SET or step_ns + round(_MIDDLE_STEP_S * 1e9) >= status_by_ns:
                return StoredMiddle(MiddleStatus(status))

    def read_health(self) -> BusHealth:
        """Return the counters at once; nothing is sent. Impossible words count as bad checksums."""
        counters = self._chip.counters
        return BusHealth(
            frames_sent=counters.writes,
            reads_ok=self._reads_ok,
            retries=self._retries + counters.retries,
            timeouts=self._timeouts,
            bad_checksums=self._bad_words,
            late_replies=0,
            garbage_bytes=0,
            reconnects=counters.reconnects,
        )

    def close(self) -> None:
        """Give the bus back; the servos keep what they do. Calling it twice is harmless."""
        self._chip.close()

    def __enter__(self) -> DofbotI2cBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tries(self) -> range:
        return range(1 + self._settings.chip.retries)

    def _ask(
        self, register: int, data: bytes, size: int, who: str, what: str, lowest: int, highest: int
    ) -> tuple[int, int, int]:
        """Return (value, asked ns, received ns) once the value lies within bounds; raises after the retries."""
        with self._read_lock:
            bad_before = self._bad_words
            for attempt in self._tries():
                answer = self._ask_once(register, data, size, attempt, lowest, highest)
                if answer is not None:
                    return answer
            bad = self._bad_words - bad_before
        tries = f"in {len(self._tries())} tries"
        if bad:
            raise BadChecksum(f"{self.port}: {who} gave an impossible {what} {tries}: check the wires and their length")
        raise NoReply(f"{self.port}: {who} gave no {what} {tries}: check its cable and the 12 V supply")

    def _ask_once(
        self, register: int, data: bytes, size: int, attempt: int, lowest: int, highest: int
    ) -> tuple[int, int, int] | None:
        self._retries += attempt > 0
        answer = self._chip.ask(register, data, self._settings.read_wait_s, size)
        if answer is None or answer[0] == 0 < lowest:
            self._timeouts += 1
        elif not lowest <= answer[0] <= highest:
            self._bad_words += 1
        else:
            self._reads_ok += 1
            return answer
        return None


def _greet(bus: SmBus) -> None:
    """Ask for the firmware's version, which moves nothing; whatever it is, a board is there."""
    bus.write_i2c_block_data(ADDRESS, Register.VERSION, [1])
