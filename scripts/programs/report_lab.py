"""The report's pages about the lab: the attempts, as the camera judged them and as they really were, and the loop."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image as Pillow

from bridge.grasp import CONTROL_HZ
from policies.evaluation import wilson_interval
from scripts.programs import report_page as html
from scripts.programs.film import Take
from scripts.programs.footage import Image
from scripts.programs.report_page import Cell, percent
from scripts.programs.report_plots import Spot, draw_top_view, draw_work_times
from scripts.programs.robot_run import SEEN_RISE_M, AttemptRecord
from scripts.run import RunOutcome
from sim.lab import HELD_S, LIFT_M
from sim.lab_truth import Outcome
from urdf.description import Rig


def lab_section(outcome: RunOutcome, truths: Mapping[int, Outcome], takes: Sequence[Take], rig: Rig) -> str:
    """Return the section about the attempts; `truths` by attempt, empty on a real arm."""
    spots = [_spot(a, truths.get(a.number)) for a in outcome.attempts]
    return html.section(
        "In the lab",
        html.paragraph(_counts(outcome)),
        _film_strip(takes),
        html.picture(
            draw_top_view(spots, rig), "svg+xml", "the block area from above",
            "The block area from above, the arm at the top, as the camera looks at it. Squares: where the block really "
            "lay, to scale. Dots: where the camera saw its middle. Numbers are those of the attempts.",
        ),
        html.paragraph(_seeing_error(outcome.attempts, truths)),
        _attempts(outcome.attempts, truths),
    )  # fmt: skip


def loop_section(outcome: RunOutcome) -> str:
    """Return the section about the control loop's timing."""
    r = outcome.summary
    return html.section(
        "The control loop",
        html.paragraph(
            f"{r.commands_sent:,} commands at {r.loop_hz:.2f} Hz. The 99th percentile of the work in a period is "
            f"{r.p99_loop_ms:.1f} ms of the {1000 / CONTROL_HZ:.0f} there are. Deadlines missed: {r.missed_deadlines}. "
            f"Periods in which the arm stood still because it waited for a picture: {r.commands_held}."
        ),
        html.picture(draw_work_times(outcome.work_ms, 1000 / CONTROL_HZ), "svg+xml", "histogram of the loop's work"),
    )


def _interval(successes: int, trials: int) -> str:
    low, high = wilson_interval(successes, trials)
    return f"{percent(low)} to {percent(high)}"


def _counts(outcome: RunOutcome) -> str:
    r = outcome.summary
    text = (
        f"{r.successes} of {r.episodes} attempts succeeded ({_interval(r.successes, r.episodes)} with 95 % confidence) "
        f"as the camera judges: the block's markers rose by {1000 * SEEN_RISE_M:.0f} mm or more and stayed with the "
        "tool."
    )
    if r.lab_truth_successes is None:
        return text
    return text + (
        f" The lab's own truth counts {r.lab_truth_successes} ({_interval(r.lab_truth_successes, r.episodes)}): "
        f"{1000 * LIFT_M:.0f} mm higher or more, for {HELD_S:g} s or longer. The two agree on {r.agreements} of "
        f"{r.episodes}."
    )


def _spot(attempt: AttemptRecord, truth: Outcome | None) -> Spot:
    seen = attempt.desk_from_block
    return Spot(
        number=attempt.number,
        seen_xy_m=None if seen is None else (float(seen.position_m[0]), float(seen.position_m[1])),
        seen_success=attempt.success,
        true_xy_m=None if truth is None else truth.desk_xy_m,
        true_success=truth is not None and truth.success,
        true_yaw_rad=0.0 if truth is None else truth.yaw_rad,
    )


def _film_strip(takes: Sequence[Take]) -> str:
    if not takes:
        return ""
    footage = takes[0].footage
    moments = footage.marks.moments_s()
    shots = (
        (moments[0], "at home"),
        (moments[1], "jaws around the block"),
        (moments[2], "closed"),
        (moments[-1], "lifted and held"),
    )
    return html.strip(
        [
            html.picture(_jpeg(footage.at(float(t))), "jpeg", words, f"{t - moments[0]:.1f} s: {words}")
            for t, words in shots
        ]
    )


def _jpeg(picture: Image) -> bytes:
    sink = io.BytesIO()
    Pillow.fromarray(picture).save(sink, format="JPEG", quality=88)
    return sink.getvalue()


def _seeing_error(attempts: Sequence[AttemptRecord], truths: Mapping[int, Outcome]) -> str:
    errors_mm = [
        1000 * math.dist(a.desk_from_block.position_m[:2], truths[a.number].desk_xy_m)
        for a in attempts
        if a.desk_from_block is not None and a.number in truths
    ]
    if not errors_mm:
        return ""
    return (
        f"The camera saw the block {np.mean(errors_mm):.1f} mm beside its true place on average, at worst "
        f"{max(errors_mm):.1f} mm. It finds its own place from the board printed on the desk, so its hidden shift "
        "costs little."
    )


def _attempts(attempts: Sequence[AttemptRecord], truths: Mapping[int, Outcome]) -> str:
    head = [
        Cell("#", "number"), Cell("block seen at", "number"), Cell("heading", "number"), Cell("camera"),
        Cell("rise seen", "number"), Cell("truth"), Cell("true rise", "number"), Cell("held", "number"),
        Cell("time", "number"),
    ]  # fmt: skip
    return html.table(head, [_attempt_row(a, truths.get(a.number)) for a in attempts])


def _attempt_row(a: AttemptRecord, truth: Outcome | None) -> list[Cell]:
    place, heading = "not seen", ""
    if a.desk_from_block is not None:
        x, y, _ = 1000 * a.desk_from_block.position_m
        yaw = math.degrees(a.desk_from_block.yaw_rad)
        # A cube looks the same after a quarter turn.
        place, heading = f"{x:+.0f}, {y:.0f} mm", f"{yaw - 90 * round(yaw / 90):+.0f}°"
    row = [
        Cell(str(a.number), "number"),
        Cell(place, "number"),
        Cell(heading, "number"),
        Cell("lifted" if a.success else a.why, "good" if a.success else "bad"),
        Cell(f"{1000 * a.rise_m:.1f} mm", "number"),
    ]
    if truth is None:
        row += [Cell("unknown"), Cell("", "number"), Cell("", "number")]
    else:
        row += [
            Cell("lifted" if truth.success else "failed", "good" if truth.success else "bad"),
            Cell(f"{1000 * truth.highest_m:.1f} mm", "number"),
            Cell(f"{truth.held_s:.1f} s", "number"),
        ]
    return [*row, Cell(f"{a.duration_s:.1f} s", "number")]
