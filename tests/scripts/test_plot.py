"""`tandem plot` on run folders that are written by hand: who is grouped, the numbers, the picture, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from policies.evaluation import wilson_interval
from scripts import main as tandem
from scripts.programs.run_curves import Line, across, group_runs, read_run, wilson_band

#: (decisions, minutes, successes, episodes)
Judged = tuple[int, float, int, int]
EARLY: tuple[Judged, ...] = ((1000, 1.0, 2, 16), (2000, 2.0, 48, 50), (3000, 4.0, 50, 50))
LATE: tuple[Judged, ...] = ((1000, 1.5, 0, 16), (2000, 3.0, 30, 50))


def write_run(
    data: Path,
    preset: str = "grasp",
    seed: int = 0,
    judged: tuple[Judged, ...] = EARLY,
    ended: tuple[int, int] | None = None,
    temperature: float = 0.1,
    **settings: object,
) -> Path:
    folder = data / "runs" / "grasp" / f"20260101T00000{seed}Z_{preset}_{len(settings)}_seed{seed}"
    folder.mkdir(parents=True)
    config = {"schema": 1, "preset": preset, "rig": "table", "seed": seed, "git_commit": f"{seed}", "versions": {}}
    train = {"task": "grasp", "learner": {"name": "sac", "rate": 0.001}, "network": [64, 64], **settings}
    (folder / "config.json").write_text(json.dumps({**config, "train": train, "started_utc": f"2026{seed}"}))
    with (folder / "metrics.jsonl").open("w") as file:
        for decisions, minutes, successes, episodes in judged:
            file.write(json.dumps({
                "kind": "train", "decisions": decisions, "episodes": 1, "updates": 1, "wall_s": 60 * minutes,
                "success_rate": 0.5, "mean_return": 1.0, "mean_decisions": 16.0,
                "learner": {"temperature": temperature},
            }) + "\n")  # fmt: skip
            file.write(json.dumps({
                "kind": "evaluation", "decisions": decisions, "wall_s": 60 * minutes, "successes": successes,
                "episodes": episodes, "mean_return": 1.5, "mean_decisions": 16.0,
            }) + "\n")  # fmt: skip
    if ended is not None:
        record = {"wall_s": 300.0, "decisions": 3000, "successes": ended[0], "evaluated_episodes": ended[1]}
        (folder / "run.json").write_text(json.dumps({**record, "end": "success", "config": config}))
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def plotted(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, list[dict[str, object]]]:
    assert tandem.main(["plot", *map(str, words), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


# Numbers ------------------------------------------------------------------------------------------
def test_the_mean_is_taken_where_all_runs_are_and_nothing_is_continued() -> None:
    one = Line(np.array([0.0, 10.0, 20.0]), np.array([0.0, 1.0, 1.0]))
    two = Line(np.array([5.0, 15.0]), np.array([0.2, 0.6]))
    band = across([one, two])
    # At 5 and 15 the second's own points, at 10 the first's: the other is half-way between its neighbours.
    assert band.x.tolist() == [5.0, 10.0, 15.0]
    assert band.middle == pytest.approx([(0.5 + 0.2) / 2, (1.0 + 0.4) / 2, (1.0 + 0.6) / 2])
    assert band.low == pytest.approx(band.middle), "two have no band"
    three = Line(np.array([0.0, 20.0]), np.array([0.5, 0.5]))
    band = across([one, two, three])
    # Student's t at two degrees of freedom is 4.30265; at 5 the three are 0.5, 0.2 and 0.5.
    half = 4.302653 * np.sqrt(0.03) / np.sqrt(3)
    assert (band.low[0], band.high[0]) == pytest.approx((0.4 - half, 0.4 + half), rel=1e-4)


def test_runs_that_do_not_overlap_have_no_mean() -> None:
    band = across([Line(np.array([1.0, 2.0]), np.zeros(2)), Line(np.array([3.0]), np.ones(1))])
    assert band.x.size == 0


def test_the_band_of_one_run_is_wilsons(data: Path) -> None:
    band = wilson_band(read_run(write_run(data)).evaluations, "minutes")
    assert band.x.tolist() == [1.0, 2.0, 4.0]
    assert band.middle == pytest.approx([0.125, 0.96, 1.0])
    for k, (successes, episodes) in enumerate(((2, 16), (48, 50), (50, 50))):
        expected = binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
        assert (band.low[k], band.high[k]) == pytest.approx((expected.low, expected.high))


def test_two_seeds_are_one_group_and_their_figures_are_the_mean_and_its_interval(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_run(data, seed=0, ended=(97, 100)), write_run(data, seed=1, judged=LATE)
    shown = plotted(capsys, first, second)
    (group,) = shown["groups"]
    assert group["label"] == "grasp (seeds 0, 1)"
    assert group["settings"] == {}
    assert group["final_success"] == pytest.approx((0.97 + 0.60) / 2)
    assert (group["final_low"], group["final_high"]) == (0.0, 1.0), "two runs so far apart say nothing"
    assert group["interval"] == "95 % confidence interval of the mean of 2 runs"
    assert group["minutes_to_95"] is None, "one of the two never got there"
    one, two = json.loads(json.dumps(group["runs"]))
    assert (one["finished"], one["final_of"], one["minutes"], one["minutes_to_95"]) == (
        True, "exported policy", 5.0, 2.0,
    )  # fmt: skip
    assert (two["finished"], two["final_of"], two["minutes"], two["minutes_to_95"]) == (
        False, "last evaluation", 3.0, None,
    )  # fmt: skip
    assert (two["successes"], two["episodes"], two["decisions"], two["evaluations"]) == (30, 50, 2000, 2)
    assert (two["wilson_low"], two["wilson_high"]) == pytest.approx(wilson_interval(30, 50))


def test_the_ending_of_a_run_that_was_resumed_since_does_not_count(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(data, judged=(*EARLY, (4000, 6.0, 45, 50)), ended=(97, 100))  # which ended after 3,000
    (group,) = plotted(capsys, folder)["groups"]
    (one,) = json.loads(json.dumps(group["runs"]))
    assert (one["finished"], one["decisions"], one["final_success"]) == (False, 4000, 0.9)


def test_a_run_with_a_longer_budget_is_no_other_setting_and_is_called_by_preset_and_algorithm(data: Path) -> None:
    folders = (
        write_run(data, seed=0, algo="sac", max_decisions=9_000),
        write_run(data, seed=1, algo="sac", max_decisions=3_000),
        write_run(data, seed=2, algo="ppo", max_decisions=3_000),
    )
    groups = group_runs([read_run(folder) for folder in folders])
    assert [group.label for group in groups] == ["grasp, sac (seeds 0, 1)", "grasp, ppo (seed 2)"]


def test_minutes_to_95_are_the_mean_when_every_run_got_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(data, seed=0)
    write_run(data, seed=1, judged=((1000, 7.0, 19, 20),))
    names = [path.name for path in (data / "runs" / "grasp").iterdir()]
    (group,) = plotted(capsys, *names)["groups"]
    assert group["minutes_to_95"] == pytest.approx((2.0 + 7.0) / 2)


def test_other_presets_and_other_settings_are_groups_of_their_own(data: Path) -> None:
    folders = (
        write_run(data, "grasp", 0),
        write_run(data, "reach", 0),
        write_run(data, "grasp", 1, learner={"name": "ppo", "rate": 0.001}),
        write_run(data, "grasp", 2),
    )
    groups = group_runs([read_run(folder) for folder in folders])
    assert [[run.folder for run in group.runs] for group in groups] == [
        [folders[0], folders[3]], [folders[1]], [folders[2]],
    ]  # fmt: skip
    assert [group.label for group in groups] == [
        "grasp, name sac (seeds 0, 2)", "reach (seed 0)", "grasp, name ppo (seed 1)",
    ]  # fmt: skip
    assert groups[2].differing == {"preset": "grasp", "train.learner.name": "ppo"}


def test_a_setting_that_another_run_does_not_know_tells_them_apart(data: Path) -> None:
    old, new = write_run(data, seed=0), write_run(data, seed=1, clip=0.2)
    groups = group_runs([read_run(old), read_run(new)])
    assert [group.label for group in groups] == ["grasp, clip - (seed 0)", "grasp, clip 0.2 (seed 1)"]


def test_lists_are_told_in_words(data: Path) -> None:
    runs = [write_run(data, seed=0), write_run(data, seed=1, demonstrations=["one.mcap", "two.mcap"])]
    assert [group.label for group in group_runs([read_run(run) for run in runs])] == [
        "grasp, no demonstrations (seed 0)", "grasp, demonstrations one.mcap,two.mcap (seed 1)",
    ]  # fmt: skip


def test_what_was_no_setting_yet_had_its_default_and_how_long_it_went_on_is_no_setting(data: Path) -> None:
    old, new = write_run(data, seed=1), write_run(data, seed=0, distractors=0, max_decisions=70)
    (group,) = group_runs([read_run(old), read_run(new)])
    assert group.label == "grasp (seeds 0, 1)"


# The picture --------------------------------------------------------------------------------------
def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_picture_shows_the_data(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    early, late = write_run(data, seed=0), write_run(data, seed=1, judged=LATE)
    first, again, second = (tmp_path / f"{name}.png" for name in ("first", "again", "second"))
    for folder, out in ((early, first), (early, again), (late, second)):
        assert plotted(capsys, folder, "--out", out)["file"] == str(out)
    assert pixels(first).shape[1] > 1200
    assert (pixels(first) == pixels(again)).all()
    assert (pixels(first) != pixels(second)).any(axis=2).mean() > 0.005


def test_an_algorithm_without_a_temperature_has_no_panel_for_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plotted(capsys, write_run(data, seed=0), "--out", tmp_path / "with.svg")
    plotted(capsys, write_run(data, seed=1, temperature=0.0), "--out", tmp_path / "without.svg")
    assert "temperature" in (tmp_path / "with.svg").read_text()
    assert "temperature" not in (tmp_path / "without.svg").read_text()


def test_the_picture_is_named_after_its_runs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_run(data, seed=0), write_run(data, seed=1)
    assert plotted(capsys)["file"] == str(data / "plots" / f"{second.name}.png"), "the newest, unless told"
    both = plotted(capsys, first.name, "newest", first)["file"]
    assert both == str(data / "plots" / f"{first.name}+{second.name}.png"), "a run that is named twice is one run"
    many = [write_run(data, f"{'long' * 9}{k}", k) for k in range(5)]
    name = Path(str(plotted(capsys, *many)["file"])).name
    assert len(name) < 255
    assert "+4_more_" in name


def test_people_get_sentences(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(data, ended=(100, 100))
    assert tandem.main(["plot", "newest"]) == 0
    shown = capsys.readouterr().out
    assert "grasp (seed 0): 100.0 % (96.3-100.0 %, 95 % Wilson), 95 % after 2.0 minutes" in shown
    assert "Picture: " in shown


# Bad input ----------------------------------------------------------------------------------------
def refused(data: Path, capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Return the one line of a refusal that wrote nothing."""
    before = sorted(data.parent.rglob("*"))
    assert tandem.main(["plot", *map(str, words), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sorted(data.parent.rglob("*")) == before
    (line,) = captured.err.splitlines()
    return line


def test_unknown_runs_are_bad_input(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown run 'newest'" in refused(data, capsys)
    folder = write_run(data)
    assert f"nearest first: grasp/{folder.name}" in refused(data, capsys, folder, folder.name[:-1])


@pytest.mark.parametrize("content", [None, ""])
def test_a_run_without_an_evaluation_is_bad_input(
    content: str | None, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(data, judged=())
    metrics = folder / "metrics.jsonl"
    metrics.unlink() if content is None else metrics.write_text(content)
    assert "no evaluation yet" in refused(data, capsys, folder.name)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        ('{"kind":"train","deci', "the last line is cut off, as a crash leaves it"),
        ('{"kind":"evaluation"}\n', "missing required field"),
        (
            '{"kind":"evaluation","decisions":1,"wall_s":1.0,"successes":2,"episodes":1,"mean_return":0.0,'
            '"mean_decisions":1.0}\n',
            "0 <= successes <= episodes",
        ),
    ],
)
def test_damaged_metrics_are_bad_input(tail: str, said: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(data)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(tail)
    line = refused(data, capsys, folder)
    assert said in line
    assert str(folder / "metrics.jsonl") in line


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", "{"), ("run.json", '{"wall_s": 1}'), ("config.json", "")]
)
def test_damaged_records_are_bad_input(name: str, content: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(data)
    (folder / name).write_text(content)
    assert str(folder / name) in refused(data, capsys, folder)


def test_pictures_that_cannot_be_written_are_bad_input(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(data)
    assert "is a folder" in refused(data, capsys, folder, "--out", data)
    assert "ends in one of .png, .pdf, .svg" in refused(data, capsys, folder, "--out", data / "plot.bmp")
    inside = folder / "config.json" / "plot.png"
    assert f"{folder / 'config.json'} is a file, not a folder" in refused(data, capsys, folder, "--out", inside)
