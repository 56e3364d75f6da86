"""A page that shows the newest picture to browsers of this machine: motion JPEG over HTTP, on the loopback alone.

From another machine: `ssh -L PORT:127.0.0.1:PORT HOST`. The page only shows; it takes no commands.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from scripts.programs.footage import Image
from urdf.errors import ArmError

_QUALITY = 80
_WAIT_S = 5.0
_BOUNDARY = b"picture"
_PAGE = (
    b"<!doctype html><title>tandem teleop</title><body style='margin:0;background:#12161d'>"
    b"<img src='/stream' style='display:block;margin:auto;max-width:100%;height:100vh;object-fit:contain'></body>"
)


class NewestPicture:
    """The newest picture as JPEG; readers wait for one that they have not had."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._number, self._jpeg = 0, b""
        self._closed = False

    def __call__(self, picture: Image) -> None:
        """Take in a picture."""
        done, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
        if done:
            with self._news:
                self._number, self._jpeg = self._number + 1, jpeg.tobytes()
                self._news.notify_all()

    def after(self, number: int) -> tuple[int, bytes]:
        """Return a newer picture than `number` and its number; nothing (b"") where none comes for long, or any more."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._number > number, _WAIT_S)
            fresh = not self._closed and self._number > number
            return (self._number, self._jpeg) if fresh else (number, b"")

    def close(self) -> None:
        """Let everybody who waits go."""
        with self._news:
            self._closed = True
            self._news.notify_all()


@contextmanager
def teleop_page(port: int) -> Generator[NewestPicture]:
    """Serve the page at http://127.0.0.1:PORT; give what takes in pictures. Raises ArmError where the port is taken."""
    newest = NewestPicture()

    class Handler(BaseHTTPRequestHandler):
        """One browser."""

        def do_GET(self) -> None:
            """Send the page, or pictures without end."""
            if self.path == "/stream":
                _stream(self, newest)
                return
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(_PAGE if self.path == "/" else b"there is nothing here but /")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the terminal is the person's."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ArmError(f"--page {port}: {error.strerror or error}; name another port") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="page", daemon=True)
    thread.start()
    try:
        yield newest
    finally:
        newest.close()
        server.shutdown()
        server.server_close()
        thread.join(timeout=2.0)


def _stream(handler: BaseHTTPRequestHandler, newest: NewestPicture) -> None:
    """Send every new picture until there are none, or the browser has gone."""
    handler.send_response(200)
    handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}")
    handler.send_header("Cache-Control", "no-store")
    handler.end_headers()
    number, jpeg = newest.after(0)
    while jpeg:
        head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_BOUNDARY, len(jpeg))
        try:
            handler.wfile.write(head + jpeg + b"\r\n")
        except OSError:  # the browser has gone
            return
        number, jpeg = newest.after(number)
