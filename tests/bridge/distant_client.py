"""A client on another machine, with a key: python -m ... ENDPOINT KEY_FILE.

Streams until the server is lost, says `lost SECONDS` (how long that took to notice), connects again until it may,
says `back`, and streams on until it is killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bridge.clock import MonotonicClock
from bridge.errors import RobotLost
from bridge.keys import ClientKey
from bridge.remote import RemoteRobot
from tests.bridge.benches import ARM, START, command_to

CLOCK = MonotonicClock()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def stream(robot: RemoteRobot) -> None:
    for seq in range(1, 100_000):
        began_s = time.monotonic()
        try:
            robot.send(command_to(START + 0.0005 * (seq % 20), seq))
        except RobotLost:
            say(f"lost {time.monotonic() - began_s:.3f}")
            return
        if seq == 5:
            say("moving")
        time.sleep(0.02)


def main(endpoint: str, key_file: str) -> None:
    key = ClientKey.load(Path(key_file))
    stream(RemoteRobot(endpoint, ARM, CLOCK, timeout_s=0.5, key=key))
    while True:
        try:
            again = RemoteRobot(endpoint, ARM, CLOCK, timeout_s=0.5, key=key, take_over=True)
        except RobotLost:
            continue
        say("back")
        stream(again)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
