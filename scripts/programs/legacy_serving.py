"""The stream of older programs, served beside a RobotServer as one of its clients."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from bridge.clock import MonotonicClock
from bridge.errors import RobotLost
from bridge.keys import ClientKey, KeyRing
from bridge.messages import JointCommand, RobotState
from bridge.remote import RemoteRobot
from hardware.buses.legacy_tcp import LegacyServer
from scripts.programs.process_tree import is_running
from urdf.description import ArmDescription

_OWN = "legacy-"


def is_own_key(name: str) -> bool:
    """Return whether a key is that of a server's own stream, named after its process, and nobody's to carry away."""
    return re.fullmatch(rf"{_OWN}\d+", name) is not None


def revoke_left_behind(ring: KeyRing) -> None:
    """Revoke the keys of servers that were killed: after a power cut, our number may be that of one of them."""
    for name in sorted(ring.allowed().values()):
        if not is_own_key(name):
            continue
        process = int(name.removeprefix(_OWN))
        if process == os.getpid() or not is_running(process):
            ring.revoke(name)


class LateRobot:
    """A RemoteRobot that connects when it is first needed: its server answers only once it serves."""

    def __init__(self, endpoint: str, description: ArmDescription, key: ClientKey | None) -> None:
        self._endpoint, self._description, self._key = endpoint, description, key
        self._robot: RemoteRobot | None = None

    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        return self._description

    def read_state(self) -> RobotState:
        """As RemoteRobot; once it is lost, the next call connects again."""
        with self._connected() as robot:
            return robot.read_state()

    def send(self, command: JointCommand) -> JointCommand:
        """As RemoteRobot."""
        with self._connected() as robot:
            return robot.send(command)

    def hold(self) -> None:
        """As RemoteRobot."""
        with self._connected() as robot:
            robot.hold()

    def close(self) -> None:
        """As RemoteRobot."""
        if self._robot is not None:
            self._robot.close()

    @contextmanager
    def _connected(self) -> Generator[RemoteRobot]:
        try:
            if self._robot is None:
                self._robot = RemoteRobot(self._endpoint, self._description, MonotonicClock(), key=self._key)
            yield self._robot
        except RobotLost:
            self._robot = None
            raise


@contextmanager
def legacy_stream(
    endpoint: str,
    description: ArmDescription,
    host: str,
    clients: Sequence[str],
    ring: KeyRing | None,
    tell: Callable[[str], None],
    port: int | None = None,
) -> Generator[LegacyServer]:
    """Bind it for as long as the context lasts, and give it to be started; raises EndpointRefused.

    It goes in by the server's own door, with a key of its own where there are keys: filter, lease, watchdog and
    emergency stop hold for it as for anybody.
    """
    name = f"{_OWN}{os.getpid()}"
    if ring is not None:
        revoke_left_behind(ring)
    robot = LateRobot(endpoint, description, ring.new(name) if ring is not None else None)
    try:
        options = {} if port is None else {"port": port}
        stream = LegacyServer(robot, MonotonicClock(), host, allow=clients, tell=tell, **options)
        try:
            yield stream
        finally:
            stream.close()
    finally:
        robot.close()
        if ring is not None:
            ring.revoke(name)
