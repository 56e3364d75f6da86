from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PIL import Image

from scripts import main
from scripts.gap import describe, summary_of
from scripts.programs.bench_gap import gap_rows
from scripts.programs.gap_measure import joint_errors
from scripts.programs.gap_plot import draw_gap, gap_subtitle, gap_title
from scripts.programs.gap_record import (
    GapAttempt,
    GapCell,
    GapError,
    GapFolder,
    GapPlan,
    GapTable,
    GapUnit,
    JointError,
    TrainingWorld,
)
from scripts.programs.lab_unit import nominal_calibration
from sim.lab_truth import LabTruth
from urdf.description import load_arm

ARM = load_arm("dofbot")
PLAN = GapPlan("made-up", "", "hard", (0, 1), 20, 200, 24, 40, 1)


def cell(seed: int, stage: str, successes: int) -> GapCell:
    attempts = tuple(GapAttempt(k < successes, k < successes, "") for k in range(20))
    return msgspec.convert({"seed": seed, "stage": stage, "attempts": attempts, "wall_s": 1.0}, GapCell)


def unit(seed: int, after_deg: float) -> GapUnit:
    before = tuple(JointError(name, 3.0 - k, 2.5 - k) for k, name in enumerate(ARM.joint_names))
    after = tuple(JointError(name, after_deg, -after_deg) for name in ARM.joint_names)
    return GapUnit(seed, (), "", before, after, 0.03, 0.0002, 60.0)


def fill(folder: GapFolder) -> GapTable:
    folder.save("training.json", TrainingWorld(199, 200))
    for seed, (before, after) in enumerate(((3, 19), (12, 20))):
        folder.save(f"seed_{seed}/before.json", cell(seed, "before", before))
        folder.save(f"seed_{seed}/after.json", cell(seed, "after", after))
        assert folder.table() is None
        folder.save(f"seed_{seed}/calibration.json", unit(seed, 0.1 + 0.1 * seed))
    table = folder.table()
    assert table is not None
    return table


def test_a_table_is_whole_when_every_stage_of_every_lab_is_there(tmp_path: Path) -> None:
    table = fill(GapFolder(tmp_path, PLAN))
    assert table.counted("before") == (15, 40)
    assert table.counted("after") == (39, 40)
    assert table.kept_share == pytest.approx(0.975 / 0.995)
    assert summary_of(table, tmp_path / "gap.json", tmp_path / "gap.png").worst_zero_deg == pytest.approx(0.2)
    assert "39 of 40" in describe(table)[-1]
    kept, inner, outer = gap_rows(table)
    assert (kept.holds, inner.holds, outer.holds) == (True, True, True)


def test_a_folder_goes_on_with_more_labs_and_refuses_another_measurement(tmp_path: Path) -> None:
    fill(GapFolder(tmp_path, PLAN))
    more = GapFolder(tmp_path, msgspec.structs.replace(PLAN, seeds=(0, 1, 2)))
    assert more.table() is None
    assert more.cell(1, "after") is not None
    with pytest.raises(GapError, match="episodes 20 instead of 5"):
        GapFolder(tmp_path, msgspec.structs.replace(PLAN, episodes=5))
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(GapError, match="remove it to measure it again"):
        more.training()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw_gap(fill(GapFolder(tmp_path, PLAN)), tmp_path / "gap.png")
    with Image.open(tmp_path / "gap.png") as picture:
        assert picture.width > 1500


def test_a_lab_that_was_not_calibrated_is_told_in_exit_code_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    args = ["gap", "--policy", "hold", "--seeds", "1", "--episodes", "1", "--training-episodes", "1"]
    plan = GapPlan("hold", "", "hard", (0,), 1, 1, 24, 40, 1)
    folder = GapFolder(tmp_path / "out", plan)
    folder.save("training.json", TrainingWorld(1, 1))
    for stage in ("before", "after"):
        attempt = msgspec.structs.replace(cell(0, stage, 0), attempts=(GapAttempt(False, False, ""),))
        folder.save(f"seed_0/{stage}.json", attempt)
    folder.save("seed_0/calibration.json", msgspec.structs.replace(unit(0, 1.0), failed="no board was seen"))
    assert main.main([*args, "--out", str(tmp_path / "out")]) == 1
    table = folder.table()
    assert table is not None
    assert gap_title(table) == "after, but 1 of 1 lab not calibrated"
    assert "1 lab of hidden truth, 1 attempt each" in gap_subtitle(table)


def test_joint_errors_are_those_of_the_truth_and_none_for_a_perfect_calibration() -> None:
    truth, rig = LabTruth.draw(4, 6, "hard"), ARM.rig("table")
    counts = nominal_calibration(ARM, "lab")
    errors = joint_errors(truth, counts, counts, ARM, rig)
    servos = truth.servos(ARM.gripper.open_rad)
    for k, error in enumerate(errors[:5]):
        assert error.zero_deg == pytest.approx(57.29578 * truth.servo_zero_rad[k], abs=1e-3)
        home = float(rig.home_rad[k])
        off = truth.servo_scale[k] * home + truth.servo_zero_rad[k] - home
        assert error.home_deg == pytest.approx(57.29578 * off, abs=1e-3)
    joints = tuple(
        msgspec.structs.replace(
            j, ticks_per_rad=j.ticks_per_rad / float(s), zero_ticks=j.zero_ticks - j.ticks_per_rad * float(z) / float(s)
        )
        for j, s, z in zip(counts.joints, servos.scale, servos.zero_rad, strict=True)
    )
    perfect = msgspec.structs.replace(counts, joints=joints)
    assert all(
        abs(e.zero_deg) < 1e-3 and abs(e.home_deg) < 1e-3 for e in joint_errors(truth, counts, perfect, ARM, rig)
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["gap", "--policy", "hold", "--seeds", "0"], 2, "--seeds must be at least 1"),
        (["gap", "--policy", "hold", "--level", "harder"], 2, "mild"),
        (["gap", "--policy", "no-such-run"], 2, "no-such-run"),
        (["gap", "--policy", "hold", "--views", "3"], 2, "--views must be at least 8"),
        (["gap", "--policy", "hold", "--poses", "0"], 2, "--poses must be at least 12"),
        (["gap", "--policy", "dofbot-grasp-depth"], 2, "reads pictures of the wrist camera"),
        (["calibrate", "all", "--views", "3"], 2, "--views must be at least 8"),
        (["calibrate", "all", "--robot", "nobody"], 2, "nobody"),
        (["check-obs", "--seed", "-1"], 2, "--seed"),
        (["check-obs", "--out", "picture.gif"], 2, ".png"),
        (["lab", "--level", "harder"], 2, "mild"),
    ],
)
def test_bad_arguments_are_refused_before_anything_moves(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert main.main(words) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert not list(tmp_path.iterdir())
