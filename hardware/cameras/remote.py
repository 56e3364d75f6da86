"""RemoteCamera: the newest frame of a camera elsewhere, on this machine or another; FrameSender: the other end of it.

A reader asks for a picture that it has not got, and the sender answers when there is one: never is more than one
picture on its way, so that a slow network makes pictures rarer and not older. Pictures are stamped at capture by the
sender's clock. Where that is another machine's, the reader asks for the time once a second and translates
(`bridge/clock.py`). Without keys a camera is served on this machine only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import zmq

from bridge.clock import ClockOffset, MonotonicClock
from bridge.errors import BadMessage
from bridge.frames import (
    MAX_FRAME_BYTES,
    ClockAnswer,
    ClockAsk,
    FrameAsk,
    FrameMessage,
    Picture,
    decode_answer,
    decode_question,
    encode,
    encode_frame,
    frame_of,
)
from bridge.keys import ClientKey, KeyRing, present
from bridge.link import HEARTBEAT_MS, check_endpoint, check_unserved, remove_socket
from bridge.ports import Clock, Frame
from bridge.server_sockets import bind
from hardware.cameras.newest import NewestCamera
from hardware.errors import CameraLost

_SLICE_MS = 100
#: A sender that says nothing for as long has gone: it is asked for the time far more often.
_LOST_NS = 2_000_000_000
#: A question may have been lost with the connection that it went by.
_ASK_AGAIN_NS = 1_000_000_000
_CLOCK_EVERY_NS, _CLOCKS_FIRST = 1_000_000_000, 3
_MOST_TROUBLE = 300
#: Of what a reader sends: a question is shorter, the handshake of CURVE is not.
_MOST_BYTES = 4096


def this_machine() -> str:
    """Return what tells this boot of this machine from any other: in it there is one monotonic clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(slots=True)
class _Offer:
    """The newest frame, and its message once somebody has asked for it."""

    frame: Frame
    data: bytes | None = None


class FrameSender:
    """Serves frames. A reader that is slow or gone costs nothing, and what nobody asks for is not even encoded."""

    def __init__(
        self,
        endpoint: str,
        clock: Clock | None = None,
        ring: KeyRing | None = None,
        to_jpeg: Callable[[Picture], bytes] | None = None,
        tell: Callable[[str], None] | None = None,
        machine: str | None = None,
    ) -> None:
        """Bind at once; raises EndpointRefused or KeyRefused.

        With a `ring` whoever has one of its keys may look, and an address beyond this machine may be served. Colours go
        raw unless `to_jpeg` is given.
        """
        address = check_endpoint(endpoint, keyed=ring is not None)
        check_unserved(address)
        self.trouble = ""
        """Why there is no fresh picture, for readers to be told."""
        self.sent = 0
        """Pictures sent, each reader's counted."""
        self._clock, self._to_jpeg = clock or MonotonicClock(), to_jpeg
        self._machine = this_machine() if machine is None else machine
        self._lock = threading.Lock()
        self._offer: _Offer | None = None
        self._waiting: dict[bytes, FrameAsk] = {}
        self._stop = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._doors = None
        self._context = zmq.Context()
        try:
            if ring is not None:
                from bridge.doorkeeper import Doorkeeper  # its authenticator costs 10 MB that keyless senders need not

                self._doors = Doorkeeper(self._context, ring, tell or (lambda _: None))
            # Of the pictures that could wait for a reader who does not read, one does.
            options = ((zmq.MAXMSGSIZE, _MOST_BYTES), (zmq.SNDHWM, 2))
            self._socket = bind(self._context, zmq.ROUTER, address, options, self._doors)
            self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        except BaseException:
            self._end()
            raise
        self._thread = threading.Thread(target=self._serve, name="frame sender", daemon=True)
        self._thread.start()

    @property
    def strangers(self) -> int:
        """How many connections were refused for want of a key."""
        return self._doors.refused if self._doors is not None else 0

    def send(self, frame: Frame) -> None:
        """Offer one frame, the newest; never waits."""
        with self._lock:
            self._offer = _Offer(frame)
            if not self._stop.is_set():
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Stop serving; calling it twice is harmless."""
        with self._lock:
            if self._stop.is_set():
                return
            self._stop.set()
            os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=5.0)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                for ready, _ in poller.poll(500):
                    if ready == self._wake:
                        os.eventfd_read(self._wake)
                self._answer_questions()
                self._answer_waiting()
                if self._doors is not None:
                    self._doors.look()
        finally:
            with self._lock:
                self._stop.set()
                remove_socket(self.endpoint)
                self._socket.close(0)
                self._end()

    def _answer_questions(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            received_ns, peer = self._clock.now_ns(), frames[0].bytes
            if self._doors is not None and not self._doors.still_allows(str(frames[-1].get("User-Id"))):
                continue
            try:
                question = decode_question(frames[-1].bytes)
            except BadMessage:  # whoever sends such a thing cannot read what it would be told
                continue
            if isinstance(question, FrameAsk):
                self._waiting[peer] = question
            else:
                trouble = self.trouble[:_MOST_TROUBLE]
                self._reply(peer, encode(ClockAnswer(question.asked_ns, received_ns, self._machine, trouble)))

    def _answer_waiting(self) -> None:
        with self._lock:
            offer = self._offer
        if offer is None:
            return
        stamp_ns, seq = offer.frame.stamp_ns, offer.frame.seq
        for peer in [p for p, ask in self._waiting.items() if (ask.have_ns, ask.have_seq) != (stamp_ns, seq)]:
            del self._waiting[peer]
            if offer.data is None:
                try:
                    offer.data = encode_frame(offer.frame, self._to_jpeg)
                except BadMessage as error:
                    self.trouble, offer.data = f"the picture cannot be sent: {error}", b""
            if offer.data:
                self._reply(peer, offer.data)
                self.sent += 1

    def _reply(self, peer: bytes, data: bytes) -> None:
        try:
            self._socket.send_multipart([peer, data], zmq.NOBLOCK)
        except zmq.ZMQError:  # a reader that has gone, or does not read: it will ask again, or not
            return

    def _end(self) -> None:
        if self._doors is not None:
            self._doors.close()
        self._context.destroy(0)
        os.close(self._wake)


class RemoteSource:
    """A FrameSender's camera, as a source: the stamps are of our clock."""

    def __init__(self, endpoint: str, clock: Clock | None = None, key: ClientKey | None = None) -> None:
        """Connect to nothing yet; raises EndpointRefused."""
        self.name = check_endpoint(endpoint, keyed=key is not None)
        self.corrupt = 0
        """Messages that were no answer; they are dropped."""
        self.offset = ClockOffset()
        """The sender's clock, as far as it is known."""
        self._clock, self._key = clock or MonotonicClock(), key
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._have, self._trouble = FrameAsk(-1, 0), ""
        self._is_same_machine = False
        self._clocks = 0
        self._asked_ns = self._clock_asked_ns = self._heard_ns = 0

    def open(self) -> None:
        """Connect; whether anybody is there shows later."""
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        options = ((zmq.LINGER, 0), (zmq.SNDHWM, 8), (zmq.RCVHWM, 2), (zmq.MAXMSGSIZE, MAX_FRAME_BYTES))
        for option, value in (*options, (zmq.HEARTBEAT_IVL, HEARTBEAT_MS)):
            self._socket.setsockopt(option, value)
        if self._key is not None:
            present(self._socket, self._key)
        self._socket.connect(self.name)
        self.offset, self._clocks, self._trouble = ClockOffset(), 0, ""
        self._asked_ns = self._clock_asked_ns = -(1 << 62)
        self._heard_ns = self._clock.now_ns()

    def grab(self) -> Frame | None:
        """Ask for what is due, and return a frame where one comes; raises CameraLost where nobody answers."""
        self._ask()
        if not self._socket.poll(_SLICE_MS):
            if self._clock.now_ns() - self._heard_ns > _LOST_NS:
                raise CameraLost(
                    f"nobody answers at {self.name}: does its server run (`tandem camera serve`)"
                    + (", and does it know this key?" if self._key is not None else ", and without keys?")
                )
            return None
        try:
            answer = decode_answer(self._socket.recv())
            self._heard_ns = self._clock.now_ns()
            return self._picture(answer) if isinstance(answer, FrameMessage) else self._time(answer)
        except BadMessage:
            self.corrupt += 1
            self._asked_ns = -(1 << 62)
            return None

    def missing(self) -> str:
        """Return what the sender says is wrong with its camera; empty where it says nothing."""
        return self._trouble

    def close(self) -> None:
        """Disconnect; calling it twice is harmless."""
        if self._context is not None:
            self._context.destroy(0)
            self._context = None

    def _ask(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._clock_asked_ns > _CLOCK_EVERY_NS:
            self._clock_asked_ns = now_ns
            self._say(ClockAsk(now_ns))
        if self._clocks >= (1 if self._is_same_machine else _CLOCKS_FIRST) and now_ns - self._asked_ns > _ASK_AGAIN_NS:
            self._asked_ns = now_ns
            self._say(self._have)

    def _say(self, question: FrameAsk | ClockAsk) -> None:
        try:
            self._socket.send(encode(question), zmq.NOBLOCK)
        except zmq.Again:  # nobody is there to take it, and several wait already
            return

    def _picture(self, message: FrameMessage) -> Frame:
        if message.coding == "jpeg":
            from hardware.cameras.jpeg import from_jpeg  # OpenCV, which raw pictures need not

            frame = frame_of(message, from_jpeg)
        else:
            frame = frame_of(message)
        self._have, self._trouble = FrameAsk(message.seq, message.stamp_ns), ""
        self._asked_ns = -(1 << 62)
        if self._is_same_machine:
            return frame
        return replace(frame, stamp_ns=self.offset.to_ours_ns(frame.stamp_ns))

    def _time(self, answer: ClockAnswer) -> None:
        self._is_same_machine = bool(answer.machine) and answer.machine == this_machine()
        self.offset.add(answer.asked_ns, answer.received_ns, self._heard_ns)
        self._trouble = answer.trouble
        self._clocks += 1
        if self._clocks < _CLOCKS_FIRST:
            self._clock_asked_ns = -(1 << 62)


class RemoteCamera(NewestCamera):
    """A NewestCamera of a RemoteSource: a name for the pair."""

    def __init__(self, endpoint: str, clock: Clock | None = None, key: ClientKey | None = None) -> None:
        """Return at once, whether or not anybody serves there; raises EndpointRefused."""
        self.remote = RemoteSource(endpoint, clock, key)
        super().__init__(self.remote, clock, open_now=False)

    @property
    def corrupt(self) -> int:
        """Messages that were no answer; they were dropped."""
        return self.remote.corrupt
