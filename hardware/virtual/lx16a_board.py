"""Lx16aBoard: a chain of LX-16A servos on a pseudo-terminal, each answering by itself, with faults on request.

An outer loop calls `step(now_ns)`; nothing in it waits. `run_in_thread` of pty_port.py is such a loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibration.actuator import ActuatorModel
from hardware.virtual.chain_wire import ChainFaults, ChainWire, HeardRequest
from hardware.virtual.plant import Plant
from hardware.virtual.pty_port import PtyPort
from hardware.virtual.servo_rack import ServoManners, ServoRack

BAUD = 115200
TICKS_PER_RAD = 1000 / math.radians(240)
#: Ref: Hiwonder's LX-16A sheet, 0.16 s per 60 deg at 7.4 V.
SPEED_RAD_S = math.radians(60) / 0.16
#: From the end of a move's frame to the motion, and from the end of a request to the reply: our estimates.
DEAD_TIME_S, RETURN_DELAY_S = 0.020, 0.0005
HIGHEST_TICKS, LONGEST_MS, EVERYBODY = 1000, 30_000, 0xFE


class Lx16aBoard:
    """The chain and its adapter. `port` is what a serial driver opens; `link` gives it a name that survives unplugging.

    `temperature_c` (by id) and `supply_v` are what the servos measure; beyond their limits they unload themselves.
    """

    def __init__(
        self,
        plant: Plant,
        now_ns: int,
        servo_ids: Sequence[int] = (1, 2, 3, 4, 5, 6),
        actuator: ActuatorModel | None = None,
        link: Path | None = None,
        torque_on: bool = False,
    ) -> None:
        count = len(servo_ids)
        model = actuator or ActuatorModel((SPEED_RAD_S,) * count, dead_time_s=DEAD_TIME_S, skew_s=0.0, min_move_s=0.001)
        manners = ServoManners(stall_ticks=15.0, still_ticks=2.0)
        self.rack = ServoRack(plant, now_ns, np.full(count, TICKS_PER_RAD), model, torque_on, manners)
        self.pty = PtyPort(link)
        self.faults = ChainFaults()
        self.wire = ChainWire(self.pty, BAUD, 0x55, 3, self.faults)
        self.temperature_c = dict.fromkeys(servo_ids, 35)
        self.supply_v = 7.4
        self.refused = 0
        self._index = {servo_id: i for i, servo_id in enumerate(servo_ids)}
        self._offset = [0] * count
        self._kept_offset = [0] * count
        self._hottest_c = [85] * count
        self._supply_mv = [(4500, 12000)] * count
        self._waiting: dict[int, tuple[int, int]] = {}

    @property
    def port(self) -> str:
        """The name of the port."""
        return self.pty.name

    def step(self, now_ns: int) -> int | None:
        """Hear, move, protect, answer: everything up to `now_ns`; return when something next happens on the wire."""
        for request in self.wire.hear(now_ns):
            if request.servo_id == EVERYBODY:
                for servo_id in tuple(self._index):
                    self._write(servo_id, request)
            elif request.servo_id in self._index:
                self._execute(request)
        self.rack.advance(now_ns)
        self._protect(now_ns)
        return self.wire.finish(now_ns)

    def restart(self, now_ns: int) -> None:
        """Take the supply away and give it back: the servos forget what they were not told to keep."""
        self.rack.set_torque(False, now_ns)
        self._offset = list(self._kept_offset)
        self._waiting.clear()

    def close(self) -> None:
        """Pull the plug for good."""
        self.pty.unplug()

    # What a servo understands ----------------------------------------------------------------------
    def _execute(self, request: HeardRequest) -> None:
        index = self._index[request.servo_id]
        match request.code:
            case 14:
                answer = (request.servo_id,)
            case 19:
                answer = (self._offset[index] % 256,)
            case 23:
                answer = tuple(b for mv in self._supply_mv[index] for b in (mv % 256, mv // 256))
            case 25:
                answer = (self._hottest_c[index],)
            case 26:
                answer = (self.temperature_c[request.servo_id],)
            case 27:
                answer = divmod(round(1000 * self.supply_v), 256)[::-1]
            case 28:
                stands = (self.rack.reading_ticks(index) - self._offset[index]) % 65536
                answer = (stands % 256, stands // 256)
            case 32:
                answer = (int(self.rack.torque_on[index]),)
            case _:
                self._write(request.servo_id, request)
                return
        if not request.params:
            body = bytes((request.code, *answer))
            self.wire.reply(request.servo_id, body, request.stamp_ns + round(RETURN_DELAY_S * 1e9))

    def _write(self, servo_id: int, request: HeardRequest) -> None:
        index, params = self._index[servo_id], request.params
        match request.code, len(params):
            case (1, 4):
                self._move(index, params[0] + 256 * params[1], params[2] + 256 * params[3], request.stamp_ns)
            case (7, 4):
                self._waiting[index] = (params[0] + 256 * params[1], params[2] + 256 * params[3])
            case (11, 0) if index in self._waiting:
                self._move(index, *self._waiting.pop(index), request.stamp_ns)
            case (12, 0):
                self.rack.aim(index, float(self.rack.setpoint_ticks[index]), 0.0, request.stamp_ns)
            case (13, 1) if params[0] < EVERYBODY:
                del self._index[servo_id]
                self._index[params[0]] = index
                self.temperature_c[params[0]] = self.temperature_c.pop(servo_id)
            case (17, 1):
                self._offset[index] = params[0] - 256 * (params[0] > 127)
            case (18, 0):
                self._kept_offset[index] = self._offset[index]
            case (31, 1):
                self.rack.set_torque(params[0] != 0, request.stamp_ns, index)
            case _:
                self.refused += 1

    def _move(self, index: int, ticks: int, move_ms: int, now_ns: int) -> None:
        if ticks > HIGHEST_TICKS or move_ms > LONGEST_MS:
            self.refused += 1
            return
        self.rack.aim(index, ticks + self._offset[index], move_ms / 1000, now_ns)

    def _protect(self, now_ns: int) -> None:
        """Unload the servos that are too hot or badly supplied."""
        for servo_id, index in self._index.items():
            low, high = self._supply_mv[index]
            fit = self.temperature_c[servo_id] < self._hottest_c[index] and low <= 1000 * self.supply_v <= high
            if not fit and self.rack.torque_on[index]:
                self.rack.set_torque(False, now_ns, index)
