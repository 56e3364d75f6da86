"""`tandem randomize`: the list of ranges and the contact sheet."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import randomize
from scripts.programs.contact_sheet import COLUMNS, ROWS, SHOWN_PX, colored, tile_corner_px
from scripts.randomize import RandomizeArgs
from sim.errors import SimError
from sim.randomization import HARD, LIMITS, MILD
from sim.studio import Studio
from urdf.errors import UnknownName


def tiles(sheet: np.ndarray) -> set[bytes]:
    corners = [tile_corner_px(index) for index in range(COLUMNS * ROWS)]
    return {sheet[y : y + SHOWN_PX, x : x + 2 * SHOWN_PX].tobytes() for x, y in corners}


def test_the_sheet_shows_thirty_two_different_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert randomize.run(RandomizeArgs(preview=True, seed=7, json=True)) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    path = tmp_path / "pictures" / "randomization_dofbot_hard.png"
    assert result["path"] == str(path)
    assert len(result["draws"]) == COLUMNS * ROWS == 32
    assert result["draws"][0] == pytest.approx(HARD.sample(np.random.default_rng(7), 6).as_info())
    for cube, draw in zip(result["cubes"], result["draws"], strict=True):
        assert cube["size_m"] == pytest.approx(0.030 * draw["scene.object_size_factor"], abs=0.001)
        # The density of the 30 g block of 30 mm, so that a small cube is a light one.
        nominal_kg = 0.030 * (cube["size_m"] / 0.030) ** 3
        assert cube["mass_kg"] == pytest.approx(nominal_kg * draw["scene.object_mass_factor"])
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert len(tiles(np.asarray(Image.open(path)))) == 32


def test_at_no_strength_every_episode_is_the_nominal_world(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "none.png"
    assert randomize.run(RandomizeArgs(preview=True, rig="hanging", strength=0.0, out=path)) == 0
    assert len(tiles(np.asarray(Image.open(path)))) == 1


def test_the_same_seed_gives_the_same_pictures() -> None:
    taken = []
    for seed in (5, 5, 6):
        studio = Studio("dofbot", "table", "wrist", 32, 32, HARD)
        taken.append([(s.rgb.tobytes(), s.depth_m.tobytes()) for s in itertools.islice(studio.samples(seed), 3)])
        studio.close()
    assert taken[0] == taken[1]
    assert not set(taken[0]) & set(taken[2])


def test_without_preview_the_ranges_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert randomize.run(RandomizeArgs(preset="mild", json=True)) == 0
    captured = capsys.readouterr()
    assert all(f"  {name} " in captured.err for name in LIMITS)
    ranges = json.loads(captured.out)["ranges"]
    assert ranges["object_mass_factor"] == {"low": MILD.object_mass_factor.low, "high": MILD.object_mass_factor.high}
    assert set(ranges) == set(LIMITS)


def test_bad_input_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    good = RandomizeArgs(preview=True, out=tmp_path / "sheet.png")
    for bad in (
        replace(good, preset="herd"), replace(good, arm="dofbott"), replace(good, rig="tabel"),
        replace(good, camera="wirst"),
    ):  # fmt: skip
        with pytest.raises(UnknownName):
            randomize.run(bad)
    with pytest.raises(SimError, match="strength"):
        randomize.run(replace(good, strength=2.0))
    assert list(tmp_path.iterdir()) == []


def test_near_is_bright_far_is_dark_and_a_hole_is_neither() -> None:
    row = colored(np.array([[0.1, 0.2, 0.3, 0.0]], dtype=np.float32), (0.1, 0.3))[0].astype(int)
    brightness = row.sum(axis=1)
    assert brightness[0] > brightness[1] > brightness[2]
    assert row[3, 0] > 200 > row[3, 1]
