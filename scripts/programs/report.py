"""The demo's report: one page that carries its pictures with it and says in numbers what happened."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import msgspec

from calibration.artifacts import write_atomic
from scripts.counted_progress import minutes
from scripts.programs import report_page as html
from scripts.programs.demo_summary import EVALUATION_BAR, LAB_BAR, DemoSummary
from scripts.programs.film import Take
from scripts.programs.report_lab import lab_section, loop_section
from scripts.programs.report_page import Card, Cell, percent
from scripts.programs.report_plots import Rate, draw_rates
from scripts.programs.report_truth import hidden_section
from scripts.run import RunOutcome
from scripts.run_folder import RUN_NAME, RunRecord
from sim.lab_truth import TruthFile
from urdf.description import load_arm


@dataclass(frozen=True, slots=True)
class ReportSources:
    """Everything that the report tells about."""

    summary: DemoSummary
    outcome: RunOutcome | None
    truth_path: Path | None
    takes: tuple[Take, ...]
    gif_path: Path
    curve_path: Path
    run_folder: Path | None
    arm: str = "dofbot"


def write_report(sources: ReportSources, path: Path) -> None:
    """Write the page, whole or not at all. Nobody but this page reads the lab's hidden truth."""
    truth = TruthFile.load(sources.truth_path) if sources.truth_path is not None else None
    description = load_arm(sources.arm)
    summary = sources.summary
    body = [
        html.header("Two arms, one loop", _lead(summary)),
        _verdict(summary),
        html.cards(_cards(summary)),
        _film(sources),
        _training(sources),
        _rates(summary),
    ]
    if sources.outcome is not None:
        outcomes = {o.attempt: o for o in truth.outcomes} if truth is not None else {}
        rig = description.rig(summary.rig)
        body += [lab_section(sources.outcome, outcomes, sources.takes, rig), loop_section(sources.outcome)]
    if truth is not None:
        record = _record(sources.run_folder)
        zero_deg = record.config.train.servo_zero_deg if record is not None else 0.0
        body.append(hidden_section(truth.truth, description, zero_deg))
    body.append(_repeat(summary))
    write_atomic(path, html.page("Tandem demo", body).encode())


# The top ---------------------------------------------------------------------------------------------
def _lead(summary: DemoSummary) -> str:
    return (
        "A policy learnt in simulation picks up blocks with an arm that understands nothing but servo bytes and is "
        f"seen through nothing but a camera. Rig {summary.rig}, seed {summary.seed}, {_date(summary.started_utc)}."
    )


def _date(utc: str) -> str:
    return f"{utc[0:4]}-{utc[4:6]}-{utc[6:8]} {utc[9:11]}:{utc[11:13]} UTC"


def _verdict(summary: DemoSummary) -> str:
    shortfalls = summary.shortfalls()
    if shortfalls:
        return html.verdict([f"Promise not kept: {shortfall}." for shortfall in shortfalls], good=False)
    return html.verdict(
        ["Every promise kept: 95 % in simulation, 17 of 20 in the lab, camera and truth of one mind on 19 of 20."],
        good=True,
    )


def _cards(summary: DemoSummary) -> list[Card]:
    found: list[Card] = []
    if summary.train is not None:
        found.append(Card("Training [min:s]", minutes(summary.train.wall_s), f"{summary.train.episodes:,} episodes"))
    if summary.evaluate is not None:
        e = summary.evaluate
        found.append(Card("In simulation", percent(e.success_rate), f"{e.successes} of {e.episodes} episodes"))
    if summary.run is not None:
        r = summary.run
        found.append(Card("In the lab", f"{r.successes} of {r.episodes}", "judged by the camera"))
        if r.agreements is not None:
            found.append(Card("Agreement", f"{r.agreements} of {r.episodes}", "camera and lab's truth"))
        found.append(
            Card("Control loop", f"{r.loop_hz:.1f} Hz", f"p99 {r.p99_loop_ms:.1f} ms, {r.missed_deadlines} late")
        )
    return found


def _film(sources: ReportSources) -> str:
    if not sources.gif_path.exists():
        return html.section(
            "The film", html.paragraph("No attempt succeeded, so there is nothing to show side by side.")
        )
    count = len(sources.takes)
    return html.section(
        "The same policy, twice",
        html.picture(
            sources.gif_path.read_bytes(), "gif", "training world and lab side by side",
            f"The first {count} attempts that succeeded, at real speed. Right: what the lab's camera saw. Left: the "
            "training world, where the same policy grasps a block put where that camera saw it; the two are kept in "
            "step phase by phase, and looked at from the same place.",
        ),
    )  # fmt: skip


# Training and evaluation -------------------------------------------------------------------------------
def _training(sources: ReportSources) -> str:
    train, pieces = sources.summary.train, list[str]()
    if train is None:
        pieces.append(html.paragraph(f"Nothing was trained: this is the scripted policy {sources.summary.policy!r}."))
    else:
        pieces.append(
            html.paragraph(
                f"Soft actor-critic on the simulated grasp: {train.episodes:,} episodes, {train.env_steps:,} "
                f"decisions, {minutes(train.wall_s)} minutes. {_final(_record(sources.run_folder))} Run: {train.run}"
            )
        )
    if sources.curve_path.exists():
        pieces.append(html.picture(sources.curve_path.read_bytes(), "png", "learning curve"))
    return html.section("What was trained", *pieces)


def _record(folder: Path | None) -> RunRecord | None:
    """Return what a training run wrote down about itself when it ended."""
    path = folder / RUN_NAME if folder is not None else None
    return msgspec.json.decode(path.read_bytes(), type=RunRecord) if path is not None and path.exists() else None


def _final(record: RunRecord | None) -> str:
    if record is None or record.success_rate is None:
        return ""
    return (
        f"Exported was the policy after {record.policy_decisions:,} decisions; on {record.evaluated_episodes} episodes "
        f"that had no part in choosing it, it succeeded in {record.successes}."
    )


def _rates(summary: DemoSummary) -> str:
    e, r = summary.evaluate, summary.run
    if e is None:
        return ""
    rates = [Rate(f"simulation: {e.successes} of {e.episodes}", e.successes, e.episodes, EVALUATION_BAR)]
    if r is not None:
        rates.append(Rate(f"lab, camera: {r.successes} of {r.episodes}", r.successes, r.episodes, LAB_BAR))
        if r.lab_truth_successes is not None:
            true = r.lab_truth_successes
            rates.append(Rate(f"lab, truth: {true} of {r.episodes}", true, r.episodes, None))
    return html.section(
        "How often it succeeds",
        html.picture(
            draw_rates(rates), "svg+xml", "success rates with their intervals",
            "Dots: the share of attempts that succeeded. Bars: what that count supports with 95 % confidence (Wilson). "
            "Red: what was promised.",
        ),
        html.paragraph(
            f"In simulation {e.successes} of {e.episodes} new episodes succeeded: {percent(e.success_rate)}, with 95 % "
            f"confidence {percent(e.wilson_low)} to {percent(e.wilson_high)}. A success is a block lifted by 3 cm and "
            f"still between both jaws half a second later, judged from physics. It took {e.wall_s:.0f} s."
        ),
    )  # fmt: skip


# The end ----------------------------------------------------------------------------------------------
def _repeat(summary: DemoSummary) -> str:
    policy = shlex.quote(summary.policy)
    evaluate = summary.evaluate.episodes if summary.evaluate else 200
    episodes = summary.run.episodes if summary.run else 20
    lines = [
        "make demo                                    # all of it again",
        f"tandem evaluate --policy {policy} --episodes {evaluate} --seed 1000",
        f"tandem run --policy {policy} --robot lab --episodes {episodes} --seed {summary.seed}",
    ]
    wall = summary.wall
    stages = (("training", wall.train_s), ("evaluation", wall.evaluate_s), ("lab", wall.lab_s), ("film", wall.film_s))
    times = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in stages if seconds is not None)
    rows = [
        [Cell("machine"), Cell(summary.machine)],
        [Cell("times [min:s]"), Cell(f"{times}; {minutes(wall.total_s)} until this page")],
        [Cell("source"), Cell(summary.git_commit)],
        [Cell("versions"), Cell(", ".join(f"{name} {version}" for name, version in summary.versions.items()))],
    ]
    return html.section("How to repeat it", html.commands(lines), html.table([], rows))
