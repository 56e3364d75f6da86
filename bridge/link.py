"""What both ends of the link share: where it may be served, and the bytes of a message.

One message is one frame of msgpack: ZeroMQ's CONFLATE and partial failures cannot cut it in two. Nothing here waits.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import tempfile
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from bridge.errors import BadMessage, EndpointRefused
from bridge.messages import ClientMessage, ServerMessage, StateUpdate

MAX_MESSAGE_BYTES = 4096
MAX_PORT = 65534
MAX_IPC_PATH_BYTES = 100  # sockaddr_un holds 108, libzmq keeps one, C's terminator another, `.state` six
#: A connection that is silent for as long as this, twice, is ended: its machine has gone without a word.
HEARTBEAT_MS = 1000

Message = TypeVar("Message")

_encoder = msgspec.msgpack.Encoder()
_from_client: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_from_server: msgspec.msgpack.Decoder[ServerMessage] = msgspec.msgpack.Decoder(ServerMessage)
_from_stream: msgspec.msgpack.Decoder[StateUpdate] = msgspec.msgpack.Decoder(StateUpdate)


def check_endpoint(endpoint: str, keyed: bool = False) -> str:
    """Return the endpoint in the form that ZeroMQ takes; raises EndpointRefused.

    Without keys it must be ipc or loopback: whoever reaches the socket moves the arm.
    """
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        length = len(os.fsencode(path))
        if not 0 < length <= MAX_IPC_PATH_BYTES:
            raise EndpointRefused(
                f"the path of {endpoint!r} has {length} bytes, an ipc socket takes 1 to {MAX_IPC_PATH_BYTES}: "
                "use a shorter one, such as ipc:///tmp/tandem.sock"
            )
        return endpoint
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme == "tcp" and host:
        if ":" in host:
            raise EndpointRefused(f"{endpoint!r} is an address of IPv6, which this link does not speak: use IPv4")
        _check_port(endpoint)
    if parts.scheme == "tcp" and _is_loopback(host):
        return endpoint.replace("//localhost", "//127.0.0.1", 1)
    if parts.scheme == "tcp" and host and keyed:
        return endpoint
    raise EndpointRefused(
        f"{endpoint!r} is no endpoint of this link: expected ipc://PATH or tcp://127.0.0.1:PORT, or with keys "
        "tcp://HOST:PORT. `tandem keys new NAME` makes keys"
    )


def state_endpoint(endpoint: str) -> str:
    """Return where a server tells its state to all who listen: the port above that of its commands, or PATH.state."""
    if endpoint.startswith("ipc://"):
        return f"{endpoint}.state"
    head, _, port = endpoint.rpartition(":")
    return f"{head}:{int(port) + 1}"


def is_local(endpoint: str) -> bool:
    """Return whether an endpoint is this machine's alone, so that it may be served without keys."""
    return endpoint.startswith("ipc://") or _is_loopback(urlsplit(endpoint).hostname or "")


def _check_port(endpoint: str) -> None:
    """Raise EndpointRefused for a port that is none. `*` is any free one; the state goes out on the port above."""
    port = endpoint.rpartition(":")[2]
    if port != "*" and not (port.isdecimal() and 0 < int(port) <= MAX_PORT):
        raise EndpointRefused(f"{endpoint!r} has no port of 1 to {MAX_PORT} at its end, such as :5555")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_endpoint(robot: str) -> str:
    """Return where a robot of this name is served unless said otherwise: a socket of this user's alone."""
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return check_endpoint(f"ipc://{folder}/tandem-{os.getuid()}-{robot}.sock")


def check_unserved(endpoint: str) -> None:
    """Raise EndpointRefused where an address cannot be served: another has it, or a socket has no folder to be in.

    Binding an ipc path that a live server owns would silently take it away.
    """
    path = endpoint.removeprefix("ipc://")
    if path == endpoint:
        _check_free(endpoint)
        return
    folder = os.path.dirname(os.path.abspath(path))
    if not path.startswith("@") and not os.access(folder, os.W_OK):
        raise EndpointRefused(f"no socket can be made at {endpoint}: {folder} is missing, or may not be written to")
    if path.startswith("@") or not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:  # left behind by a server that died
            return
    raise EndpointRefused(f"another server already serves {endpoint}: end it, or choose another endpoint")


def _check_free(endpoint: str) -> None:
    """Bind both ports of a TCP address for a moment; raises EndpointRefused. Names are left to ZeroMQ."""
    parts = urlsplit(endpoint)
    try:
        address, first = ipaddress.ip_address(parts.hostname or ""), parts.port
    except ValueError:
        return
    for port in (first, first + 1) if first is not None else ():
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(address), port))
            except OSError as error:
                why = f"port {port} cannot be served: {error.strerror}"
                raise EndpointRefused(f"{endpoint}: {why}; end what has it (`ss -ltnp`), or choose another") from error


def remove_socket(endpoint: str) -> None:
    """Take away the file of an ipc endpoint that we serve, which libzmq leaves.

    Before it is closed: afterwards another server may have bound there.
    """
    path = endpoint.removeprefix("ipc://")
    if path != endpoint and not path.startswith("@"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def software_version() -> str:
    """Return the version of the package, or `source tree` where none is installed."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms that only a greeting needs

    try:
        return version("tandem-arm")
    except PackageNotFoundError:
        return "source tree"


def encode(message: ClientMessage | ServerMessage | StateUpdate) -> bytes:
    """Return the bytes of a message."""
    return _encoder.encode(message)


def decode_client(data: bytes) -> ClientMessage:
    """Return what a client sent; raises BadMessage."""
    return _decode(_from_client, data)


def decode_server(data: bytes) -> ServerMessage:
    """Return what a server sent; raises BadMessage."""
    return _decode(_from_server, data)


def decode_update(data: bytes) -> StateUpdate:
    """Return what a server tells to all; raises BadMessage."""
    return _decode(_from_stream, data)


def _decode(decoder: msgspec.msgpack.Decoder[Message], data: bytes) -> Message:
    if len(data) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"a message of {len(data)} bytes: the longest is {MAX_MESSAGE_BYTES}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"{len(data)} bytes are no message of this protocol: {error}") from error
