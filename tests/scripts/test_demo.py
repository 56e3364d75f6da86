"""`tandem demo` in small: a scripted policy, a real lab, and everything that it leaves behind."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from scripts.evaluate import EvaluateSummary
from scripts.programs.demo_stage import Stage, StageFailed, Timetable
from scripts.programs.demo_summary import DemoSummary
from scripts.programs.gif import gif_frames, write_gif
from scripts.programs.lab import running_lab
from scripts.run import RunSummary
from sim.lab_truth import TruthFile

ROOT = Path(__file__).parents[2]
PICTURE = re.compile(r'<img src="data:image/([a-z+]+);base64,([^"]+)"')


def start_demo(data: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.main", "demo", *words],
        cwd=ROOT, env=os.environ | {"TANDEM_DATA": str(data)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def visible(page: str) -> str:
    """Return what a reader of the page reads."""
    without_style = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without_style)).split())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_small_demo_leaves_everything_it_promises(tmp_path: Path) -> None:
    words = ("--policy", "oracle", "--episodes", "2", "--evaluate-episodes", "4", "--json")
    process = start_demo(tmp_path, *words)
    stdout, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    out = tmp_path / "demo"
    said = json.loads(stdout.splitlines()[-1])
    assert said == json.loads((out / "summary.json").read_text())
    summary = msgspec.json.decode((out / "summary.json").read_bytes(), type=DemoSummary, strict=True)
    assert summary.train is None  # nothing was trained
    assert summary.evaluate is not None
    assert (summary.evaluate.episodes, summary.evaluate.successes) == (4, 4)
    assert summary.run is not None
    assert (summary.run.episodes, summary.run.successes, summary.run.agreements) == (2, 2, 2)
    assert summary.wall.total_s > 10.0
    assert re.findall(r"\[(\d/\d)\]", stderr) == ["1/4", "2/4", "3/4", "4/4"]
    assert len(re.findall(r"about \d+:\d\d", stderr)) == 5  # the whole, and every stage
    assert_gif_shows_two_worlds(out / "demo.gif")
    assert_report_says_what_happened((out / "report.html").read_text(), summary, TruthFile.load(out / "lab/truth.json"))


def assert_gif_shows_two_worlds(path: Path) -> None:
    assert path.stat().st_size < 4_000_000
    frames = np.array(gif_frames(path), dtype=np.int16)
    count, height, width, _ = frames.shape
    assert count > 100  # two attempts of six seconds, ten pictures a second
    body = frames[:, 40 : height - 40]
    left, right = body[:, :, : width // 2 - 8], body[:, :, width // 2 + 8 :]
    for half in (left, right):
        changes = np.abs(np.diff(half, axis=0)).max(axis=(2, 3)) > 40
        assert (changes.any(axis=1)).mean() > 0.5  # something moves in most frames
    assert np.abs(left - right).mean() > 10.0  # and they are two pictures, not one


def assert_report_says_what_happened(page: str, summary: DemoSummary, truth: TruthFile) -> None:
    text = visible(page)
    evaluate, run = summary.evaluate, summary.run
    assert evaluate is not None
    assert run is not None
    assert f"In simulation {evaluate.successes} of {evaluate.episodes} new episodes succeeded" in text
    assert f"confidence {evaluate.wilson_low * 100:.3g} % to {evaluate.wilson_high * 100:.3g} %" in text
    assert f"{run.successes} of {run.episodes} attempts succeeded" in text
    assert f"The two agree on {run.agreements} of {run.episodes}" in text
    assert f"{run.commands_sent:,} commands at {run.loop_hz:.2f} Hz" in text
    assert f"in a period is {run.p99_loop_ms:.1f} ms" in text
    assert f"Deadlines missed: {run.missed_deadlines}." in text
    assert f"{1000 * truth.truth.dead_time_s:.0f} ms" in text
    assert f"{1000 * truth.truth.block_mass_kg:.0f} g" in text
    for zero_rad in truth.truth.servo_zero_rad:
        assert f"{np.degrees(zero_rad):+.2f}°" in text
    for outcome in truth.outcomes:
        assert f"{1000 * outcome.highest_m:.1f} mm" in text
    assert summary.machine in text
    assert "http" not in re.sub(r"data:image/[^\"]+", "", page)  # nothing is fetched from anywhere
    pictures = [(kind, base64.b64decode(data)) for kind, data in PICTURE.findall(page)]
    assert [kind for kind, _ in pictures] == ["gif", "svg+xml", "jpeg", "jpeg", "jpeg", "jpeg", "svg+xml", "svg+xml"]
    for kind, data in pictures:
        assert data.startswith({"gif": b"GIF89a", "jpeg": b"\xff\xd8", "svg+xml": b"<?xml"}[kind])


@pytest.mark.deep
def test_ctrl_c_ends_it_with_what_is_there_and_no_lab_is_left(tmp_path: Path) -> None:
    process = start_demo(tmp_path, "--policy", "oracle", "--episodes", "9", "--evaluate-episodes", "2")
    end_s = time.monotonic() + 90
    while (lab := running_lab(tmp_path / "demo" / "lab")) is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.1)
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stdout
    assert "Traceback" not in stderr
    assert not lab.is_alive
    summary = msgspec.json.decode((tmp_path / "demo" / "summary.json").read_bytes(), type=DemoSummary)
    assert summary.evaluate is not None
    assert summary.run is None


@pytest.mark.deep
def test_ctrl_c_while_it_trains_leaves_a_run_to_go_on_with(tmp_path: Path) -> None:
    process = start_demo(tmp_path)
    assert process.stdout is not None
    heard: list[str] = []
    for line in process.stdout:
        heard.append(line)
        if line.startswith("learning: "):
            break
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert heard[1].startswith("[1/5] training the grasp in simulation")
    summary = msgspec.json.decode((tmp_path / "demo" / "summary.json").read_bytes(), type=DemoSummary)
    assert summary.train is not None
    assert summary.train.success_rate is None
    (run,) = (tmp_path / "runs" / "grasp").iterdir()
    assert f"tandem train --resume {run.name}, then tandem demo --policy {run.name}" in stdout
    assert not (tmp_path / "demo" / "lab").exists()


def test_a_wrong_policy_name_is_told_before_anything_starts(tmp_path: Path) -> None:
    process = start_demo(tmp_path, "--policy", "orakle")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "nearest first: oracle" in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_stage_says_which_why_and_where_the_log_is(tmp_path: Path) -> None:
    lab_log, absent = tmp_path / "lab.log", tmp_path / "absent.log"
    lab_log.touch()
    stages = (Stage("evaluate", "evaluating", 5.0), Stage("lab", "attempts in the lab", 60.0, (lab_log, absent)))
    with (tmp_path / "said.txt").open("w") as said:
        table = Timetable(Console(file=said), tmp_path / "demo.log", stages)
        table.begin(tmp_path)
        with table.stage("evaluate"):
            pass
        with pytest.raises(StageFailed) as failed, table.stage("lab"):
            raise FileNotFoundError(2, "No such file or directory", "servo.json")
    words = str(failed.value)
    assert words.startswith("stage 2 of 2 (lab) failed: No such file or directory: servo.json. Logs: ")
    assert str(lab_log) in words
    assert str(absent) not in words
    assert "Traceback" in (tmp_path / "demo.log").read_text()
    assert "[1/2] evaluating: about 0:05, then 1:00 more" in (tmp_path / "said.txt").read_text()


def summary_of(evaluated: int, lab: int, agreements: int) -> DemoSummary:
    return DemoSummary(
        policy="oracle", rig="table", seed=0, started_utc="", machine="", git_commit="", versions={},
        evaluate=EvaluateSummary(evaluated / 200, evaluated, 200, 0.0, 1.0, 1.0),
        run=RunSummary(20, lab, lab, agreements, 1, 0, 0, 20.0, 1.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((190, 17, 19), []),
        ((189, 17, 19), ["evaluation: 94.5 %"]),
        ((190, 16, 19), ["lab: 16 of 20 succeeded, 17"]),
        ((190, 17, 18), ["camera and truth agree on 18 of 20 attempts, 19"]),
        ((0, 0, 0), ["evaluation", "lab", "camera"]),
    ],
)
def test_promises_that_are_not_kept_are_named(numbers: tuple[int, int, int], words: list[str]) -> None:
    found = summary_of(*numbers).shortfalls()
    assert len(found) == len(words)
    for sentence, beginning in zip(found, words, strict=True):
        assert sentence.startswith(beginning)


def test_a_gif_comes_back_as_it_was_written(tmp_path: Path) -> None:
    frames = np.full((5, 40, 60, 3), 255, dtype=np.uint8)
    for k in range(5):
        frames[k, 10:20, 8 * k : 8 * k + 10] = (200, 30, 30)
    write_gif(tmp_path / "square.gif", list(frames), 10)
    np.testing.assert_allclose(np.array(gif_frames(tmp_path / "square.gif"), dtype=int), frames, atol=4)
