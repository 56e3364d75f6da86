"""`tandem keys`: what a person is told to do with a new key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.keys import KeyRing
from scripts.main import main
from scripts.programs.legacy_serving import revoke_left_behind


def test_a_new_key_comes_with_the_command_that_carries_it_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TANDEM_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "new", "laptop"]) == 0
    key = tmp_path / "data" / "keys" / "clients" / "laptop.json"
    assert f"scp -p THIS_MACHINE:{key} data/keys/" in capsys.readouterr().out
    assert key.stat().st_mode & 0o077 == 0


def test_the_key_of_a_killed_servers_stream_opens_no_door_and_is_nobodys_to_carry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ring = KeyRing(tmp_path / "keys")
    alive = f"legacy-{os.getppid()}"
    for name in ("laptop", alive, f"legacy-{gone.pid}", "legacy-desk"):
        ring.new(name)
    revoke_left_behind(ring)
    assert set(ring.allowed().values()) == {"laptop", alive, "legacy-desk"}
    assert main(["keys", "list"]) == 0
    carry = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "carry it away" in line]
    assert carry == ["laptop", "legacy-desk"]
