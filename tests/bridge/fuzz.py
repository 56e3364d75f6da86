"""Messages that nobody meant: random bytes, spoilt messages, well-formed nonsense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from bridge.link import MAX_MESSAGE_BYTES

_TAGS = ("hello", "welcome", "ping", "pong", "move", "hold", "stop", "clear", "ack", "bye", "error", "state", "command")
_KEYS = (
    *("type", "session", "seq", "stamp_ns", "command", "position_rad", "duration_s", "ttl_s", "protocol", "arm"),
    *("arm_sha256", "take_over", "reason", "", "\x00", "__class__"),
)
_LEAVES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 1e308, 5e-324, math.nan, math.inf),
    *(-math.inf, "", "a", "\x00", "mover", "x" * 300, b"", b"\xff" * 40, [], {}, msgspec.msgpack.Ext(1, b"x")),
)


def fuzz(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield so many byte strings, most of them spoilt from `seeds`; none is one of the seeds."""
    rng = np.random.default_rng(seed)
    while count:
        made = _one(rng, seeds)
        if made not in seeds:
            count -= 1
            yield made


def _one(rng: np.random.Generator, seeds: Sequence[bytes]) -> bytes:
    whole, other = (seeds[k] for k in rng.integers(len(seeds), size=2))
    cut, cut_too = int(rng.integers(len(whole) + 1)), int(rng.integers(len(other) + 1))
    match int(rng.integers(12)):
        case 0:
            return rng.bytes(int(rng.integers(0, 300)))
        case 1 | 2 | 3:
            return _flipped(rng, whole, bits=int(rng.integers(1, 9)))
        case 4:
            return whole[:cut]
        case 5:
            return whole[:cut] + other[cut_too:]
        case 6:
            return whole[:cut] + rng.bytes(int(rng.integers(1, 30))) + whole[cut:]
        case 7:
            return whole + other
        case 8:
            opening = bytes(rng.choice([0x91, 0x81, 0xDC, 0xDD, 0xC1, 0xC7, 0xDB, 0xC6, 0xDF], 1).astype(np.uint8))
            return opening * int(rng.integers(1, 2000)) + whole[:cut]
        case 9 if rng.random() < 0.1:
            return whole + bytes(int(rng.integers(MAX_MESSAGE_BYTES, 20 * MAX_MESSAGE_BYTES)))
        case _:
            return msgspec.msgpack.encode(_value(rng, depth=0))


def _flipped(rng: np.random.Generator, whole: bytes, bits: int) -> bytes:
    spoilt = bytearray(whole)
    for bit in rng.integers(8 * len(spoilt), size=bits):
        spoilt[bit // 8] ^= 1 << (bit % 8)
    return bytes(spoilt)


def _value(rng: np.random.Generator, depth: int) -> object:
    """Return a tree of the right words in the wrong places."""
    kind = rng.random()
    if depth == 0 or (kind < 0.3 and depth < 4):
        keys = [_KEYS[k] for k in rng.integers(len(_KEYS), size=rng.integers(0, 6))]
        named: dict[str, object] = {key: _value(rng, depth + 1) for key in keys}
        return {"type": _TAGS[rng.integers(len(_TAGS))], **named}
    if kind < 0.5 and depth < 4:
        return [_value(rng, depth + 1) for _ in range(int(rng.integers(0, 8)))]
    return _LEAVES[rng.integers(len(_LEAVES))]
