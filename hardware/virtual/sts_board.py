"""StsBoard: a chain of Feetech STS3215 servos on a pseudo-terminal, each with its registers, with faults on request.

An outer loop calls `step(now_ns)`; nothing in it waits. `run_in_thread` of pty_port.py is such a loop. A servo's
acceleration is stored and not acted upon: the rack's moves begin at their speed.
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

BAUD = 1_000_000
TICKS_PER_RAD = 4096 / math.tau
#: 0.192 s per 60 deg. Ref: the STS3215's sheet at third parties.
SPEED_RAD_S = math.radians(60) / 0.192
#: From the end of a write to the motion: our estimate.
DEAD_TIME_S = 0.020
EVERYBODY = 0xFE
#: Registers below this one survive power-down, if they were written while register 55 was 0.
FIRST_VOLATILE = 40
#: What is in the registers as delivered, and where. Ref: huggingface/lerobot tables.py; Feetech's STS memory table.
DELIVERED = {3: 9, 4: 3, 7: 250, 8: 1, 11: 0xFF, 12: 0x0F, 13: 70, 14: 80, 15: 40, 40: 1, 48: 0xE8, 49: 0x03, 55: 1}


class StsBoard:
    """The chain and its adapter. `port` is what a serial driver opens; `link` gives it a name that survives unplugging.

    `temperature_c` and `current_ma` (by id) and `supply_v` are what the servos measure; `status` (by id) adds bits to
    what they say of themselves. The servos power up with their torque on. Ref: PickNikRobotics/moveit_pro_example_ws.
    """

    def __init__(
        self,
        plant: Plant,
        now_ns: int,
        servo_ids: Sequence[int] = (1, 2, 3, 4, 5, 6),
        actuator: ActuatorModel | None = None,
        link: Path | None = None,
        torque_on: bool = True,
        baud: int = BAUD,
    ) -> None:
        count = len(servo_ids)
        model = actuator or ActuatorModel((SPEED_RAD_S,) * count, dead_time_s=DEAD_TIME_S, skew_s=0.0, min_move_s=0.001)
        self.rack = ServoRack(plant, now_ns, np.full(count, TICKS_PER_RAD), model, torque_on, ServoManners())
        self.pty = PtyPort(link)
        self.faults = ChainFaults()
        self.wire = ChainWire(self.pty, baud, 0xFF, 4, self.faults)
        self.temperature_c = dict.fromkeys(servo_ids, 35)
        self.current_ma = dict.fromkeys(servo_ids, 130.0)
        self.supply_v = 7.4
        self.status = dict.fromkeys(servo_ids, 0)
        self.sync_read_stops = False
        """Whether a servo that does not answer keeps those after it from answering: nothing public says."""
        self._byte_ns = round(10e9 / baud)
        self._memory = [bytearray(128) for _ in servo_ids]
        for memory, servo_id in zip(self._memory, servo_ids, strict=True):
            for address, value in {**DELIVERED, 5: servo_id, 40: int(torque_on)}.items():
                memory[address] = value
        self._kept = [bytes(memory) for memory in self._memory]
        self._staged: dict[int, bytes] = {}

    @property
    def port(self) -> str:
        """The name of the port."""
        return self.pty.name

    def register(self, servo_id: int, address: int, count: int = 1) -> int:
        """Return what one servo holds at an address."""
        return int.from_bytes(self._memory[self._index(servo_id)][address : address + count], "little")

    def step(self, now_ns: int) -> int | None:
        """Hear, move, protect, answer: everything up to `now_ns`; return when something next happens on the wire."""
        for request in self.wire.hear(now_ns):
            match request.code:
                case 0x82:
                    self._sync_read(request)
                case 0x83:
                    self._sync_write(request)
                case _:
                    everybody = range(len(self._memory)) if request.servo_id == EVERYBODY else ()
                    for index in everybody or (self._index(request.servo_id),):
                        if index >= 0:
                            self._execute(index, request)
        self.rack.advance(now_ns)
        self._protect(now_ns)
        return self.wire.finish(now_ns)

    def restart(self, now_ns: int) -> None:
        """Take the supply away and give it back: torque comes on where each servo stands."""
        for index, kept in enumerate(self._kept):
            self._memory[index][:] = kept
            self._memory[index][40] = 1
            self.rack.set_torque(False, now_ns, index)
            self.rack.aim(index, float(self.rack.positions_ticks()[index]), 0.0, now_ns)
            self.rack.set_torque(True, now_ns, index)

    def close(self) -> None:
        """Pull the plug for good."""
        self.pty.unplug()

    # What a servo understands ----------------------------------------------------------------------
    def _index(self, servo_id: int) -> int:
        return next((i for i, memory in enumerate(self._memory) if memory[5] == servo_id), -1)

    def _execute(self, index: int, request: HeardRequest) -> None:
        params = request.params
        start_ns = request.stamp_ns + self._memory[index][7] * 2000
        servo_id = self._memory[index][5]
        match request.code:
            case 1:
                self.wire.reply(servo_id, self._told(index), start_ns)
            case 2 if len(params) == 2 and request.servo_id != EVERYBODY:
                self.wire.reply(servo_id, self._told(index, *params), start_ns)
            case 3 | 4 if len(params) >= 2:
                if request.code == 4:
                    self._staged[index] = params
                else:
                    self._write(index, params[0], params[1:], request.stamp_ns)
                if request.servo_id != EVERYBODY and self._memory[index][8]:
                    self.wire.reply(servo_id, self._told(index), start_ns)
            case 5 if index in self._staged:
                staged = self._staged.pop(index)
                self._write(index, staged[0], staged[1:], request.stamp_ns)
            case _:
                pass

    def _sync_read(self, request: HeardRequest) -> None:
        if len(request.params) < 2:
            return
        address, count, *servo_ids = request.params
        at_ns = request.stamp_ns
        for servo_id in servo_ids:
            index = self._index(servo_id)
            silent = index < 0 or servo_id in self.faults.silent_servos
            if silent and self.sync_read_stops:
                return
            at_ns += 500_000 if index < 0 else self._memory[index][7] * 2000
            if silent:  # its turn passes
                at_ns += (count + 6) * self._byte_ns
            else:
                at_ns = self.wire.reply(servo_id, self._told(index, address, count), at_ns)

    def _sync_write(self, request: HeardRequest) -> None:
        if len(request.params) < 2:
            return
        address, count, *rest = request.params
        for place in range(0, len(rest) - count, count + 1):
            index = self._index(rest[place])
            if index >= 0:
                self._write(index, address, bytes(rest[place + 1 : place + 1 + count]), request.stamp_ns)

    def _told(self, index: int, address: int = 0, count: int = 0) -> bytes:
        """Return a reply's status and what stands in `count` registers from `address`."""
        memory, servo_id = self._memory[index], self._memory[index][5]
        self._put(index, 56, self._signed(self.rack.reading_ticks(index) - self._offset(index), 15))
        self._put(index, 69, self._signed(round(self.current_ma.get(servo_id, 0.0) / 6.5), 15))
        memory[62], memory[63] = round(10 * self.supply_v), self.temperature_c.get(servo_id, 35)
        memory[65] = self._status(index)
        return bytes((memory[65],)) + bytes(memory[address : address + count])

    def _status(self, index: int) -> int:
        memory = self._memory[index]
        bits = self.status.get(memory[5], 0)
        bits |= not memory[15] <= round(10 * self.supply_v) <= memory[14]
        bits |= 4 * (self.temperature_c.get(memory[5], 35) > memory[13])
        return bits | 32 * (index + 1 in self.rack.stalled_servos)

    def _write(self, index: int, address: int, data: bytes, now_ns: int) -> None:
        memory = self._memory[index]
        if address + len(data) > len(memory):
            return
        written = range(address, address + len(data))
        memory[address : address + len(data)] = data
        if not memory[55]:
            self._kept[index] = bytes(memory[:FIRST_VOLATILE]) + self._kept[index][FIRST_VOLATILE:]
        if 43 in written:
            goal, speed = memory[42] | memory[43] << 8, memory[46] | memory[47] << 8
            target = self._unsigned(goal, 15) + self._offset(index)
            distance = abs(target - float(self.rack.setpoint_ticks[index]))
            self.rack.aim(index, target, distance / speed if speed else 0.0, now_ns)
        if 40 in written:
            self.rack.set_torque(memory[40] == 1, now_ns, index)

    def _protect(self, now_ns: int) -> None:
        """Let go where a servo is too hot; one that has stalled has let go already."""
        for index, memory in enumerate(self._memory):
            if self._status(index) & 4 and self.rack.torque_on[index]:
                self.rack.set_torque(False, now_ns, index)
            memory[40] = int(self.rack.torque_on[index])

    def _offset(self, index: int) -> int:
        memory = self._memory[index]
        return self._unsigned(memory[31] | memory[32] << 8, 11)

    def _put(self, index: int, address: int, value: int) -> None:
        self._memory[index][address], self._memory[index][address + 1] = value % 256, value // 256

    @staticmethod
    def _signed(value: int, sign: int) -> int:
        """Return a number as a magnitude with a sign bit."""
        return abs(value) + (2**sign if value < 0 else 0)

    @staticmethod
    def _unsigned(value: int, sign: int) -> int:
        """Return the number that a magnitude with a sign bit means."""
        return value if value < 2**sign else 2**sign - value
