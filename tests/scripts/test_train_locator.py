"""`tandem train-locator` from its words to its picture, stopped in between."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from perception.errors import LocatorUnfit
from perception.learned import LearnedLocator
from policies.errors import BadConfig
from scripts.train_locator import TrainLocatorArgs, run
from urdf.description import load_arm
from urdf.errors import UnknownName

SMALL = TrainLocatorArgs(scenes=200, epochs=2, workers=1, json=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The folder of a run that was stopped at once and resumed, and the JSON line it ended with."""
    data = tmp_path_factory.mktemp("data")

    class Asked:
        """A Ctrl-C that came at once."""

        asked = True

        def __enter__(self) -> Asked:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv("TANDEM_DATA", str(data))
        with pytest.MonkeyPatch.context() as stopped:
            stopped.setattr("scripts.train_locator.StopOnSignal", Asked)
            assert run(SMALL) == 130
        (folder,) = (data / "locators").iterdir()
        assert list((folder / "scenes").glob("*.npz"))
        assert not (folder / "manifest.json").exists()
        (folder / "scenes" / ".chunk_00000.npz.tmp").write_bytes(b"what a killed worker leaves")
        assert run(TrainLocatorArgs(resume="newest", json=True)) == 0
    return folder, json.loads(out.getvalue().strip().splitlines()[-1])


@pytest.mark.deep
def test_a_run_that_was_stopped_goes_on_to_a_locator_and_a_picture(trained: tuple[Path, dict[str, object]]) -> None:
    folder, said = trained
    assert said["epochs"] == 2
    assert isinstance(said["median_mm"], float)
    assert said["median_mm"] < 100
    assert Path(str(said["picture"])).read_bytes()[:4] == b"\x89PNG"
    locator = LearnedLocator(folder)
    assert locator.manifest.median_error_m == pytest.approx(said["median_mm"] / 1000)
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert len(list(folder.glob("checkpoint_*.safetensors"))) == 1


@pytest.mark.deep
def test_another_arm_or_camera_and_a_damaged_folder_are_refused(
    trained: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    folder, _ = trained
    locator, arm = LearnedLocator(folder), load_arm("dofbot")
    rig = arm.rig("table")
    locator.check(arm, "table", arm.camera("wrist", rig))
    with pytest.raises(LocatorUnfit, match="camera 'wrist', here it is 'wrist_reference'"):
        locator.check(arm, "table", arm.camera("wrist_reference", rig))
    with pytest.raises(LocatorUnfit, match="arm 'dofbot', here it is 'ur5'"):
        locator.check(load_arm("ur5"), "table", arm.camera("wrist", rig))
    for name in ("manifest.json", "locator.onnx", "golden.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    onnx = tmp_path / "locator.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"x")
    with pytest.raises(LocatorUnfit, match=r"locator\.onnx is not the file"):
        LearnedLocator(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(LocatorUnfit, match="tandem train-locator"):
        LearnedLocator(tmp_path)


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
