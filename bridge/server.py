"""RobotServer: owns a robot and serves it, to processes on the same machine or, with keys, on the network.

    ROUTER  commands in, answers out: every command is answered with what was really sent to the motors
    PUB     where the arm is, 50 times a second, to all who listen; only the newest is kept for a slow listener

What silence does is `bridge.watchdog`'s table; which command may move the arm is `bridge.gate`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from types import TracebackType

import msgspec

from bridge.emergency_stop import EmergencyStop
from bridge.errors import BadMessage, CommandRefused
from bridge.gate import CommandGate, Verdict
from bridge.link import software_version
from bridge.messages import (
    PROTOCOL_VERSION,
    Ack,
    Bye,
    Clear,
    ClientMessage,
    ErrorReply,
    Hello,
    Hold,
    JointCommand,
    Move,
    Ping,
    Pong,
    RobotState,
    ServerMessage,
    StateUpdate,
    Stop,
    Welcome,
)
from bridge.parking import Parking
from bridge.ports import Clock, RelaxingRobot
from bridge.server_settings import ServerSettings, ServerStatistics
from bridge.server_sockets import Received, ServerSockets
from bridge.sessions import Sessions
from bridge.watchdog import Tier, Watchdog

POLL_MS = 5
STATE_HZ = 50
WARN_AGAIN_NS = 10_000_000_000
MESSAGES_PER_TURN = 512  # a second of two clients at 200 Hz: which command is the newest is told among all that wait
MESSAGES_PER_LOOK = 64  # then the watchdog looks again, however many are to be answered


class RobotServer:
    """Serves `robot` on an endpoint. Call `serve`, or `turn` from a loop of one's own; all from one thread."""

    def __init__(
        self,
        robot: RelaxingRobot,
        rig_name: str,
        period_s: float,
        endpoint: str,
        clock: Clock,
        settings: ServerSettings | None = None,
        tell: Callable[[str], None] = lambda text: None,
        sockets: ServerSockets | None = None,
    ) -> None:
        """Bind at once; raises EndpointRefused or KeyRefused. The robot stays the caller's: `close` gives back sockets.

        `tell` hears, in words, who was refused and what the watchdog did; from any thread. `sockets` stand in for
        those of the endpoint.
        """
        self.statistics = ServerStatistics()
        self.epoch = secrets.token_hex(8)
        self._software = software_version()
        self._settings = settings or ServerSettings()
        self._robot, self._clock, self._tell = robot, clock, tell
        self._rig_name, self._period_s = rig_name, period_s
        self._gate = CommandGate(len(robot.description.joint_names))
        self._watchdog = Watchdog(self._settings.watchdog)
        self._parking = Parking(robot, robot.description.rig(rig_name).rest_rad)
        self._sessions = Sessions(self._gate, robot.description)
        self._holding = False
        self._emergency = EmergencyStop(self._settings.latch, tell)
        self._published_ns = self._updates = 0
        self._warn_ns = -(1 << 62)
        self._sockets = sockets or ServerSockets(endpoint, self._settings.keys, tell)
        self.endpoint = self._sockets.endpoint

    def __enter__(self) -> RobotServer:
        """Return the server, which is already bound."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets."""
        self.close()

    @property
    def holding(self) -> bool:
        """Whether the arm stands still because commands are missing, or somebody said so."""
        return self._holding

    @property
    def stopped(self) -> str:
        """Why the emergency stop is latched, in words; empty where it is not."""
        return self._emergency.reason

    @property
    def controller(self) -> str:
        """Who moves the arm, in words; empty where nobody does. May be asked from any thread."""
        session = self._gate.controller
        return self._name(session, self._sessions.owner(session)) if session else ""

    def serve(self, should_stop: Callable[[], bool]) -> None:
        """Answer until `should_stop`; looks at it, and at the watchdog, at least every few milliseconds."""
        while not should_stop():
            self.turn(POLL_MS)

    def turn(self, timeout_ms: int = 0) -> None:
        """Wait up to `timeout_ms` for messages, answer those that are there, let the watchdog look, tell the state."""
        if self._sockets.wait(timeout_ms):
            self._watch()  # before late messages are read: the silence was real
            self._answer_all(self._sockets.receive(MESSAGES_PER_TURN))
        self._watch()
        self._publish()

    def close(self) -> None:
        """Close the sockets; calling it twice is harmless."""
        self._parking.end()
        self._sockets.close()

    # Emergency stop --------------------------------------------------------------------------------
    def stop(self, who: str) -> None:
        """Stop now and latch it: nothing moves the arm until `clear`. From the thread that turns the server."""
        self.statistics.stops += 1
        new = self._emergency.latch(who)
        self._hold()
        if self._settings.stop_torque_off:
            try:
                self._robot.torque_off()
            except Exception as error:  # a bus that is gone: the stop stays latched, and serving must go on
                self._tell(f"the torque could not be switched off: {error}")
        if new:  # last: a disk and a terminal are slower than a bus
            self._emergency.make_known()

    def clear(self, who: str) -> None:
        """End the emergency stop, and the robot's own fault, where its cause is gone; raises CommandRefused if not."""
        self._parking.end()
        try:
            self._robot.recover()
        except CommandRefused:
            raise
        except Exception as error:  # what is in the way is the robot's to say, and serving must go on
            raise CommandRefused(f"{type(error).__name__}: {error}") from error
        self._emergency.clear(who)

    # Watchdog --------------------------------------------------------------------------------------
    def _watch(self) -> None:
        now_ns = self._clock.now_ns()
        away = self._watchdog.turned(now_ns)
        tier = self._watchdog.look(now_ns)
        if tier is Tier.LATE:
            self._late(now_ns)
        if tier is Tier.HOLD:
            self.statistics.watchdog_holds += 1
            if not self._holding:
                self._stand_still()
        elif tier is Tier.PARK:
            self._park()
        elif away:
            self.statistics.own_holds += 1
            self._stand_still()

    def _late(self, now_ns: int) -> None:
        """Count a late command, and warn of it now and then: who leads an arm over a bad network has many."""
        self.statistics.late += 1
        if now_ns >= self._warn_ns:
            self._warn_ns = now_ns + WARN_AGAIN_NS
            self._tell(f"commands of {self.controller} come late: {self.statistics.late} so far")

    def _park(self) -> None:
        self.statistics.parkings += 1
        self._watchdog.rest()
        if not self._emergency.reason:
            self._tell("no commands for long: the arm walks slowly to its rest pose")
            self._parking.begin(lambda failure: self._tell(f"parking ended on its way: {failure}"))

    def _hold(self) -> None:
        """Hold because somebody said so: the watchdog has nothing to watch until the next command."""
        self._watchdog.rest()
        self._stand_still()

    def _stand_still(self) -> None:
        walking = self._parking.interrupt()
        self._holding = True
        self._robot.hold()
        if walking:  # a last step may have slipped in behind
            self._parking.end()
            self._robot.hold()

    # State -----------------------------------------------------------------------------------------
    def _state(self) -> RobotState:
        state = self._robot.read_state()
        fault = state.fault or self._emergency.reason
        if (self._holding and not state.holding) or fault != state.fault:
            return msgspec.structs.replace(state, holding=state.holding or self._holding, fault=fault)
        return state

    def _publish(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._published_ns < 1_000_000_000 // STATE_HZ:
            return
        self._published_ns = now_ns
        self._updates += 1
        self._sockets.publish(StateUpdate(self.epoch, self._updates, self._gate.controller, self._state()))
        self.statistics.strangers = self._sockets.strangers

    # Messages --------------------------------------------------------------------------------------
    def _answer_all(self, received: Sequence[Received]) -> None:
        """Answer in order. Of several commands of a session that wait together only the newest moves the arm."""
        newest: dict[str, int] = {}
        for _, owner, message in received:
            if isinstance(message, Move) and self._sessions.owns(owner, message.session):
                seq = message.command.seq
                newest[message.session] = max(seq, newest.get(message.session, seq))
        for number, (peer, owner, message) in enumerate(received, 1):
            if number % MESSAGES_PER_LOOK == 0:
                self._watch()
                self._publish()
            if not self._sockets.still_allows(owner):
                self._turn_out(owner)
                self._sockets.reply(peer, ErrorReply("this key is no longer let in"))
            elif isinstance(message, Move | Bye | Clear) and not self._sessions.owns(owner, message.session):
                self._sockets.reply(peer, ErrorReply(f"session {message.session!r} is another client's"))
            elif isinstance(message, Move) and message.command.seq < newest.get(message.session, 0):
                self._sockets.reply(peer, self._superseded(message))
            else:
                self._sockets.reply(peer, self._answer(message, owner))

    def _turn_out(self, owner: str) -> None:
        """End the sessions of a key that was revoked; the arm holds if one of them moved it."""
        for session in self._sessions.of(owner):
            self._leave(session)
            self._tell(f"session {session} ends: its key was revoked")

    def _leave(self, session: str) -> None:
        if self._sessions.close(session):
            self._hold()

    def _superseded(self, move: Move) -> Ack:
        self.statistics.superseded += 1
        reason = f"number {move.command.seq} had a newer one right behind it"
        now_ns = self._clock.now_ns()
        return Ack(move.command.seq, Verdict.SUPERSEDED.value, reason, None, self._state(), now_ns)

    def _answer(self, message: ClientMessage | BadMessage, owner: str) -> ServerMessage:
        now_ns = self._clock.now_ns()
        if isinstance(message, Move):
            return self._move(message, now_ns)
        if isinstance(message, Ping):
            return Pong(message.stamp_ns, now_ns, self._state())
        if isinstance(message, Hold | Stop | Clear):
            if not isinstance(message, Clear) and self._sessions.owns(owner, message.session):
                self._gate.outdate(message.session, message.seq)
            return self._command(message, self._name(message.session, owner), now_ns)
        if isinstance(message, Hello):
            return self._greet(message, owner, now_ns)
        if isinstance(message, Bye):
            self._leave(message.session)
            return Bye(message.session)
        self.statistics.corrupt += 1
        if not self._holding or self._parking.walking:  # a flood of nonsense must not flood the bus
            self._hold()
        return ErrorReply(f"{message}; dropped, the arm holds")

    def _name(self, session: str, owner: str) -> str:
        name = self._sockets.name(owner)
        return f"{name} (session {session})" if name else f"session {session}"

    def _command(self, message: Hold | Stop | Clear, who: str, now_ns: int) -> Ack:
        verdict, reason = Verdict.ACCEPTED, ""
        if isinstance(message, Hold):
            self.statistics.holds += 1
            self._hold()
        elif isinstance(message, Stop):
            self.stop(who)
        else:
            verdict, reason = self._gate.judge_clear(message, now_ns)
            try:
                if verdict is Verdict.ACCEPTED:
                    self.clear(who)
            except CommandRefused as error:
                verdict, reason = Verdict.ROBOT, str(error)
        return Ack(message.seq, verdict.value, reason, None, self._state(), now_ns)

    def _greet(self, hello: Hello, owner: str, now_ns: int) -> ServerMessage:
        refused = self._sessions.open(hello, owner)
        if refused:
            return ErrorReply(refused)
        arm = self._robot.description
        self.statistics.sessions += 1
        return Welcome(
            session=hello.session,
            epoch=self.epoch,
            protocol=PROTOCOL_VERSION,
            software=self._software,
            arm=arm.name,
            arm_sha256=arm.sha256,
            rig=self._rig_name,
            period_s=self._period_s,
            hello_stamp_ns=hello.stamp_ns,
            received_ns=now_ns,
            state=self._state(),
        )

    def _move(self, move: Move, now_ns: int) -> Ack:
        verdict, reason = self._gate.judge(move.session, move.command, now_ns)
        sent: JointCommand | None = None
        if verdict is Verdict.ACCEPTED and self._emergency.reason:
            verdict, reason = Verdict.STOPPED, f"{self._emergency.reason}: clear it first (`tandem stop --clear`)"
        if verdict is Verdict.ACCEPTED:
            self._parking.end()
            try:
                sent = self._robot.send(move.command)
            except CommandRefused as error:
                verdict, reason = Verdict.ROBOT, str(error)
                self._hold()
            else:
                self._watchdog.feed(now_ns, move.command.duration_s)
                self._holding = False
        self._count(verdict)
        return Ack(move.command.seq, verdict.value, reason, sent, self._state(), now_ns)

    def _count(self, verdict: Verdict) -> None:
        if verdict is Verdict.ACCEPTED:
            self.statistics.accepted += 1
        elif verdict is Verdict.STALE:
            self.statistics.stale += 1
        elif verdict is Verdict.DUPLICATE:
            self.statistics.duplicate += 1
        else:
            self.statistics.refused += 1
