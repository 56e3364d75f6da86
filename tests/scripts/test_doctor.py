"""`tandem doctor`: on trees of the kernel's files, on servo boards on pseudo-terminals, on a served arm."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from msgspec import structs

from bridge.clock import MonotonicClock
from bridge.keys import KeyRing
from bridge.link import software_version
from bridge.server_settings import ServerSettings
from bridge.stop_latch import StopLatch
from calibration.servo import ServoCalibration
from hardware.buses.pca9685 import ask_chip
from hardware.virtual.dofbot_board import BoardFaults, BoardManners, DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts.doctor import DoctorArgs, run
from scripts.programs import doctor_machine
from scripts.programs.doctor_ports import ports
from scripts.programs.doctor_servos import servos
from scripts.programs.findings import Finding, Level
from scripts.programs.host import Host
from scripts.programs.robot_file import RobotFile, robot_file_path, stop_latch_path
from scripts.programs.served_arm import served_arm
from tests.bridge.benches import SetpointRobot, ipc, serving
from tests.hardware import lx16a_bench, pca9685_bench
from urdf.description import load_arm

ARM = load_arm("dofbot")


class Tree:
    """What a computer shows of itself, made of ordinary files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.forbidden: set[Path] = set()
        self.session: frozenset[str] = frozenset({"pi"})
        self.listed: frozenset[str] = frozenset({"pi"})
        for name in ("dev", "sys", "proc"):
            (root / name).mkdir()

    def put(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(self.root / target)

    def host(self) -> Host:
        root = self.root
        may_use = self.forbidden.isdisjoint
        return Host(
            root / "dev", root / "sys", root / "proc", lambda p: may_use([p]), lambda _path: True,
            "pi", self.session, self.listed,
        )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def as_pi(tree: Tree) -> None:
    tree.put("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")


def of_level(findings: list[Finding], level: Level) -> list[Finding]:
    return [finding for finding in findings if finding.level is level]


# Ports ---------------------------------------------------------------------------------------------
def test_a_usb_adapter_is_named_by_what_it_is_and_by_the_name_it_keeps(tree: Tree) -> None:
    tree.put("dev/ttyUSB0")
    tree.link("dev/serial/by-id/usb-1a86_USB_Serial-if00-port0", "dev/ttyUSB0")
    tree.put("sys/devices/usb1/1-1/product", "USB2.0-Serial\n")
    tree.put("sys/devices/usb1/1-1/1-1:1.0/ttyUSB0/uevent")
    tree.put("sys/drivers/ch341-uart/bind")
    tree.link("sys/class/tty/ttyUSB0/device", "sys/devices/usb1/1-1/1-1:1.0/ttyUSB0")
    tree.link("sys/devices/usb1/1-1/1-1:1.0/ttyUSB0/driver", "sys/drivers/ch341-uart")
    (found,) = list(ports(tree.host(), ""))
    assert found.level is Level.OK
    assert found.text.startswith("USB2.0-Serial, driver ch341-uart, also ")
    assert "usb-1a86_USB_Serial-if00-port0" in found.text
    assert "free" in found.text


def test_a_port_that_may_not_be_opened_stops_a_run_and_the_fix_is_a_command(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.programs.host._group", lambda _path: "dialout")
    tree.forbidden.add(tree.put("dev/ttyACM0"))
    (found,) = list(ports(tree.host(), ""))
    assert found.level is Level.FAIL
    assert "may not be opened by pi" in found.text
    assert found.fix.startswith("sudo usermod -aG dialout pi ")
    tree.listed = frozenset({"pi", "dialout"})  # the command was given, but nobody logged in again
    (found,) = list(ports(tree.host(), ""))
    assert "in the group dialout already, but not in this session" in found.fix


def test_a_missing_port_lists_those_that_there_are(tree: Tree) -> None:
    tree.put("dev/ttyUSB1")
    findings = list(ports(tree.host(), str(tree.root / "dev" / "ttyUSB0")))
    (missing,) = of_level(findings, Level.FAIL)
    assert "is not there; ports found: " in missing.text
    assert "ttyUSB1" in missing.text


def test_i2c_that_is_off_on_a_pi_stops_an_arm_on_it_and_is_otherwise_only_said(tree: Tree) -> None:
    as_pi(tree)
    tree.put("dev/ttyUSB0")
    (said,) = of_level(list(ports(tree.host(), "")), Level.WARN)
    assert said.fix.startswith("sudo raspi-config nonint do_i2c 0")
    (stops,) = of_level(list(ports(tree.host(), str(tree.root / "dev" / "i2c-1"))), Level.FAIL)
    assert stops.fix.startswith("sudo raspi-config nonint do_i2c 0")
    tree.put("dev/i2c-1")
    assert of_level(list(ports(tree.host(), "")), Level.WARN) == []


def test_a_port_that_the_kernel_writes_its_messages_to_is_no_servo_port(tree: Tree) -> None:
    port = tree.put("dev/ttyAMA0")
    tree.link("dev/serial0", "dev/ttyAMA0")
    tree.put("proc/cmdline", "console=serial0,115200 console=tty1 root=PARTUUID=1")
    (stops,) = of_level(list(ports(tree.host(), str(port))), Level.FAIL)
    assert "do_serial_cons 1" in stops.fix


def test_programs_that_grab_adapters_and_adapters_that_keep_bytes_back_are_named(tree: Tree) -> None:
    tree.put("dev/ttyUSB0")
    tree.put("proc/12/comm", "brltty\n")
    tree.put("sys/bus/usb-serial/devices/ttyUSB0/latency_timer", "16\n")
    said = of_level(list(ports(tree.host(), "")), Level.WARN)
    assert [finding.fix.split("|")[0].strip() for finding in said] == ["echo 1", "sudo apt remove brltty"]
    assert "16 ms late" in said[0].text


def test_who_holds_a_port_is_named() -> None:
    master, slave = pty.openpty()
    port = os.ttyname(slave)
    with subprocess.Popen(["sleep", "60"], stdin=slave) as holder:
        (found, *_) = list(ports(Host(), port))
        holder.kill()
    os.close(master)
    os.close(slave)
    assert f"held by sleep (pid {holder.pid})" in found.text
    assert (found.level, found.fix) == (Level.FAIL, "end that program")


# The computer --------------------------------------------------------------------------------------
def test_this_computer_has_what_the_base_install_needs(tree: Tree) -> None:
    findings = list(doctor_machine.machine(tree.host()))
    assert of_level(findings, Level.FAIL) == []
    assert "pyzmq" in findings[-1].text


def test_a_pi_whose_supply_drops_and_whose_processor_dozes_is_told_of(tree: Tree) -> None:
    as_pi(tree)
    tree.put("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    alarm = tree.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert "below 4.63 V" in of_level(list(doctor_machine.machine(tree.host())), Level.WARN)[0].text
    alarm.write_text("0\n")
    assert of_level(list(doctor_machine.machine(tree.host())), Level.WARN) == []
    for core in range(4):
        tree.put(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "powersave\n")
    found = {f.subject: f for f in doctor_machine.timing(tree.host(), PunctualClock())}
    assert found["CPU governor"].fix.startswith("echo performance | sudo tee ")
    assert found["punctuality"].level is Level.OK


class PunctualClock:
    """A clock whose sleeps end late by as much as they are told to."""

    def __init__(self, late_s: float = 0.0) -> None:
        self._now_ns, self._late_ns = 0, round(late_s * 1e9)

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, deadline_ns: int) -> None:
        self._now_ns = deadline_ns + self._late_ns


@pytest.mark.parametrize(("late_s", "level"), [(0.001, Level.OK), (0.004, Level.WARN), (0.03, Level.FAIL)])
def test_a_computer_that_wakes_too_late_for_a_control_loop_is_told_of(tree: Tree, late_s: float, level: Level) -> None:
    found = {f.subject: f.level for f in doctor_machine.timing(tree.host(), PunctualClock(late_s))}
    assert found["punctuality"] is level


def test_a_camera_is_a_device_that_takes_pictures(tree: Tree) -> None:
    tree.put("dev/video0")  # no camera answers here: an ordinary file is none
    (none,) = list(doctor_machine.cameras(tree.host()))
    assert none.level is Level.WARN
    tree.put("sys/class/video4linux/video0/name", "C270 HD WEBCAM\n")
    tree.forbidden.add(tree.root / "dev" / "video0")
    (forbidden,) = list(doctor_machine.cameras(tree.host()))
    assert forbidden.text.startswith("C270 HD WEBCAM, may not be opened by pi")


# The command ---------------------------------------------------------------------------------------
@pytest.fixture
def board() -> Iterator[DofbotBoard]:
    clock = MonotonicClock()
    quick = BoardManners(read_s=(0.005, 0.008))
    board = DofbotBoard(FreePlant(clock), np.random.default_rng(5), clock.now_ns(), manners=quick, torque_on=True)
    with board.run_in_thread(clock):
        yield board
    board.close()


class Doctor(Protocol):
    """Runs the command with `--json` and returns its exit code and findings."""

    def __call__(self, robot: str = "", port: str = "", endpoint: str = "") -> tuple[int, list[Finding]]: ...


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))

    def examine(robot: str = "", port: str = "", endpoint: str = "") -> tuple[int, list[Finding]]:
        code = run(DoctorArgs(robot, port, endpoint=endpoint, json=True))
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result["ok"] is (code == 0)
        return code, [Finding(**{**f, "level": Level(f["level"])}) for f in result["findings"]]

    return examine


def only_of(findings: list[Finding], topic: str) -> dict[str, Finding]:
    return {f.subject: f for f in findings if f.topic == topic}


def test_the_servos_of_a_port_are_read_and_nothing_but_read(board: DofbotBoard, doctor: Doctor) -> None:
    _, findings = doctor(port=board.port)
    servos = only_of(findings, "Servos")
    assert servos["positions"].text == (
        "all 6 servos answer [ticks] 1: 2000, 2: 2000, 3: 2000, 4: 2000, 5: 1487, 6: 900"
    )
    assert "115,200 baud" in servos[board.port].text
    assert "not told" in servos["voltages, temperatures"].text
    assert {f.command for f in board.heard} <= {0x01, *range(0x31, 0x37)}  # version and reads
    assert board.torque_on == (True,) * 6


def test_a_servo_that_does_not_answer_stops_a_run(board: DofbotBoard, doctor: Doctor) -> None:
    board.faults.absent_servos.add(3)
    code, findings = doctor(port=board.port)
    assert code == 1
    positions = only_of(findings, "Servos")["positions"]
    assert positions.text.startswith("servo 3 does not answer")
    assert positions.fix == "check the plug between servo 2 and servo 3"


def test_an_arm_without_supply_is_told_from_a_missing_servo(board: DofbotBoard, doctor: Doctor) -> None:
    board.faults.ignore_frames = BoardFaults.FOREVER
    code, findings = doctor(port=board.port)
    assert code == 1
    assert "no servo answers" in only_of(findings, "Servos")["positions"].text


def test_a_robot_without_calibration_is_told_the_very_command(
    board: DofbotBoard, doctor: Doctor, tmp_path: Path
) -> None:
    RobotFile("dofbot", "table", board.port, "", bus="dofbot-serial").save("desk", tmp_path)
    code, findings = doctor(robot="desk")
    assert code == 1
    calibration = only_of(findings, "Robot")["servo calibration"]
    assert calibration.level is Level.FAIL
    assert calibration.fix == f"tandem calibrate servos --robot desk --port {board.port} --bus dofbot-serial"


@pytest.mark.parametrize(("words", "said"), [
    ("arm = [", "Invalid value"), ('arm = "dofbott"\nrig = "table"', "unknown arm 'dofbott'"),
    ('arm = "dofbot"\nrig = "tabel"', "tabel"),
])  # fmt: skip
def test_a_robot_toml_that_no_run_could_read_stops_one_and_ends_no_examination(
    words: str, said: str, doctor: Doctor, tmp_path: Path
) -> None:
    ServoCalibration.nominal(ARM, "desk").save(tmp_path)
    robot_file_path("desk", tmp_path).write_text(f'{words}\nport = ""\nendpoint = ""\n')
    code, findings = doctor(robot="desk")
    assert code == 1
    robot = only_of(findings, "Robot")
    assert robot["robot.toml"].level is Level.FAIL
    assert said in robot["robot.toml"].text
    assert robot["servo calibration"].level is Level.OK


def test_an_emergency_stop_that_is_latched_stops_a_run_and_the_fix_ends_it(doctor: Doctor, tmp_path: Path) -> None:
    ServoCalibration.nominal(ARM, "desk").save(tmp_path)
    latch = StopLatch(stop_latch_path("desk", tmp_path))
    latch.write("emergency stop by the button")
    code, findings = doctor(robot="desk")
    stop = only_of(findings, "Robot")["emergency stop"]
    assert (code, stop.level, stop.fix) == (1, Level.FAIL, "once it is served: tandem stop --robot desk --clear")
    clock = MonotonicClock()
    with serving(SetpointRobot(clock), ipc(tmp_path), clock, ServerSettings(latch=latch)) as server:
        RobotFile("dofbot", "hanging", "", server.endpoint).save("far", tmp_path)
        code, findings = doctor(robot="far")
    link = only_of(findings, "Link")
    assert code == 1
    assert "the button" in link["arm"].text
    assert "tandem stop --clear" in link["arm"].fix
    assert link["rig"].level is Level.FAIL
    assert "'hanging'" in link["rig"].text


@pytest.mark.parametrize(("warmest_c", "supply_v", "levels"), [
    (50, 7.4, {"voltages": Level.OK, "temperatures": Level.OK}),
    (72, 7.4, {"voltages": Level.OK, "temperatures": Level.WARN}),
    (81, 7.4, {"vitals": Level.FAIL}),
    (50, 5.2, {"vitals": Level.FAIL}),
])  # fmt: skip
def test_what_would_have_the_arm_stopped_stops_a_run(
    warmest_c: int, supply_v: float, levels: dict[str, Level], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servos of a chain tell how they are; a server stops such an arm at 80 degrees and below 5.5 V."""
    clock = MonotonicClock()
    with lx16a_bench.open_bench(clock) as (board, bus):
        monkeypatch.setattr("scripts.programs.doctor_servos.open_bus", lambda *_: bus)
        board.temperature_c[3], board.supply_v = warmest_c, supply_v
        found = {f.subject: f for f in servos("lx16a", board.port, bus.servo_ids, clock, None)}
    assert {subject: found[subject].level for subject in levels} == levels
    assert all(bool(f.fix) == (f.level is not Level.OK) for f in found.values())


def test_a_chip_that_is_not_there_stops_a_run_although_it_tells_nothing_of_its_servos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = MonotonicClock()
    (missing,) = servos("pca9685", "/dev/i2c-no-such", pca9685_bench.IDS, clock, None)
    with pca9685_bench.open_bench(clock) as (board, _):
        monkeypatch.setattr("hardware.buses.pca9685.ask_chip", partial(ask_chip, open_bus=board.wire.open))
        before = len(board.wire.writes)
        (there,) = servos("pca9685", "/dev/i2c-1", pca9685_bench.IDS, clock, None)
        board.wire.unplug()
        (gone,) = servos("pca9685", "/dev/i2c-1", pca9685_bench.IDS, clock, None)
        assert len(board.wire.writes) == before  # nothing was set up
    assert (there.level, gone.level, missing.level) == (Level.OK, Level.FAIL, Level.FAIL)


def test_a_joint_outside_its_calibrated_range_is_named(board: DofbotBoard, doctor: Doctor, tmp_path: Path) -> None:
    ServoCalibration.nominal(ARM, "desk").save(tmp_path)
    RobotFile("dofbot", "table", board.port, "").save("desk", tmp_path)
    assert isinstance(board.plant, FreePlant)
    board.plant.blocked[:] = True
    board.plant._position[1] = 3150.0
    _, findings = doctor(robot="desk")
    outside = [f for f in findings if f.topic == "Servos" and "outside" in f.text]
    assert [f.text for f in outside] == ["outside the calibrated range: joint2 at 3150 (range 900 to 3100)"]


def test_a_served_arm_is_asked_over_the_link_and_its_servos_are_left_to_the_server(
    doctor: Doctor, tmp_path: Path
) -> None:
    with served_arm(tmp_path) as endpoint:
        _, findings = doctor(robot="virtual")
    link = only_of(findings, "Link")
    assert "mean the same dofbot (table" in link[endpoint].text
    assert "ms there and back (median)" in link["latency"].text
    assert link["arm"].text.startswith("holds, torque on")
    assert link["versions"].text == f"tandem {software_version()} at both ends"
    assert [f.text for f in only_of(findings, "Servos").values()] == ["the server's to read while it runs"]


@pytest.mark.parametrize("port", ["/dev/null", __file__, "/tmp"])
def test_what_is_no_port_of_servos_stops_a_run(port: str, doctor: Doctor) -> None:
    code, findings = doctor(port=port)
    assert code == 1
    (named,) = [f for f in findings if f.subject == port]
    assert (named.level, named.text) == (Level.FAIL, "is there, and no port of servos")
    assert not {"Servos", "Link"} & {f.topic for f in findings}


def test_a_server_on_our_port_that_does_not_let_us_in_stops_a_run(
    board: DofbotBoard, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ServoCalibration.nominal(ARM, "desk").save(tmp_path)
    RobotFile("dofbot", "table", board.port, f"ipc://{tmp_path}/desk.sock").save("desk", tmp_path)
    monkeypatch.setattr("scripts.doctor.port_holders", lambda _path: ["tandem (pid 7)"])
    code, findings = doctor(robot="desk")
    assert code == 1
    assert only_of(findings, "Link")["server"].level is Level.FAIL


def test_an_endpoint_that_nobody_serves_stops_a_run(doctor: Doctor, tmp_path: Path) -> None:
    code, findings = doctor(endpoint=f"ipc://{tmp_path}/nobody.sock")
    assert code == 1
    assert [f.level for f in only_of(findings, "Link").values()] == [Level.FAIL]


def test_findings_that_need_something_done_say_what(doctor: Doctor) -> None:
    _, findings = doctor(port="/dev/ttyNoSuchPort")
    assert all(bool(f.fix) == (f.level is not Level.OK) for f in findings)
    assert any(f.level is Level.FAIL for f in findings)


def test_the_command_shows_them_without_colours_where_there_is_no_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.main", "doctor", "--port", "/dev/ttyNoSuchPort"],
        capture_output=True, text=True, check=False, env={**os.environ, "TANDEM_DATA": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "This computer" in done.stdout
    assert "1 thing would stop a run" in done.stdout


def test_an_arm_on_another_computer_is_asked_with_our_key_and_without_it_the_reason_is_named(
    doctor: Doctor, tmp_path: Path
) -> None:
    ring = KeyRing(tmp_path / "pi")
    ring.new("laptop")
    clock = MonotonicClock()
    settings = ServerSettings(keys=ring)
    with serving(SetpointRobot(clock), "tcp://127.0.0.1:*", clock, settings) as server:
        keyed = RobotFile("dofbot", "table", "", server.endpoint, key=str(ring.client_path("laptop")))
        keyed.save("desk", tmp_path)
        _, findings = doctor(robot="desk")
        assert {f.level for f in findings if f.topic in ("Link", "Robot", "Servos")} == {Level.OK}
        assert "ms there and back" in only_of(findings, "Link")["latency"].text
        assert "Ports" not in {f.topic for f in findings}  # they are the other computer's
        structs.replace(keyed, key=str(tmp_path / "lost.json")).save("desk", tmp_path)
        _, findings = doctor(robot="desk")
        assert "cannot read the key" in only_of(findings, "Link")["key"].text
        structs.replace(keyed, key="").save("desk", tmp_path)
        code, findings = doctor(robot="desk")
    assert code == 1
    assert "a wrong key looks the same" in only_of(findings, "Link")[server.endpoint].fix
