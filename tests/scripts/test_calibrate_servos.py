"""`tandem calibrate servos` with a person at standard input and an arm without torque on a virtual board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MonotonicClock
from calibration.routines import marked_poses
from calibration.servo import ServoCalibration
from hardware.virtual.dofbot_board import BoardManners, DofbotBoard
from hardware.virtual.plant import FreePlant
from scripts.main import main
from urdf.description import load_arm

DOFBOT = load_arm("dofbot")
TRUE_ZERO = (2031.0, 1962.0, 2048.0, 1975.0, 1440.0, 2790.0)
TRUE_SCALE = (690.0, -715.0, -680.0, -700.0, 711.0, 1190.0)


class HandledPlant(FreePlant):
    """An arm that someone moves by hand."""

    def put(self, servo: int, ticks: float) -> None:
        self._position[servo] = self._sagged[servo] = ticks


@pytest.fixture
def plant() -> HandledPlant:
    return HandledPlant(MonotonicClock(), sagged_ticks=(2000, 2000, 2000, 2000, 1487, 900))


@pytest.fixture
def board(plant: HandledPlant) -> Iterator[DofbotBoard]:
    clock = MonotonicClock()
    quick = BoardManners(read_s=(0.005, 0.008))  # 57 readings are too many to wait for
    board = DofbotBoard(plant, np.random.default_rng(5), clock.now_ns(), manners=quick, torque_on=True)
    with board.run_in_thread(clock):
        yield board
    board.close()


def calibrate(board: DofbotBoard, data: Path, plant: HandledPlant, stop_after: int | None = None) -> tuple[int, str]:
    """Play the person: put each joint where the program says, then press Enter; return the exit code and stdout."""
    words = [sys.executable, "-m", "scripts.main", "calibrate", "servos", "--port", board.port, "--robot", "unit1"]
    poses = {f"Put {p.text} and": p for p in marked_poses(DOFBOT)}
    done = 0
    with subprocess.Popen(
        [*words, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TANDEM_DATA": str(data)},
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            pose = next((p for text, p in poses.items() if line.startswith(text)), None)
            if pose is not None:
                time.sleep(0.02)  # the torque frame may still be on the wire
                assert board.torque_on == (False,) * 6
                if done == stop_after:
                    process.stdin.write("q\n")
                    process.stdin.flush()
                    continue
                plant.put(pose.joint, round(TRUE_ZERO[pose.joint] + TRUE_SCALE[pose.joint] * pose.angle_rad))
                done += 1
            if "[Enter" in line:
                process.stdin.write("\n")
                process.stdin.flush()
        out = process.stdout.read()
    return process.returncode, out


def test_a_person_calibrates_a_unit_stops_half_way_and_goes_on(
    board: DofbotBoard, plant: HandledPlant, tmp_path: Path
) -> None:
    code, out = calibrate(board, tmp_path, plant, stop_after=8)
    assert code == 130
    assert out == ""
    assert not (tmp_path / "robots" / "unit1" / "calibration" / "servo.json").exists()
    code, out = calibrate(board, tmp_path, plant)
    assert code == 0
    result = json.loads(out.strip().splitlines()[-1])
    assert result["path"] == str(tmp_path / "robots" / "unit1" / "calibration" / "servo.json")
    calibration = ServoCalibration.load("unit1", DOFBOT, tmp_path)
    np.testing.assert_allclose([j.zero_ticks for j in calibration.joints], TRUE_ZERO, atol=0.6)
    np.testing.assert_allclose(list(result["ticks_per_rad"].values()), TRUE_SCALE, atol=0.8)
    assert board.torque_on == (False,) * 6
    assert not [f for f in board.heard if f.command == 0x1D or 0x11 <= f.command <= 0x16]  # nothing was ever moved


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--board-turn-deg", "nan"], "--board-turn-deg"),
        (["--board-at-mm", "0", "inf"], "--board-at-mm"),
        (["--marker-at-mm", "nan", "nan", "nan"], "--marker-at-mm"),
        (["--marker-rpy-deg", "nan", "0", "0"], "--marker-rpy-deg"),
    ],
)
def test_places_that_are_no_numbers_are_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "servos", "--robot", "lab", "--camera", "robot", *words]) == 2
    assert says in capsys.readouterr().err
