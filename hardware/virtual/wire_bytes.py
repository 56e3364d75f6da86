"""Wire: a serial cable inside one process, for a virtual board and its driver on a simulated clock."""

from __future__ import annotations


class Wire:
    """Two directions of bytes. Not locked: on a simulated clock one thread runs at a time."""

    def __init__(self, name: str = "wire") -> None:
        self.name = name
        self._to_board = bytearray()
        self._to_host = bytearray()

    def host_send(self, data: bytes) -> None:
        """Hand bytes to the board."""
        self._to_board += data

    def host_receive(self) -> bytes:
        """Return what the board has said since."""
        data = bytes(self._to_host)
        self._to_host.clear()
        return data

    @property
    def has_news(self) -> bool:
        """Whether the board has said something that the host has not read."""
        return bool(self._to_host)

    def board_receive(self) -> bytes:
        """Return what the host has sent since."""
        data = bytes(self._to_board)
        self._to_board.clear()
        return data

    def board_send(self, data: bytes) -> None:
        """Hand bytes to the host."""
        self._to_host += data
