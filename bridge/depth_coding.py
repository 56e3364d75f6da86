"""A depth picture in a message: 16-bit counts of 0.1 mm or 1 mm, packed without loss in NumPy and zlib alone.

Neighbours differ by little: what is written is each count minus the one before, mostly one byte, Huffman-coded. Of a
noisy 640x480 picture that makes 244 kB in 13 ms, a PNG 316 kB in 50 ms, and it needs no OpenCV.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BadMessage

#: Counts are written in these units: the D405's own, and the D435's. A picture that fits is written in the finer one.
UNITS_UM = (100, 1000)
_MOST = 65535
_ESCAPE = 255
_RAW_DEFLATE = -15

Counts = NDArray[np.uint16]


def to_counts(depth_m: NDArray[np.float32]) -> tuple[Counts, int]:
    """Return a depth picture (H, W) in counts, and their unit in µm; 0 is a hole, and so is what is not finite.

    Whole counts of a unit come back exactly (`to_depth_m`), other depths to half a count. Raises BadMessage for depths
    that are negative or beyond 65.5 m.
    """
    known_m = np.where(np.isfinite(depth_m), depth_m, 0.0)
    nearest_m, farthest_m = float(known_m.min(initial=0.0)), float(known_m.max(initial=0.0))
    for unit_um in UNITS_UM:
        if nearest_m >= 0.0 and round(farthest_m * 1e6 / unit_um) <= _MOST:
            return np.rint(known_m.astype(np.float64) * (1e6 / unit_um)).astype(np.uint16), unit_um
    raise BadMessage(f"depths from {nearest_m:.3f} to {farthest_m:.3f} m: 0 to {_MOST * UNITS_UM[-1] * 1e-6:.1f} m fit")


def to_depth_m(counts: Counts, unit_um: int) -> NDArray[np.float32]:
    """Return counts in metres, as the SDK of a depth camera multiplies them."""
    return counts * np.float32(unit_um * 1e-6)


def pack(counts: Counts) -> bytes:
    """Return the picture's counts as few bytes."""
    steps = np.diff(counts.reshape(-1), prepend=np.uint16(0))  # modulo 65536, and so is their sum
    folded = (steps << 1) ^ (steps.view(np.int16) >> 15).view(np.uint16)  # 0 -1 1 -2 2 ... as 0 1 2 3 4 ...
    short = np.minimum(folded, _ESCAPE).astype(np.uint8)
    long = folded[short == _ESCAPE].astype("<u2")
    packer = zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE, 9, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(short.tobytes()) + packer.compress(long.tobytes()) + packer.flush()


def unpack(data: bytes, height_px: int, width_px: int) -> Counts:
    """Return the counts (H, W); raises BadMessage where the bytes are of no such picture, before they fill memory."""
    pixels = height_px * width_px
    unpacker = zlib.decompressobj(_RAW_DEFLATE)
    try:
        plain = unpacker.decompress(data, 3 * pixels + 1)
    except zlib.error as error:
        raise BadMessage(f"{len(data)} bytes are no packed depth picture: {error}") from error
    short = np.frombuffer(plain, dtype=np.uint8, count=min(pixels, len(plain)))
    is_long = short == _ESCAPE
    if not unpacker.eof or unpacker.unused_data or len(plain) != pixels + 2 * int(np.count_nonzero(is_long)):
        raise BadMessage(f"{len(data)} bytes of packed depth do not fill {width_px}x{height_px} px")
    folded = short.astype(np.uint16)
    folded[is_long] = np.frombuffer(plain, dtype="<u2", offset=pixels)
    steps = (folded >> 1) ^ (np.uint16(0) - (folded & 1))
    return np.cumsum(steps, dtype=np.uint16).reshape(height_px, width_px)
