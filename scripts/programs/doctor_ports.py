"""Ports of servo buses: which there are, what is behind them, who may open them and who has. Opens none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hardware.errors import port_holders
from scripts.programs.findings import Finding, fail, ok, warn
from scripts.programs.host import Host

_TOPIC = "Ports"
#: Adapters and boards that arms hang on. A Pi's own serial lines are named only when they are asked for.
_SERIAL = ("ttyUSB*", "ttyACM*")
_GRABBERS = {
    "brltty": ("takes CH340 and CP210x adapters for Braille displays", "sudo apt remove brltty"),
    "ModemManager": ("talks to every new serial port for some seconds", "sudo systemctl disable --now ModemManager"),
}
_ENABLE_I2C = "sudo raspi-config nonint do_i2c 0   (then reboot)"
_FREE_SERIAL = "sudo raspi-config nonint do_serial_cons 1   (then reboot)"
#: An FTDI adapter keeps what it has received for this long, unless told otherwise.
_SLOW_MS = 2


def ports(host: Host, asked: str) -> Iterator[Finding]:
    """Look at the serial and the I2C ports; `asked` is the port of the arm in question, or empty."""
    serial = sorted(node for pattern in _SERIAL for node in host.dev.glob(pattern))
    i2c = sorted(host.dev.glob("i2c-*"), key=lambda node: int(re.sub(r"\D", "", node.name) or 0))
    wanted = Path(asked) if asked else None
    if wanted is not None and not wanted.exists():
        yield _missing(host, wanted, [*serial, *i2c])
    others = [node for node in serial if not _same(node, wanted)]
    for node in ([wanted] if wanted is not None and wanted.exists() else []) + others:
        yield from _port(host, node, node is wanted)
    if not serial and wanted is None:
        text = "none found; an arm on a USB cable would be /dev/ttyUSB0 or /dev/ttyACM0"
        yield warn(_TOPIC, "serial ports", text, "plug in the cable and the arm's supply; `dmesg | tail` says more")
    yield from _i2c(host, i2c, wanted)
    running = host.processes() if serial else frozenset[str]()
    for name, (why, fix) in _GRABBERS.items():
        if name in running:
            yield warn(_TOPIC, name, f"is running: it {why}", fix)


def _missing(host: Host, wanted: Path, there: list[Path]) -> Finding:
    listing = ", ".join(map(str, there)) or "none"
    text = f"is not there; ports found: {listing}"
    if "i2c" in wanted.name:
        fix = _ENABLE_I2C if host.is_raspberry_pi() else "sudo modprobe i2c-dev"
        return fail(_TOPIC, str(wanted), text, fix)
    return fail(_TOPIC, str(wanted), text, "plug in the cable and the arm's supply, or name another port with --port")


def _port(host: Host, node: Path, is_wanted: bool) -> Iterator[Finding]:
    """Look at one port that is there."""
    if not host.is_line(node):
        text = "is there, and no port of servos"
        yield fail(_TOPIC, str(node), text, "name the arm's port with --port, such as /dev/ttyUSB0 or /dev/i2c-1")
        return
    what, who = _description(host, node), port_holders(node)
    if not host.may_use(node):
        text = f"{what}, may not be opened by {host.user}"
        yield fail(_TOPIC, str(node), text, host.permission_fix(node))
    elif who:
        text = f"{what}, held by {', '.join(who)}"
        if is_wanted and not any("tandem" in name or "python" in name for name in who):
            yield fail(_TOPIC, str(node), text, "end that program")
        else:
            yield ok(_TOPIC, str(node), text)
    else:
        yield ok(_TOPIC, str(node), f"{what}, may be opened and is free")
    latency = host.text(host.sys / "bus" / "usb-serial" / "devices" / node.resolve().name / "latency_timer")
    if latency.isdigit() and int(latency) > _SLOW_MS:
        path = f"/sys/bus/usb-serial/devices/{node.resolve().name}/latency_timer"
        yield warn(_TOPIC, str(node), f"hands replies over {latency} ms late (FTDI)", f"echo 1 | sudo tee {path}")
    if is_wanted and node.resolve().name in _consoles(host):
        yield fail(_TOPIC, str(node), "is the kernel's console: its messages would go to the servos", _FREE_SERIAL)


def _description(host: Host, node: Path) -> str:
    """Return what a port says it is, and the name that it keeps when it is plugged in elsewhere."""
    device = host.sys / "class" / "tty" / node.resolve().name / "device"
    product = ""
    for folder in (device.resolve(), *list(device.resolve().parents)[:4]):
        product = product or host.text(folder / "product")
    driver = (device / "driver").resolve().name if (device / "driver").exists() else ""
    by_id = [link for link in (host.dev / "serial" / "by-id").glob("*") if _same(link, node)]
    parts = [product or "serial port" if "i2c" not in node.name else "I2C port"]
    parts += [f"driver {driver}"] if driver else []
    parts += [f"also {by_id[0]}"] if by_id else []
    return ", ".join(parts)


def _i2c(host: Host, nodes: list[Path], wanted: Path | None) -> Iterator[Finding]:
    if wanted is not None and "i2c" in wanted.name:
        return
    if host.is_raspberry_pi():
        header = host.dev / "i2c-1"
        if header not in nodes:
            text = "is off. Only an arm on the Pi's own pins needs it"
            yield warn(_TOPIC, str(header), text, _ENABLE_I2C)
        elif not host.may_use(header):
            text = f"the Pi's own pins, may not be opened by {host.user}"
            yield warn(_TOPIC, str(header), text, host.permission_fix(header))
        else:
            yield ok(_TOPIC, str(header), "the Pi's own pins, may be opened")
    elif nodes:
        yield ok(_TOPIC, "I2C", f"{len(nodes)} ports ({nodes[0]} to {nodes[-1].name}), none asked for")


def _consoles(host: Host) -> set[str]:
    """Return the serial ports that the kernel writes its messages to."""
    names = re.findall(r"console=(\w+)", host.text(host.proc / "cmdline"))
    return {(host.dev / name).resolve().name for name in names}


def _same(node: Path, other: Path | None) -> bool:
    return other is not None and node.resolve() == other.resolve()
