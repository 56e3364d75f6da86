"""The `tandem` command as people meet it: exit codes, messages, speed."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.errors import PolicyMismatch, RobotLost
from calibration.errors import BadArtifact, RoutineStopped
from hardware.errors import NoReply, PortBusy
from perception.errors import PerceptionError
from policies.errors import CheckpointError
from scripts import main as tandem
from scripts.commands import Command
from scripts.exit_codes import EXIT_CODES, describe
from sim.errors import SimError
from urdf.errors import ArmError, Unreachable

ROOT = Path(__file__).parent.parent.parent
#: Where the parser misses what is needed before it sees what it does not know.
NEEDED = {
    "board make": ["charuco"],
    "board measured": ["charuco", "--across-mm", "150", "--down-mm", "200"],
    "episodes import": ["dataset"],
    "keys new": ["laptop"],
    "keys revoke": ["laptop"],
}


def run_tandem(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.main", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_help_names_every_command_and_answers_within_a_second() -> None:
    started = time.monotonic()
    done = run_tandem("--help")
    took_s = time.monotonic() - started
    assert done.returncode == 0
    for name in tandem.COMMANDS:
        assert f"  {name} " in done.stdout
    assert took_s < 1.0


def test_no_command_prints_the_help_and_is_bad_input() -> None:
    done = run_tandem()
    assert done.returncode == 2
    assert "usage: tandem" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "nearest"), [(("trian",), "train"), (("calibrate", "servo"), "calibrate servos"), (("labb", "-x"), "lab")]
)
def test_an_unknown_command_lists_the_valid_ones_nearest_first(words: tuple[str, ...], nearest: str) -> None:
    done = run_tandem(*words)
    assert done.returncode == 2
    assert f"nearest first: {nearest}, " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert re.search(r" and \d\d more$|servos, calibrate ", done.stderr.strip())


@pytest.mark.parametrize("name", list(tandem.COMMANDS))
def test_each_command_explains_itself_and_takes_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tandem.main([*name.split(), "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: tandem {name}" in shown
    assert "--json" in shown
    assert not re.search(r"\(default: (None|''|)\)|^usage: .*\bSTR\b[^-]*$", shown, re.MULTILINE)
    assert ("{None}" in shown) is (name == "train")  # where a setting that is on can be turned off


def test_help_flows_to_the_width_of_the_terminal_and_says_no_python(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        tandem.main(["doctor", "--help"])
    shown = capsys.readouterr().out
    assert "at its servos unless it is being served, and at the link if it is. (optional)" in shown
    assert re.search(
        r"--key PATH +Our key file, where the arm is served with keys. Default: as robot.toml says. ", shown
    )
    assert "--bus {dofbot-serial,dofbot-i2c,lx16a,sts,pca9685}" in shown


def test_a_group_of_commands_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["keys"]) == 2
    assert "tandem keys revoke" in capsys.readouterr().err
    assert tandem.main(["episodes", "--help"]) == 0
    said = capsys.readouterr().out
    assert "tandem episodes repair" in said
    assert "tandem train" not in said
    assert tandem.main(["keys", "revok"]) == 2
    assert "nearest first: keys revoke" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["keys", "list", "--help"]])
def test_a_reader_that_has_seen_enough_is_no_defect(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "scripts.main", *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("name", list(tandem.COMMANDS))
def test_an_unknown_option_is_bad_input(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tandem.main([*name.split(), *NEEDED.get(name, ()), "--no-such-option"])
    assert caught.value.code == 2
    assert "no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ArmError("arm.toml: no joints"), 2),
        (PolicyMismatch("made for another arm"), 2),
        (FileNotFoundError(2, "No such file or directory", "missing.toml"), 2),
        (OSError(28, "No space left on device", "replay.npz"), 1),
        (Unreachable((0.5, 0.0, 0.0), 0.1, None), 1),
        (RobotLost("no answer for 1 s"), 1),
        (PortBusy("the port is held by another process"), 2),
        (NoReply("servo 3 did not answer"), 1),
        (BadArtifact("servo.json: truncated"), 2),
        (RoutineStopped("stopped before it was complete"), 130),
        (PerceptionError("no marker"), 1),
        (CheckpointError("no usable checkpoint"), 2),
        (SimError("no such field"), 2),
        (ModuleNotFoundError("No module named 'torch'", name="torch.nn"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_typed_errors_become_one_line_and_an_exit_code(
    error: BaseException, exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_words: object) -> int:
        raise error

    monkeypatch.setitem(tandem.COMMANDS, "train", Command("fail", fail))
    assert tandem.main(["train"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tandem train: ")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        "mirror --seconds 1",
        "run --episodes 0",
        "lab --seed -1",
        "camera view --seconds 0",
        "jog --port X --bus dofbot-i2c --servo-ids 9",
    ],
)
def test_wrong_arguments_are_told_on_stderr_by_the_commands_name(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert tandem.main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"tandem {words.partition(' -')[0]}: --")


def errors_of_the_rooms() -> dict[str, type[Exception]]:
    rooms = ("urdf", "bridge", "hardware", "calibration", "perception", "policies", "sim")
    return {
        f"{module}.{name}": kind
        for module in (*(f"{room}.errors" for room in rooms), "scripts.programs.model_errors")
        for name, kind in vars(importlib.import_module(module)).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module
    }


def test_every_error_of_every_room_has_an_exit_code_and_every_code_an_error() -> None:
    kinds = errors_of_the_rooms()
    assert [
        n
        for n, kind in kinds.items()
        if not any(f"{k.__module__}.{k.__qualname__}" in EXIT_CODES for k in kind.__mro__)
    ] == []
    assert set(EXIT_CODES) <= set(kinds)


def test_the_line_names_the_missing_file_and_the_missing_extra() -> None:
    missing = describe(FileNotFoundError(2, "No such file or directory", "missing.toml"))
    assert missing is not None
    assert "missing.toml" in missing.line
    extra = describe(ModuleNotFoundError("No module named 'pybullet'", name="pybullet"))
    assert extra is not None
    assert "tandem-arm[workstation]" in extra.line


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_words: object) -> int:
        raise ZeroDivisionError("a defect")

    monkeypatch.setitem(tandem.COMMANDS, "train", Command("fail", fail))
    with pytest.raises(ZeroDivisionError):
        tandem.main(["train"])
    assert describe(ModuleNotFoundError("No module named 'scripts.gone'", name="scripts.gone")) is None
