"""The servos of one arm: which answer, and how they are. Reads only; nothing is moved and no torque is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from bridge.ports import Clock
from calibration.servo import ServoCalibration
from hardware.errors import BadChecksum, BusError, HardwareError, NoReply, NotMeasured, PortError, ServoAlarm
from hardware.guards import VitalsGuard, VitalsLimits
from hardware.servo_bus import ServoBus, ServoVitals
from scripts.programs.bus_choice import BusKind, line_speed, open_bus, vitals_limits
from scripts.programs.findings import Finding, fail, ok, warn

_TOPIC = "Servos"


def servos(
    kind: BusKind, port: str, servo_ids: Sequence[int], clock: Clock, calibration: ServoCalibration | None
) -> Iterator[Finding]:
    """Open the bus, ask every servo where it stands and how it is, and close it."""
    if kind == "pca9685":
        yield _pulses(port, clock)
        return
    try:
        bus = open_bus(kind, port, servo_ids, clock)
    except (PortError, BusError) as error:
        yield fail(_TOPIC, port, f"cannot be opened as {kind}: {error}", "see above, under Ports")
        return
    with closing(bus):
        yield ok(_TOPIC, port, f"opened as {kind}, {line_speed(kind)}")
        standing = dict[int, int]()
        trouble = False
        for servo_id in servo_ids:
            try:
                standing[servo_id] = bus.read_ticks(servo_id).ticks
            except (NoReply, BadChecksum):
                continue
            except HardwareError as error:
                trouble = True
                yield fail(_TOPIC, f"servo {servo_id}", str(error), "mend that first; see docs/raspberry-pi.md")
                break
        if not trouble:
            yield from _answers(bus, servo_ids, standing)
        yield from _vitals(bus, tuple(standing), vitals_limits(kind))
        if calibration is not None:
            yield from _ranges(calibration, standing)


def _pulses(port: str, clock: Clock) -> Finding:
    """Ask a chip that has nothing to tell of its servos whether it is there."""
    from hardware.buses.pca9685 import ask_chip

    try:
        ask_chip(port, clock)
    except (PortError, BusError) as error:
        return fail(_TOPIC, port, str(error), "`i2cdetect -y 1` shows 40 where it is wired up and has its 3.3 V")
    text = "a PCA9685 answers; it only sends pulses: whether servos are there cannot be read, nor how they are"
    return ok(_TOPIC, port, text)


def _answers(bus: ServoBus, expected: Sequence[int], standing: dict[int, int]) -> Iterator[Finding]:
    missing = [i for i in expected if i not in standing]
    where = ", ".join(f"{i}: {ticks}" for i, ticks in standing.items())
    if not missing:
        yield ok(_TOPIC, "positions", f"all {len(expected)} servos answer [ticks] {where}")
        return
    others = bus.find_others(expected)
    named = ", ".join(map(str, missing))
    if others:
        text = f"servo {named} does not answer, but {', '.join(map(str, others))} does"
        yield fail(_TOPIC, "positions", text, "give the servos the ids that the calibration names, one at a time")
    elif standing:
        text = f"servo {named} does not answer; those that do [ticks]: {where}"
        fix = f"check the plug between servo {missing[0] - 1} and servo {missing[0]}" if missing[0] > 1 else "its cable"
        yield fail(_TOPIC, "positions", text, fix)
    else:
        text = "no servo answers: no supply, another bus than this, or another baud rate"
        yield fail(_TOPIC, "positions", text, "switch the arm's supply on (12 V for a Dofbot), or try another --bus")


def _vitals(bus: ServoBus, servo_ids: Sequence[int], limits: VitalsLimits) -> Iterator[Finding]:
    """Ask every servo how it is; what would have a server stop the arm is judged as the server does."""
    told: dict[int, ServoVitals] = {}
    for servo_id in servo_ids:
        try:
            told[servo_id] = bus.read_vitals(servo_id)
        except NotMeasured:
            yield ok(_TOPIC, "voltages, temperatures", "not told by this bus: feel whether a servo is hot")
            return
        except ServoAlarm as error:
            yield fail(_TOPIC, f"servo {servo_id}", str(error), "let it cool down, free it, or mend its supply")
        except BusError as error:
            yield warn(_TOPIC, f"servo {servo_id}", str(error), "run this again; if it stays, check the cables")
    guard = VitalsGuard(tuple(f"servo {i}" for i in told), limits)
    for number, vitals in enumerate(told.values()):
        trouble = guard.judge(number, vitals)
        if trouble is not None:
            yield fail(_TOPIC, "vitals", str(trouble), "let it cool down, or mend its supply: the arm would be stopped")
    volts = [v.voltage_v for v in told.values() if v.voltage_v is not None]
    if volts:
        yield ok(_TOPIC, "voltages", f"{min(volts):.1f} to {max(volts):.1f} V")
    degrees = {i: v.temperature_c for i, v in told.items() if v.temperature_c is not None}
    if degrees:
        hottest = max(degrees, key=lambda i: degrees[i])
        text = f"{min(degrees.values()):.0f} to {degrees[hottest]:.0f} °C, the hottest is servo {hottest}"
        if degrees[hottest] >= limits.warn_c:
            yield warn(_TOPIC, "temperatures", text, "let the arm rest with its torque off")
        else:
            yield ok(_TOPIC, "temperatures", text)


def _ranges(calibration: ServoCalibration, standing: dict[int, int]) -> Iterator[Finding]:
    """Say which joints stand outside their calibrated range: a run brings them back slowly before anything else."""
    outside = [
        f"{joint.joint} at {standing[joint.servo_id]} (range {joint.lower_ticks} to {joint.upper_ticks})"
        for joint in calibration.joints
        if joint.servo_id in standing and not joint.lower_ticks <= standing[joint.servo_id] <= joint.upper_ticks
    ]
    if outside:
        text = f"outside the calibrated range: {', '.join(outside)}"
        yield warn(_TOPIC, "positions", text, "move it back by hand with the torque off, or calibrate again")
