"""`tandem jog`: move an arm by keyboard, slowly, joint by joint, with no calibration needed."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.clock import MonotonicClock
from hardware.buses.dofbot_serial import DofbotSerialBus
from hardware.errors import BadChecksum, NoReply
from hardware.jog import Jogger
from scripts.cli import emit_json, say
from scripts.keyboard import ESCAPE, Keyboard, keyboard

_HELP = """keys: 1-6 choose a servo, up/down (or + -) move it one step, space hold,
      r r switch the torque off (support the arm first!), q or Esc stop. The torque stays on when you leave."""
_LEAVE, _HOLD = ("q", ESCAPE), " "
_IDLE_S = 0.15


@dataclass(frozen=True)
class JogArgs:
    """Move an arm by keyboard in small raw steps; needs no calibration."""

    port: str
    """Serial port of the servo board, such as /dev/ttyUSB0."""
    step_ticks: int = 10
    """Size of a step in servo counts, 1 to 25 (10 counts are 0.8 degrees); a step takes 0.1 s."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class JogResult:
    """Where the arm was left."""

    port: str
    position_ticks: tuple[int, ...]
    torque_on: bool
    steps: int


def run(args: JogArgs) -> int:
    """Jog until the person stops; return the exit code."""
    with keyboard((*_LEAVE, _HOLD)) as keys, DofbotSerialBus(args.port) as bus:
        jogger = Jogger(bus, MonotonicClock(), args.step_ticks)
        say(_HELP, args.json)
        steps = _loop(jogger, keys, args.json)
        positions = tuple(r.ticks for r in jogger.readings)
        emit_json(JogResult(args.port, positions, jogger.torque_on, steps), args.json)
    return 0


def _loop(jogger: Jogger, keys: Keyboard, json: bool) -> int:
    servo_id, steps, wants_release = 1, 0, False
    _show(jogger, servo_id, "", json)
    while True:
        key = keys.read(_IDLE_S)
        note = ""
        if key in _LEAVE:
            jogger.hold()
            return steps
        if key in tuple("123456"):
            servo_id = int(key)
        elif key == _HOLD:
            jogger.hold()
            note = "holding"
        elif key == "r":
            if wants_release:
                jogger.release()
            note = "" if wants_release else "press r again to switch the torque off: support the arm first"
        elif key in ("up", "+", "down", "-"):
            moved = jogger.step(servo_id, 1 if key in ("up", "+") else -1)
            steps += moved
            note = "" if moved else "not moved: the servo does not follow, is at its end, or has no torque"
        wants_release = key == "r" or (wants_release and key == "")
        _refresh(jogger, servo_id, keys)
        if key:
            _show(jogger, servo_id, note, json)


def _refresh(jogger: Jogger, servo_id: int, keys: Keyboard) -> None:
    try:
        jogger.refresh(servo_id)
    except (NoReply, BadChecksum):  # without a fresh reading the jogger goes no further ahead
        keys.forget()


def _show(jogger: Jogger, servo_id: int, note: str, json: bool) -> None:
    marks = [
        f"[{r.servo_id}:{r.ticks}]" if r.servo_id == servo_id else f" {r.servo_id}:{r.ticks} " for r in jogger.readings
    ]
    target = f"target {jogger.target_ticks(servo_id)}"
    say(" ".join([*marks, target, "torque on" if jogger.torque_on else "torque OFF", note]).rstrip(), json)
