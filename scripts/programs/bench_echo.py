"""A plain ZeroMQ echo: answers with as many bytes as the first four of the question say."""

from __future__ import annotations

import sys

import zmq


def main(port: str) -> None:
    """Answer until killed."""
    socket = zmq.Context().socket(zmq.REP)
    socket.bind(f"tcp://127.0.0.1:{port}")
    while True:
        socket.send(bytes(int.from_bytes(socket.recv()[:4], "big")))


if __name__ == "__main__":
    main(sys.argv[1])
