from __future__ import annotations

import socket
import urllib.request
from http.client import HTTPConnection, HTTPResponse
from urllib.error import URLError

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.programs.teleop_page import teleop_page
from urdf.errors import ArmError

Picture = NDArray[np.uint8]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def part(response: HTTPResponse) -> Picture:
    """Return the picture of the next part of a stream."""
    length = 0
    while (line := response.readline().strip()) or not length:
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    picture = cv2.imdecode(np.frombuffer(response.read(length), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, dtype=np.uint8)[:, :, ::-1]


def plain(red: int, blue: int) -> Picture:
    return np.full((48, 64, 3), (red, 10, blue), dtype=np.uint8)


def test_a_browser_gets_the_page_and_then_every_new_picture() -> None:
    port = free_port()
    with teleop_page(port) as newest:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
            assert b"/stream" in page.read()
        newest(plain(250, 10))
        browser = HTTPConnection("127.0.0.1", port, timeout=5)
        browser.request("GET", "/stream")
        response = browser.getresponse()
        assert part(response)[0, 0].tolist() == pytest.approx([250, 10, 10], abs=4)
        newest(plain(10, 250))
        assert part(response)[0, 0].tolist() == pytest.approx([10, 10, 250], abs=4)
        browser.close()
    with pytest.raises(URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ArmError, match="name another port"), teleop_page(int(taken.getsockname()[1])):
            pass
