"""Keys of the link: a pair for the server, a pair for each client, and the list of the clients that are let in.

    data/keys/server.json             the server's pair; never leaves the machine that owns the arm
    data/keys/allowed/<name>.json     the public key of a client that is let in: taken away, it is revoked
    data/keys/clients/<name>.json     what a client needs: its own pair and the server's public key; carried to the
                                      workstation, and deleted here

CURVE keys are 32 bytes, written as 40 characters of Z85. Ref: rfc.zeromq.org/spec/26 (CurveZMQ), /spec/32 (Z85).
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from bridge.errors import KeyRefused

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class KeyPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CURVE pair, Z85."""

    public: str
    secret: str

    def __post_init__(self) -> None:
        _check(self.public, self.secret)

    @staticmethod
    def new() -> KeyPair:
        """Return a pair that nobody has."""
        public, secret = zmq.curve_keypair()
        return KeyPair(public.decode(), secret.decode())


class ClientKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client needs to be let in by one server."""

    name: str
    public: str
    secret: str
    server_public: str

    def __post_init__(self) -> None:
        _check(self.public, self.secret, self.server_public)

    @staticmethod
    def load(path: Path) -> ClientKey:
        """Read a client's file; raises KeyRefused where it is missing, damaged, or readable by others."""
        return _read(path, ClientKey, "`tandem keys new NAME` on the machine that serves the arm makes one")


class AllowedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client that is let in."""

    name: str
    public: str

    def __post_init__(self) -> None:
        _check(self.public)


Record = TypeVar("Record", KeyPair, ClientKey, AllowedKey)


class KeyRing:
    """The server's keys in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def _allowed_folder(self) -> Path:
        return self.folder / "allowed"

    def client_path(self, name: str) -> Path:
        """Where the file is that a new client takes away."""
        return self.folder / "clients" / f"{name}.json"

    def server(self) -> KeyPair:
        """Return the server's pair; raises KeyRefused where there is none."""
        return _read(self.folder / "server.json", KeyPair, "`tandem keys new NAME` makes the server's key as well")

    def new(self, name: str) -> ClientKey:
        """Make a client's pair, let it in, leave its file to be carried away; raises KeyRefused for a taken name."""
        if not _NAME.fullmatch(name):
            raise KeyRefused(f"{name!r} is no name of a key: letters, digits, dots, dashes, 64 at most")
        allowed = self._allowed_folder / f"{name}.json"
        if allowed.exists():
            raise KeyRefused(f"there is a key {name!r} already: take another name, or revoke it first")
        if not (self.folder / "server.json").exists():
            _write(self.folder / "server.json", KeyPair.new(), 0o600)
        pair = KeyPair.new()
        key = ClientKey(name, pair.public, pair.secret, self.server().public)
        _write(self.client_path(name), key, 0o600)
        _write(allowed, AllowedKey(name, pair.public), 0o644)
        return key

    def revoke(self, name: str) -> None:
        """Let a client in no longer; a running server ends its connections within a second."""
        try:
            (self._allowed_folder / f"{name}.json").unlink()
        except OSError as error:
            known = ", ".join(sorted(self.allowed().values())) or "none"
            raise KeyRefused(f"there is no key {name!r}; keys that are let in: {known}") from error
        self.client_path(name).unlink(missing_ok=True)

    def allowed(self) -> dict[str, str]:
        """Return the names of those that are let in, by public key. A file that is no key lets nobody in.

        Raises OSError where the list cannot be read now: that takes nobody's key away.
        """
        found: dict[str, str] = {}
        for path in sorted(self._allowed_folder.glob("*.json")):
            try:
                key = msgspec.json.decode(path.read_bytes(), type=AllowedKey)
            except (FileNotFoundError, PermissionError, msgspec.MsgspecError, KeyRefused):
                continue
            found[key.public] = key.name
        return found


def present(socket: zmq.Socket[bytes], key: ClientKey) -> None:
    """Give a client's socket its key; before it connects."""
    socket.setsockopt_string(zmq.CURVE_SERVERKEY, key.server_public)
    socket.setsockopt_string(zmq.CURVE_PUBLICKEY, key.public)
    socket.setsockopt_string(zmq.CURVE_SECRETKEY, key.secret)


def _check(*keys: str) -> None:
    for key in keys:
        if not _Z85.fullmatch(key):
            raise KeyRefused(f"{key[:8]}... is no CURVE key: 40 characters of Z85 are expected")


def _read(path: Path, kind: type[Record], advice: str) -> Record:
    try:
        data, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise KeyRefused(f"cannot read the key {path}: {error.strerror}; {advice}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise KeyRefused(f"the key {path} can be read by others: `chmod 600 {path}`")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, KeyRefused) as error:
        raise KeyRefused(f"{path} is no key file: {error}; {advice}") from error


def _write(path: Path, record: msgspec.Struct, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
