"""`tandem train-locator` from its words to its picture, stopped in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception.learned import LearnedLocator
from policies.errors import BadConfig
from scripts.train_locator import TrainLocatorArgs, run
from urdf.errors import UnknownName

SMALL = TrainLocatorArgs(scenes=200, epochs=2, workers=1, json=True)


def test_a_run_is_stopped_resumed_and_ends_with_a_locator_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))

    class Asked:
        """A Ctrl-C that came at once."""

        asked = True

        def __enter__(self) -> Asked:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr("scripts.train_locator.StopOnSignal", Asked)
        assert run(SMALL) == 130
    (folder,) = (tmp_path / "locators").iterdir()
    assert list((folder / "scenes").glob("*.npz"))
    (folder / "scenes" / ".chunk_00000.npz.tmp").write_bytes(b"what a killed worker leaves")
    assert run(TrainLocatorArgs(resume="newest", json=True)) == 0
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert said["epochs"] == 2
    assert said["median_mm"] < 100
    assert Path(said["picture"]).read_bytes()[:4] == b"\x89PNG"
    locator = LearnedLocator(folder)
    assert locator.manifest.median_error_m == pytest.approx(said["median_mm"] / 1000)
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert len(list(folder.glob("checkpoint_*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (TrainLocatorArgs(task="two-pixels"), UnknownName, "one-pixel"),
        (TrainLocatorArgs(kinds=("sonar",)), UnknownName, "depth"),
        (TrainLocatorArgs(scenes=3), BadConfig, "at least 200"),
        (TrainLocatorArgs(learning_rate=0.0), BadConfig, "learning-rate"),
        (TrainLocatorArgs(resume="yesterday"), UnknownName, "yesterday"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    args: TrainLocatorArgs, error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    with pytest.raises(error, match=said):
        run(args)
    assert not list(tmp_path.iterdir())
