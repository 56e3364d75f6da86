"""What docs/raspberry-pi.md and the systemd unit tell people to type is what the commands take."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import commands as commands_of_tandem
from scripts import main as tandem
from scripts.serve import ServeArgs

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "raspberry-pi.md"
UNIT = ROOT / "scripts" / "tandem-serve@.service"


class Parsed(Exception):
    """The words were understood."""

    def __init__(self, args: object) -> None:
        self.args_object = args


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Return what a command line is understood as, without running it."""
    real = commands_of_tandem._parse

    def stop(name: str, kind: type[object], rest: list[str]) -> object:
        raise Parsed(real(name, kind, rest))

    with monkeypatch.context() as patch:
        patch.setattr(commands_of_tandem, "_parse", stop)
        name, rest = tandem.find_command(words)
        with pytest.raises(Parsed) as caught:
            tandem.COMMANDS[name].run(rest)
    return caught.value.args_object


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("tandem ")]


def test_the_page_has_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_page_is_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse(shlex.split(line)[1:], monkeypatch)


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNIT)
    return parser


def test_the_unit_serves_and_leaves_the_arm_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    start = unit()["Service"]["ExecStart"].replace("%i", "my-arm").replace("$TANDEM_SERVE_OPTIONS", "--keys")
    program, *words = shlex.split(start)
    assert program.endswith("/tandem")
    args = parse(words, monkeypatch)
    assert isinstance(args, ServeArgs)
    assert (args.robot, args.on_exit, args.keys) == ("my-arm", "hold", True)


def test_the_options_may_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    start = unit()["Service"]["ExecStart"].replace("%i", "my-arm").replace("$TANDEM_SERVE_OPTIONS", "--on-exit relax")
    args = parse(shlex.split(start)[1:], monkeypatch)
    assert isinstance(args, ServeArgs)
    assert args.on_exit == "relax"


def test_the_unit_starts_again_after_a_failure_only_and_not_for_ever() -> None:
    assert unit()["Service"]["Restart"] == "on-failure"
    assert unit()["Service"]["RestartPreventExitStatus"] == "2"  # wrong options or files, no port
    assert (unit()["Unit"]["StartLimitBurst"], unit()["Unit"]["StartLimitIntervalSec"]) == ("3", "60")


def test_the_unit_works_in_a_folder_that_it_may_write_to() -> None:
    """lgpio makes a pipe in the working directory when it is imported: without one there is no stop button."""
    service = unit()["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["WorkingDirectory"] == f"/run/{service['RuntimeDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/tandem/venv/bin/tandem", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
