"""Every message that policy and robot exchange: strict, frozen, finite. Arrays follow `ArmDescription.joint_names`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from bridge.errors import BadMessage


def _finite(name: str, values: Iterable[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise BadMessage(f"{name} holds {value!r}; every number must be finite")


class RobotState(Struct, frozen=True, tag="state", forbid_unknown_fields=True):
    """Where the arm is. Units: rad, rad/s, s, monotonic ns of the reader's clock.

    `position_rad` is the best estimate now; `reading_age_s` says, joint by joint, how old the last measurement behind
    it is, and `reading_rad` what that measured (empty where nobody keeps it). `holding` is true while the arm stands
    still because a command was refused, late or missing; `fault` is empty or names what latched.
    """

    seq: int
    stamp_ns: int
    position_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...]
    reading_age_s: tuple[float, ...]
    torque_on: bool = True
    holding: bool = False
    fault: str = ""
    reading_rad: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _finite("position_rad", self.position_rad)
        _finite("velocity_rad_s", self.velocity_rad_s)
        _finite("reading_rad", self.reading_rad)
        if self.reading_rad and len(self.reading_rad) != len(self.position_rad):
            raise BadMessage("position_rad and reading_rad differ in length")
        if not len(self.position_rad) == len(self.velocity_rad_s) == len(self.reading_age_s):
            raise BadMessage("position_rad, velocity_rad_s and reading_age_s differ in length")


class JointCommand(Struct, frozen=True, tag="command", forbid_unknown_fields=True):
    """Be at `position_rad` after `duration_s`. Void `ttl_s` after `stamp_ns`, by the receiver's clock."""

    seq: int
    stamp_ns: int
    position_rad: tuple[float, ...]
    duration_s: float
    ttl_s: float = 0.2

    def __post_init__(self) -> None:
        _finite("position_rad", self.position_rad)
        _finite("duration_s, ttl_s", (self.duration_s, self.ttl_s))
        if self.duration_s <= 0 or self.ttl_s <= 0:
            raise BadMessage(f"duration_s {self.duration_s} and ttl_s {self.ttl_s} must be positive")


#: A client's name for its connection. Bounded on the wire, because it comes back in states, faults and what people are
#: told: a state too long to be decoded would leave nobody able to clear the stop that made it so.
Session = Annotated[str, Meta(max_length=64, pattern=r"^[ -~]*\Z")]

#: Both ends must speak the same number; a change of any message below changes it.
PROTOCOL_VERSION = 3


class Hello(Struct, frozen=True, tag="hello", forbid_unknown_fields=True):
    """Client: who I am and which arm I believe to be talking to. `session` is new for every connection.

    `take_over`: the first command takes control, whoever has it.
    """

    session: Session
    protocol: int
    arm: str
    arm_sha256: str
    stamp_ns: int
    take_over: bool = False


class Welcome(Struct, frozen=True, tag="welcome", forbid_unknown_fields=True):
    """Server: the session is known. `hello_stamp_ns` is the client's own; `received_ns` is by the server's clock.

    `epoch` is new whenever a server starts: sessions and numbers of another epoch mean nothing in this one.
    `software` is the version of the package that serves.
    """

    session: Session
    epoch: str
    protocol: int
    software: str
    arm: str
    arm_sha256: str
    rig: str
    period_s: float
    hello_stamp_ns: int
    received_ns: int
    state: RobotState


class Ping(Struct, frozen=True, tag="ping", forbid_unknown_fields=True):
    """Client: what is your time, and where is the arm? Needs no session and keeps nothing alive."""

    stamp_ns: int


class Pong(Struct, frozen=True, tag="pong", forbid_unknown_fields=True):
    """Server: the answer to the ping of `ping_stamp_ns` (client's clock), received at `received_ns` (server's)."""

    ping_stamp_ns: int
    received_ns: int
    state: RobotState


class Move(Struct, frozen=True, tag="move", forbid_unknown_fields=True):
    """Client: a command of a session. Its `stamp_ns` is the client's time, converted into the server's clock."""

    session: Session
    command: JointCommand


class Hold(Struct, frozen=True, tag="hold", forbid_unknown_fields=True):
    """Client: stand still now. Anybody may say so, at any time; late or repeated it does no harm."""

    session: Session
    seq: int


class Stop(Struct, frozen=True, tag="stop", forbid_unknown_fields=True):
    """Client: emergency stop. Anybody may say so, known or not; it latches until somebody says `Clear`."""

    session: Session
    seq: int


class Clear(Struct, frozen=True, tag="clear", forbid_unknown_fields=True):
    """Client: the emergency stop, or the fault, is over; the arm is taken hold of where it stands.

    `stamp_ns` as in Move: one that was long on the way may not end a stop that came after it.
    """

    session: Session
    seq: int
    stamp_ns: int


class Ack(Struct, frozen=True, tag="ack", forbid_unknown_fields=True):
    """Server: the answer to Move, Hold, Stop or Clear `seq`. `sent` is what went to the motors, None where nothing did.

    `verdict` is `accepted` or the name of the rule that refused; `reason` says it in words.
    """

    seq: int
    verdict: str
    reason: str
    sent: JointCommand | None
    state: RobotState
    received_ns: int


class Bye(Struct, frozen=True, tag="bye", forbid_unknown_fields=True):
    """Client: the session ends; the arm holds and control is free. The server answers with the same."""

    session: Session


class ErrorReply(Struct, frozen=True, tag="error", forbid_unknown_fields=True):
    """Server: what came was no message, or the session cannot be taken."""

    reason: str


class StateUpdate(Struct, frozen=True, tag="update", forbid_unknown_fields=True):
    """Server, to everybody who listens: where the arm is. Stamps are the server's; `epoch` as in Welcome.

    `controller` is the session that moves the arm, or empty.
    """

    epoch: str
    seq: int
    controller: str
    state: RobotState


ClientMessage = Hello | Ping | Move | Hold | Stop | Clear | Bye
ServerMessage = Welcome | Pong | Ack | Bye | ErrorReply
