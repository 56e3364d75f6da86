"""`tandem jog`: move an arm by keyboard, slowly, joint by joint, with no calibration needed."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bridge.clock import MonotonicClock
from hardware.errors import BadChecksum, NoReply, NotMeasured, ServoAlarm
from hardware.jog import STEP_S, Jogger, check_step
from hardware.servo_bus import ServoBus
from hardware.witnessed_bus import WitnessedBus
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE
from scripts.keyboard import ESCAPE, Keyboard, keyboard
from scripts.programs.bus_choice import BusKind, open_bus
from scripts.programs.bus_recording import BusScribe
from scripts.programs.episode_recording import RecordedRun, Recording, recording

_HELP = """keys: 1-9 choose a servo (left/right the one before or after), up/down (or + -) move it one step, space hold,
      v its voltage and temperature, r r switch the torque off (support the arm first!), q or Esc stop.
      The torque stays on when you leave."""
_BLIND = """This bus cannot read its servos. Nothing is sent yet. m m sends the chosen servo to its middle AT FULL
SPEED, from wherever it is; after that it can be stepped. Nothing notices an obstacle: keep clear."""
_LEAVE, _HOLD = ("q", ESCAPE), " "
_IDLE_S = 0.15
_DOFBOT_IDS = (1, 2, 3, 4, 5, 6)
_TWICE = {
    "r": "press r again to switch the torque off: support the arm first",
    "m": "press m again to send this servo to its middle AT FULL SPEED: keep clear",
}
#: A reading that has moved by less is not worth a new line.
_SHOWN_STEPS = 0.3


@dataclass(frozen=True)
class JogArgs:
    """Move an arm by keyboard in small raw steps; needs no calibration."""

    port: str
    """Port of the servos: a serial one such as /dev/ttyUSB0, or an I2C one such as /dev/i2c-1."""
    bus: BusKind = "dofbot-serial"
    """What the servos are on."""
    servo_ids: tuple[int, ...] = _DOFBOT_IDS
    """Ids of the servos on an lx16a, sts or pca9685 bus; a Dofbot's are 1 to 6."""
    step_ticks: int = 0
    """Size of a step in servo counts; a step takes 0.1 s. Default: a 390th of a servo's range, 10 counts or 0.8 degrees
    on a Dofbot; the largest is a 156th."""
    record: bool = True
    """Leave a recording in data/episodes (`tandem episodes show`), in servo counts."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class JogResult:
    """Where the arm was left. `measured` is false where `position_ticks` is only where the servos were sent."""

    port: str
    position_ticks: tuple[int | None, ...]
    torque_on: bool
    steps: int
    measured: bool


def run(args: JogArgs) -> int:
    """Jog until the person stops; return the exit code."""
    if args.bus.startswith("dofbot") and args.servo_ids != _DOFBOT_IDS:
        return refuse("tandem jog: --servo-ids is for lx16a, sts and pca9685: a Dofbot's servos are 1 to 6")
    clock = MonotonicClock()
    if not Path(args.port).exists():
        open_bus(args.bus, args.port, args.servo_ids, clock).close()  # raises, and names the ports that are there
    with ExitStack() as stack:
        keys = stack.enter_context(keyboard((*_LEAVE, _HOLD)))
        bus: ServoBus = stack.enter_context(closing(open_bus(args.bus, args.port, args.servo_ids, clock)))
        check_step(bus, args.step_ticks)  # before there is anything to record
        record: Recording | None = None
        if args.record:
            what = RecordedRun(args.port, None, None, STEP_S, "jog")
            record = stack.enter_context(recording(data_root(), what, clock, lambda text: say(text, args.json)))
            bus = WitnessedBus(bus, BusScribe(record.writer.take, clock))
        jogger = Jogger(bus, clock, args.step_ticks)
        session = JogSession(jogger, bus, keys, args.json)
        say(_HELP, args.json)
        if jogger.is_blind:
            say(_BLIND, args.json)
        steps = session.run()
        if record is not None:
            record.outcome = f"{steps} steps"
        result = JogResult(args.port, session.positions(), jogger.torque_on, steps, not jogger.is_blind)
    emit_json(result, args.json)
    return DONE


class JogSession:
    """One person at the keys, and the line that shows where the servos are."""

    def __init__(self, jogger: Jogger, bus: ServoBus, keys: Keyboard, json: bool) -> None:
        self._jogger, self._bus, self._keys, self._json = jogger, bus, keys, json
        self._chosen = 0
        self._asked_once = ""
        self._shown: tuple[int | None, ...] = ()

    @property
    def _servo_id(self) -> int:
        return self._bus.servo_ids[self._chosen]

    def run(self) -> int:
        """Take keys until one of them ends it; return how many steps were made."""
        steps = 0
        self._show("")
        while True:
            key = self._keys.read(_IDLE_S)
            if key in _LEAVE:
                self._jogger.hold()
                return steps
            moved, note = self._act(key)
            steps += moved
            self._asked_once = key if key in _TWICE else self._asked_once if key == "" else ""
            self._refresh()
            if key or self._has_moved():
                self._show(note)

    def positions(self) -> tuple[int | None, ...]:
        """Return where each servo was read last, or was sent where it cannot be read."""
        readings = self._jogger.readings
        return tuple(readings[i].ticks if i in readings else self._jogger.target_ticks(i) for i in self._bus.servo_ids)

    def _act(self, key: str) -> tuple[bool, str]:
        """Do what a key says; return whether a step was made, and what to tell."""
        count = len(self._bus.servo_ids)
        if key.isdigit() and 1 <= int(key) <= count:
            self._chosen = int(key) - 1
        elif key in ("left", "right"):
            self._chosen = (self._chosen + (1 if key == "right" else -1)) % count
        elif key == _HOLD:
            self._jogger.hold()
            return False, "holding"
        elif key in _TWICE:
            return False, self._act_when_asked_twice(key)
        elif key == "v":
            return False, self._vitals()
        elif key in ("up", "+", "down", "-"):
            moved = self._jogger.step(self._servo_id, 1 if key in ("up", "+") else -1)
            return moved, "" if moved else self._why_not()
        return False, ""

    def _act_when_asked_twice(self, key: str) -> str:
        if key == "m" and not self._jogger.is_blind:
            return "m is for servos that cannot be read"
        if self._asked_once != key:
            return _TWICE[key]
        if key == "r":
            self._jogger.release()
            return ""
        started = self._jogger.start(self._servo_id)
        return (
            ""
            if started
            else "not sent: it is under way already, or its torque was switched off: leave, and begin anew"
        )

    def _why_not(self) -> str:
        if self._jogger.is_blind and self._jogger.target_ticks(self._servo_id) is None:
            return f"not moved: nobody knows where servo {self._servo_id} is; m m sends it to its middle"
        return "not moved: the servo does not follow, is at its end, or has no torque"

    def _vitals(self) -> str:
        try:
            vitals = self._bus.read_vitals(self._servo_id)
        except (NotMeasured, NoReply, BadChecksum, ServoAlarm) as error:
            return str(error)
        told = ((vitals.voltage_v, "V"), (vitals.temperature_c, "°C"), (vitals.current_ma, "mA"))
        return ", ".join(f"{value:g} {unit}" for value, unit in told if value is not None)

    def _refresh(self) -> None:
        try:
            self._jogger.refresh(self._servo_id)
        except (NoReply, BadChecksum):  # without a fresh reading the jogger goes no further ahead
            self._keys.forget()

    def _has_moved(self) -> bool:
        """Whether the servos have moved by more than a reading wavers, although no key was pressed."""
        least = max(self._jogger.step_ticks * _SHOWN_STEPS, 1.0)
        pairs = zip(self.positions(), self._shown, strict=True)
        return any(now is not None and abs(now - (was or 0)) > least for now, was in pairs)

    def _show(self, note: str) -> None:
        self._shown = self.positions()
        marks = [
            f"[{i}:{'?' if at is None else at}]" if i == self._servo_id else f" {i}:{'?' if at is None else at} "
            for i, at in zip(self._bus.servo_ids, self._shown, strict=True)
        ]
        target = self._jogger.target_ticks(self._servo_id)
        torque = "torque on" if self._jogger.torque_on else "torque OFF"
        blind = "not measured" if self._jogger.is_blind else ""
        words = [*marks, f"target {'none' if target is None else target}", torque, blind, note]
        say(" ".join(word for word in words if word).rstrip(), self._json)
