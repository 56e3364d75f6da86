"""The lab's stage hand: what a person standing beside the arm would do. It never tells the truth about the block."""

from __future__ import annotations

import msgspec
import zmq

from bridge.errors import BadMessage, BridgeError
from bridge.link import check_endpoint
from urdf.pose import Pose

_MAX_BYTES = 1024


class StageFailed(BridgeError):
    """The stage hand does not answer, or could not do what it was asked."""


class PlaceBlock(msgspec.Struct, frozen=True, tag="place_block", forbid_unknown_fields=True):
    """Put the block elsewhere on the desk, turned at random, or at `place`: x, y [m] and yaw [rad] on it."""

    place: tuple[float, float, float] | None = None


class BeginAttempt(msgspec.Struct, frozen=True, tag="begin_attempt", forbid_unknown_fields=True):
    """Watch what happens to the block from now on."""


class EndAttempt(msgspec.Struct, frozen=True, tag="end_attempt", forbid_unknown_fields=True):
    """Write down what happened to it."""


class HoldBoard(msgspec.Struct, frozen=True, tag="hold_board", forbid_unknown_fields=True):
    """Hold the printed ChArUco sheet there before the camera, or (`place` None) put it away.

    `place`: `camera_from_sheet` as position [m] and quaternion x y z w; a person looks at the live picture for that.
    """

    place: tuple[float, float, float, float, float, float, float] | None


class AskStatus(msgspec.Struct, frozen=True, tag="status", forbid_unknown_fields=True):
    """How does the lab do?"""


StageRequest = PlaceBlock | BeginAttempt | EndAttempt | HoldBoard | AskStatus


class StageStatus(msgspec.Struct, frozen=True, tag="stage", forbid_unknown_fields=True):
    """Every reply. `lost_s` is real time that physics could not follow; `error` is empty when the wish was met."""

    attempts: int
    physics_s: float
    lost_s: float
    frames: int
    error: str = ""


_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[StageRequest] = msgspec.msgpack.Decoder(StageRequest)
_replies: msgspec.msgpack.Decoder[StageStatus] = msgspec.msgpack.Decoder(StageStatus)


class StageServer:
    """The lab's end: hands out requests one at a time, each of which wants one reply."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_BYTES)
        self._socket.bind(check_endpoint(endpoint))

    def receive(self) -> StageRequest | None:
        """Return the next request, None when there is none; raises BadMessage, which wants a reply as well."""
        try:
            data = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        try:
            return _requests.decode(data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BadMessage(f"{len(data)} bytes are no request to the stage hand: {error}") from error

    def reply(self, status: StageStatus) -> None:
        """Answer the request received last."""
        self._socket.send(_encoder.encode(status), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket; calling it twice is harmless."""
        self._socket.close(0)
        self._context.term()


class StageHand:
    """The client: `tandem run`, a test or the demo asks the person beside the arm."""

    def __init__(self, endpoint: str, timeout_s: float = 3.0) -> None:
        self._endpoint = check_endpoint(endpoint)
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        for option, value in ((zmq.LINGER, 0), (zmq.REQ_RELAXED, 1), (zmq.REQ_CORRELATE, 1)):
            self._socket.setsockopt(option, value)
        self._socket.connect(self._endpoint)

    def place_block(self, desk_from_block: Pose | None = None) -> None:
        """Put the block there, None: somewhere else in the area; raises StageFailed where the arm is in the way."""
        if desk_from_block is None:
            self._ask(PlaceBlock())
            return
        x, y, _ = desk_from_block.position_m.tolist()
        self._ask(PlaceBlock((x, y, desk_from_block.yaw_rad)))

    def begin_attempt(self) -> int:
        """Have the lab watch the block from now on; return the attempt's number."""
        return self._ask(BeginAttempt()).attempts

    def end_attempt(self) -> None:
        """Have the lab write down what happened to the block. What that was stays in its truth file."""
        self._ask(EndAttempt())

    def hold_up(self, camera_from_sheet: Pose | None) -> None:
        """Hold the printed board before the camera until further notice; None: put it away."""
        if camera_from_sheet is None:
            self._ask(HoldBoard(None))
            return
        x, y, z = camera_from_sheet.position_m.tolist()
        qx, qy, qz, qw = camera_from_sheet.quat_xyzw.tolist()
        self._ask(HoldBoard((x, y, z, qx, qy, qz, qw)))

    def status(self) -> StageStatus:
        """Return how the lab does."""
        return self._ask(AskStatus())

    def close(self) -> None:
        """Close the socket; calling it twice is harmless."""
        self._socket.close(0)
        self._context.term()

    def _ask(self, request: StageRequest) -> StageStatus:
        self._socket.send(_encoder.encode(request))
        if not self._socket.poll(round(1000 * self._timeout_s)):
            raise StageFailed(f"the lab's stage hand at {self._endpoint} did not answer within {self._timeout_s:g} s")
        status = _replies.decode(self._socket.recv(zmq.NOBLOCK))
        if status.error:
            raise StageFailed(status.error)
        return status
