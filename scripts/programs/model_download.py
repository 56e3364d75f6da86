"""A file by its address: it goes on where it was cut off, and only the right bytes are kept."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from calibration.artifacts import write_atomic
from scripts.programs.model_errors import SourceUnreachable, WrongBytes

#: Bytes that are here, and how many there will be (0: nobody knows).
OnBytes = Callable[[int, int], None]

_PIECE_BYTES = 1 << 16
_TIMEOUT_S = 20.0
#: No model is larger: whoever sends more sends something else.
_MOST_BYTES = 64 << 20
_RANGE_REFUSED = 416


def download(url: str, sha256: str, path: Path, on_bytes: OnBytes) -> None:
    """Fetch a file to `path`, whole or not at all. What came before a cut stays beside it, and is not fetched again.

    Raises SourceUnreachable where the server does not answer, has no such file or stops early; WrongBytes where the
    file is another one: nothing of it is kept then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _fetch(url, part, on_bytes)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_REFUSED:
            part.unlink(missing_ok=True)  # longer than the file: of something else
        raise SourceUnreachable(f"{url}: the server says {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise SourceUnreachable(f"{url} cannot be reached: {error.reason}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise SourceUnreachable(f"{url} stopped early ({error}): the same command goes on from there") from error
    data = part.read_bytes()
    part.unlink()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WrongBytes(f"{url} gave {len(data)} bytes with the SHA-256 {found}, expected {sha256}: none are kept")
    write_atomic(path, data)


def _fetch(url: str, part: Path, on_bytes: OnBytes) -> None:
    """Append what is missing to `part`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        have = have if goes_on else 0
        length = int(answer.headers.get("Content-Length") or 0)
        total = have + length if length else 0
        with part.open("ab" if goes_on else "wb") as file:
            while piece := answer.read(_PIECE_BYTES):
                file.write(piece)
                have += len(piece)
                if have > _MOST_BYTES:
                    part.unlink()
                    raise WrongBytes(f"{url} gives more than {_MOST_BYTES >> 20} MB: that is no landmark model")
                on_bytes(have, total)
        if total and have < total:
            raise SourceUnreachable(f"{url} stopped after {have} of {total} bytes: the same command goes on from there")
