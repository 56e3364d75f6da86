"""The link to an arm that is being served: is it alive, how quickly does it answer, do both ends mean the same arm."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bridge.errors import BridgeError, RobotLost, SessionRefused
from bridge.keys import ClientKey
from bridge.link import software_version
from bridge.messages import PROTOCOL_VERSION
from bridge.ports import Clock
from bridge.remote import FRESH_NS, RemoteRobot
from scripts.programs.findings import Finding, fail, ok, warn
from urdf.description import ArmDescription

_TOPIC = "Link"
_QUESTIONS = 200
#: A command is due every 50 ms and its answer should be back by then; after 100 ms without one the arm holds.
_SLOW_MS, _TOO_SLOW_MS = 25.0, 100.0


def is_served(endpoint: str, description: ArmDescription, clock: Clock, key: ClientKey | None) -> bool:
    """Return whether a server answers there, even if it refuses."""
    try:
        RemoteRobot(endpoint, description, clock, key=key).close()
    except SessionRefused:
        return True
    except BridgeError:
        return False
    return True


def link(
    endpoint: str, description: ArmDescription, rig: str, clock: Clock, key: ClientKey | None
) -> Iterator[Finding]:
    """Ask a served arm for its state a few hundred times. It is not commanded, and who has control keeps it.

    `rig` is how robot.toml says that it is mounted, empty where nobody says.
    """
    try:
        with RemoteRobot(endpoint, description, clock, key=key) as robot:
            text = f"answers; both ends speak protocol {PROTOCOL_VERSION} and mean the same {description.name}"
            yield ok(_TOPIC, endpoint, f"{text} ({robot.rig_name}, {description.sha256[:8]})")
            if rig and rig != robot.rig_name:
                text = f"robot.toml says {rig!r}, its server {robot.rig_name!r}: a run would be refused"
                yield fail(_TOPIC, "rig", text, f'rig = "{robot.rig_name}" in robot.toml, or serve with --rig {rig}')
            yield _versions(software_version(), robot.software)
            yield _latency(_round_trips_ms(robot, clock))
            ahead_s, error_ms = robot.offset.offset_ns * 1e-9, robot.offset.error_ns(clock.now_ns()) * 1e-6
            text = f"its monotonic clock is {ahead_s:+.3f} s from ours, known to {error_ms:.2f} ms; that is allowed for"
            yield ok(_TOPIC, "clocks", text)
            yield _state(robot)
    except SessionRefused as error:
        yield fail(_TOPIC, endpoint, str(error), "pip install --upgrade tandem-arm at both ends")
    except RobotLost as error:
        yield fail(_TOPIC, endpoint, str(error), "tandem serve at the arm's computer; a wrong key looks the same")
    except BridgeError as error:
        yield fail(_TOPIC, endpoint, str(error), "see `tandem serve --help`")


def _versions(ours: str, theirs: str) -> Finding:
    if ours == theirs:
        return ok(_TOPIC, "versions", f"tandem {ours} at both ends")
    text = f"tandem {ours} here, {theirs} at the arm; they understand each other"
    return warn(_TOPIC, "versions", text, "pip install --upgrade tandem-arm at the older end")


def _round_trips_ms(robot: RemoteRobot, clock: Clock) -> list[float]:
    times_ms: list[float] = []
    for _ in range(_QUESTIONS):
        clock.sleep_until(clock.now_ns() + FRESH_NS + 1_000_000)  # a fresh state would not be asked for
        started_s = time.perf_counter()
        robot.read_state()
        times_ms.append((time.perf_counter() - started_s) * 1e3)
    return sorted(times_ms)


def _latency(times_ms: list[float]) -> Finding:
    half, most = times_ms[len(times_ms) // 2], times_ms[len(times_ms) * 99 // 100]
    text = f"{half:.2f} ms there and back (median), 99 % within {most:.2f} ms, worst {times_ms[-1]:.2f} ms"
    advice = "use a network cable instead of Wi-Fi, and `iw dev wlan0 set power_save off`"
    if most > _TOO_SLOW_MS:
        return fail(_TOPIC, "latency", f"{text}: the arm would hold all the time", advice)
    return warn(_TOPIC, "latency", text, advice) if most > _SLOW_MS else ok(_TOPIC, "latency", text)


def _state(robot: RemoteRobot) -> Finding:
    state = robot.read_state()
    if state.fault:
        return fail(_TOPIC, "arm", f"has a fault: {state.fault}", "mend its cause, then `tandem stop --clear`")
    oldest_s = max(state.reading_age_s)
    doing = "holds" if state.holding else "is being led"
    torque = "torque on" if state.torque_on else "torque off"
    return ok(_TOPIC, "arm", f"{doing}, {torque}, its oldest reading is {oldest_s:.2f} s old")
