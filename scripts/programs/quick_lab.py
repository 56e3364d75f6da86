"""QuickLab: the lab in one process on a simulated clock, ten to twenty times as fast as the real one.

World, servo board and its bytes, bus driver, ServoRobot with its reader thread, safety filter, RobotServer with gate
and watchdog, RemoteRobot, renderer, tracker and control loop are those of the lab in four processes. What is not: the
pty (a Wire), the sockets (two queues), and the operating system's scheduling.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.server import RobotServer
from calibration.actuator_file import actuator_for
from calibration.boards import GRIPPER
from calibration.servo import ServoCalibration
from hardware.servo_robot import ServoRobot
from hardware.virtual.dofbot_board import DofbotBoard
from hardware.virtual.wire_bus import WiredDofbotBus
from hardware.virtual.wire_bytes import Wire
from scripts.programs.board_show import BOARD, sheet_print
from scripts.programs.calibrate_chain import Bench, Workplace
from scripts.programs.calibrated_camera import DESK_CAMERA
from scripts.programs.lab_plant import LabPlant
from scripts.programs.lab_unit import LabUnit, nominal_calibration, take_up
from scripts.programs.quick_camera import DeskPainter, QuickCamera
from scripts.programs.quick_link import DirectRobot, DirectSockets
from scripts.programs.turn_clock import TurnClock
from scripts.serve import PERIOD_S
from sim.lab import LabWorld
from sim.lab_camera import HeldBoard, LabRenderer
from sim.lab_depth import LabDepthEye
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from sim.world import PHYSICS_HZ
from urdf.description import load_arm
from urdf.pose import Pose

SERIAL = "lab"
_STEP_NS = round(1e9 / PHYSICS_HZ)


class QuickLab:
    """One unit, told apart by seed and level; `data` is the folder with its calibrations, as for every robot."""

    def __init__(self, unit: LabUnit, data: Path, out: Path, wrist: bool = False) -> None:
        """Set up everything but the robot, which `connect` takes hold of. The truth is written to `out`.

        `wrist`: with a depth camera at the arm's wrist, `self.wrist`.
        """
        self.description = load_arm(unit.arm)
        self.rig = self.description.rig(unit.rig)
        self.unit, self.data = unit, data
        take_up(unit, SERIAL, self.description, data)
        truth = LabTruth.draw(unit.seed, len(self.description.joint_names), unit.level)
        self.truth_path = out / "truth.json"
        self.world = LabWorld(self.description, self.rig, truth, self.truth_path)
        self.clock = TurnClock(self._advance, PHYSICS_HZ)
        plant = LabPlant(self.world, nominal_calibration(self.description, SERIAL))
        self._wire = Wire()
        self.board = DofbotBoard(
            plant, np.random.default_rng([unit.seed, 2]), self.clock.now_ns(), truth.actuator(self.description),
            wire=self._wire,
        )  # fmt: skip
        face = truth.tool_from_marker(GRIPPER.markers[0].target_from_marker)
        self.renderer = LabRenderer(
            self.description, self.rig, LAB_INTRINSICS, truth.desk_from_camera(nominal_camera(self.rig)),
            out / "cache", np.random.default_rng(unit.seed), truth.camera, face,
        )  # fmt: skip
        self.painter = DeskPainter(self.renderer, LAB_INTRINSICS, truth.camera.noise_rgb, unit.seed)
        self.camera = QuickCamera(self.painter, self.world, self.clock)
        self.wrist: QuickCamera | None = None
        if wrist:
            self.wrist = QuickCamera(LabDepthEye(self.description, self.rig, truth), self.world, self.clock)
        self._hand = np.random.default_rng([unit.seed, 1])
        self.servos: ServoRobot | None = None
        self.bus: WiredDofbotBus | None = None
        self._server: RobotServer | None = None
        self.robot: DirectRobot | None = None
        self.said: list[str] = []
        self._sheet: tuple[NDArray[np.uint8], float] | None = None

    def _advance(self, now_ns: int) -> None:
        self.board.step(now_ns)
        self.world.step(1 / PHYSICS_HZ)
        for camera in self._cameras():
            camera.tick(now_ns)
        if self._server is not None:
            self._server.turn(0)

    def _cameras(self) -> list[QuickCamera]:
        return [self.camera] if self.wrist is None else [self.camera, self.wrist]

    # Robot ---------------------------------------------------------------------------------------
    def connect(self) -> DirectRobot:
        """Take hold of the arm where it stands, with the calibrations that are in force now, and serve it."""
        self.disconnect()
        calibration = ServoCalibration.load(SERIAL, self.description, self.data)
        actuator = actuator_for(SERIAL, self.description, self.data)
        self.bus = WiredDofbotBus(self._wire, self.clock)
        self.servos = ServoRobot.connect(
            self.bus, calibration, self.description, self.rig, self.clock, actuator, PERIOD_S
        )
        self.clock.await_thread()
        sockets = DirectSockets()
        self._server = RobotServer(
            self.servos, self.rig.name, PERIOD_S, sockets.endpoint, self.clock, tell=self.said.append, sockets=sockets
        )
        self.robot = DirectRobot(self._server, sockets, self.description, self.clock)
        return self.robot

    def disconnect(self) -> None:
        """Leave the arm as it stands, its torque on; without a robot nothing happens."""
        servos, server = self.servos, self._server
        self.servos = self._server = self.robot = self.bus = None
        if server is not None:
            server.close()
        if servos is not None:
            self.end(servos.close)

    def end(self, close: Callable[[], None]) -> None:
        """Call what waits for a thread of this lab to end, while time goes on for that thread."""
        helper = threading.Thread(target=close, name="closing", daemon=True)
        helper.start()
        while helper.is_alive():
            self.clock.sleep_until(self.clock.now_ns() + _STEP_NS)
            time.sleep(0.0005)

    # Stage ---------------------------------------------------------------------------------------
    def hold_up(self, camera_from_sheet: Pose | None) -> None:
        """Hold the printed board before the camera; None: put it away."""
        if camera_from_sheet is None:
            self.renderer.hold_up(None)
            return
        if self._sheet is None:
            self._sheet = sheet_print(BOARD)
        self.renderer.hold_up(HeldBoard(*self._sheet, camera_from_sheet))

    @contextmanager
    def taking_hold(self) -> Generator[Bench]:
        """Connect for as long as the context lasts."""
        try:
            robot = self.connect()
            yield Bench(robot, self.camera, self, lambda sent: robot.written_ns or sent.stamp_ns, self.place_block)
        finally:
            self.disconnect()

    def workplace(self) -> Workplace:
        """Return what a calibration has before it here."""
        return Workplace(
            SERIAL, self.description, self.rig, self.data, self.clock, DESK_CAMERA, self.taking_hold,
            settle=self.clock.await_thread, unsettle=self.end,
        )  # fmt: skip

    def place_block(self, desk_from_block: Pose | None = None) -> None:
        """Put the block there, None: somewhere else in the area; raises SimError where the arm is in the way."""
        if desk_from_block is None:
            self.world.place_block(self._hand)
            return
        x, y, _ = desk_from_block.position_m.tolist()
        self.world.place_block_at(x, y, desk_from_block.yaw_rad)

    def begin_attempt(self) -> int:
        """Watch the block from now on; return the attempt's number."""
        return self.world.begin_attempt()

    def end_attempt(self) -> None:
        """Write down what happened to it."""
        self.world.end_attempt()

    def close(self) -> None:
        """End everything."""
        self.disconnect()
        self.clock.close()
        for camera in self._cameras():
            camera.close()
        self.board.close()
        self.world.close()
