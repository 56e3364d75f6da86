"""A client with a key that floods a server until it is killed: python -m ... ENDPOINT KEY PARTS BYTES.

Every message has so many parts of so many bytes. It never reads what it is answered.
"""

from __future__ import annotations

import sys
from pathlib import Path

import zmq

from bridge.keys import ClientKey


def main(endpoint: str, key_file: str, parts: int, size: int) -> None:
    key = ClientKey.load(Path(key_file))
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.DEALER)
    socket.setsockopt(zmq.SNDHWM, 2)
    socket.setsockopt_string(zmq.CURVE_PUBLICKEY, key.public)
    socket.setsockopt_string(zmq.CURVE_SECRETKEY, key.secret)
    socket.setsockopt_string(zmq.CURVE_SERVERKEY, key.server_public)
    socket.connect(endpoint)
    message = [bytes(size)] * parts
    sys.stdout.write("flooding\n")
    sys.stdout.flush()
    while True:
        socket.send_multipart(message)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
