"""Recordings of demonstrations for tests: what is seen and done is drawn, the format and the arm are real."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from bridge.actions import LATERAL_ACTION, TOOL_ACTION
from bridge.clock import MonotonicClock
from bridge.encoding import GRASP_STATE, PICK_PLACE_STATE
from bridge.episode import EpisodeWriter
from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_format import EpisodeHeader, utc_name
from bridge.episode_witness import Demonstrator, demonstration_header
from bridge.observation import CameraView, ImageKind, ObservationSpec, Part
from urdf.description import load_arm

CLOCK = MonotonicClock()
DEPTH, COLOUR, GREY = (
    CameraView("wrist", kind, 16, 12) for kind in (ImageKind.DEPTH, ImageKind.RGB, ImageKind.GRAY)
)  # fmt: skip
SEEING = ObservationSpec(proprioception=True, views=(DEPTH, COLOUR, GREY))
#: Of an attempt: decisions, and whether it succeeded (None: nobody knows).
Attempts = Sequence[tuple[int, bool | None]]


def header_of(arm: str, rig: str = "table", start_utc_ns: int | None = None) -> EpisodeHeader:
    description = load_arm(arm)
    now = datetime.now(UTC)
    return EpisodeHeader(
        robot="sim",
        arm=arm,
        arm_sha256=description.sha256,
        rig=rig,
        joint_names=description.joint_names,
        period_s=0.05,
        policy="oracle",
        configuration_sha256={},
        calibration_sha256={},
        versions={},
        start_utc=utc_name(now),
        start_utc_ns=round(now.timestamp() * 1e9) if start_utc_ns is None else start_utc_ns,
        start_clock_ns=CLOCK.now_ns(),
    )


def layout_of(arm: str, task: str, spec: ObservationSpec, environment: str = "") -> DemonstrationHeader:
    state, action = {"grasp": (GRASP_STATE, LATERAL_ACTION), "pick-place": (PICK_PLACE_STATE, TOOL_ACTION)}[task]
    header = demonstration_header(task, spec, state, action, 3, load_arm(arm))
    return msgspec.structs.replace(header, environment=environment, randomization="none", discount=1.0, seed=1)


def seen(layout: DemonstrationHeader, rng: np.random.Generator) -> dict[str, Part]:
    """Draw an observation; pictures are smooth, as those of a camera are."""
    found: dict[str, Part] = {}
    for part in layout.parts:
        if not part.is_picture:
            found[part.name] = rng.normal(size=part.shape).astype(np.float32)
            continue
        rows, columns = np.mgrid[: part.shape[1], : part.shape[2]]
        smooth = 0.5 + 0.4 * np.sin(0.3 * rows + rng.uniform(0, 6)) * np.cos(0.2 * columns)
        stacked = np.repeat(smooth[None], part.shape[0], axis=0)
        found[part.name] = (255 * stacked).astype(np.uint8) if part.dtype == "uint8" else stacked.astype(np.float16)
    return found


def make_recording(
    path: Path,
    attempts: Attempts,
    arm: str = "dofbot",
    task: str = "grasp",
    spec: ObservationSpec = SEEING,
    environment: str = "",
    start_utc_ns: int | None = None,
) -> Path:
    """Record so many attempts; the first and the last decision of each move nothing."""
    layout, rng = layout_of(arm, task, spec, environment), np.random.default_rng(5)
    writer = EpisodeWriter(path, header_of(arm, start_utc_ns=start_utc_ns), CLOCK, demonstration=layout)
    demonstrator = Demonstrator(writer, layout, CLOCK)
    for decisions, success in attempts:
        demonstrator.begin()
        for k in range(decisions):
            still = k in (0, decisions - 1)
            action = np.zeros(len(layout.action_layout.names)) if still else rng.uniform(0.2, 1.0, 2).repeat(3)
            demonstrator.decide(seen(layout, rng), action[: len(layout.action_layout.names)].astype(np.float32))
            over = k == decisions - 1
            demonstrator.outcome(0.1 * k, over and success is not None, over and success is None, success)
        demonstrator.see_last(seen(layout, rng))
    writer.close("done", "drawn")
    return path
