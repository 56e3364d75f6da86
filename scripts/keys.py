"""`tandem keys`: who may reach the arm over the network. Run it on the machine that serves the arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from bridge.keys import KeyRing
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE
from scripts.programs.legacy_serving import is_own_key

KeyName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True)
class KeysNewArgs:
    """Make a client's key and let it in; makes the server's key as well where there is none."""

    name: KeyName
    """Who it is for, such as laptop: letters, digits, dots, dashes."""
    json: bool = False
    """Print the path as one JSON object on the last line."""


@dataclass(frozen=True)
class KeysListArgs:
    """List who is let in."""

    json: bool = False
    """Print the names and public keys as one JSON object on the last line."""


@dataclass(frozen=True)
class KeysRevokeArgs:
    """Let a client in no longer; a running server ends its connections within a second."""

    name: KeyName
    """Whose key it is."""
    json: bool = False
    """Print the name as one JSON object on the last line."""


def key_ring() -> KeyRing:
    """Return the keys of this machine's server."""
    return KeyRing(data_root() / "keys")


def run_new(args: KeysNewArgs) -> int:
    """Make a key; return the exit code."""
    ring = key_ring()
    key = ring.new(args.name)
    path = ring.client_path(args.name)
    say(f"{args.name} is let in. Its key, secret included, is {path}", args.json)
    say(f"carry it to that machine, there, and then delete it here (`rm {path}`):", args.json)
    say(f"  mkdir -p data/keys && scp -p THIS_MACHINE:{path.resolve()} data/keys/", args.json)
    say(f"  tandem run --robot NAME --key data/keys/{path.name}", args.json)
    emit_json({"name": key.name, "public": key.public, "path": str(path)}, args.json)
    return DONE


def run_list(args: KeysListArgs) -> int:
    """List the keys; return the exit code."""
    ring = key_ring()
    allowed = {name: public for public, name in ring.allowed().items()}
    for name, public in sorted(allowed.items()):
        waiting = ring.client_path(name).exists() and not is_own_key(name)
        say(f"{name}  {public}" + ("  (its secret still lies here: carry it away)" if waiting else ""), args.json)
    if not allowed:
        say("nobody is let in: `tandem keys new NAME`", args.json)
    emit_json({"allowed": allowed}, args.json)
    return DONE


def run_revoke(args: KeysRevokeArgs) -> int:
    """Revoke a key; return the exit code."""
    key_ring().revoke(args.name)
    say(f"{args.name} is let in no longer", args.json)
    emit_json({"revoked": args.name}, args.json)
    return DONE
