"""`tandem keys`: what a person is told to do with a new key."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.main import main


def test_a_new_key_comes_with_the_command_that_carries_it_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TANDEM_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "new", "laptop"]) == 0
    key = tmp_path / "data" / "keys" / "clients" / "laptop.json"
    assert f"scp -p THIS_MACHINE:{key} data/keys/" in capsys.readouterr().out
    assert key.stat().st_mode & 0o077 == 0
