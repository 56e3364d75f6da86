"""What the person sees while they lead an arm: an overlay ten times a second, drawn in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from bridge.loop import LoopStep
from perception.body import Side
from perception.clutch import ClutchPhase
from perception.teleop_policy import TeleopMoment
from scripts.programs.footage import Image
from scripts.programs.overlay_arm import ArmFacts, ArmSketch
from scripts.programs.teleop_overlay import OverlayFacts, draw_overlay
from scripts.programs.teleop_session import TeleopNotes
from scripts.programs.teleop_source import FrameView

_GAP_S = 0.1
_EMPTY_PX = (640, 480)
_GROUND = 34
_LATEST = 30
_TITLE = "tandem teleop"


@dataclass(frozen=True, slots=True)
class ScreenStyle:
    """What does not change on a screen."""

    side: Side
    mirror: bool
    recording: bool
    tool: bool


class TeleopScreen:
    """Draws the newest moment and hands the picture to every one of `sinks`. A context."""

    def __init__(
        self, frames: FrameView, style: ScreenStyle, sketch: ArmSketch, sinks: Sequence[Callable[[Image], None]]
    ) -> None:
        """`sketch`: of the arm that is led."""
        self._frames, self._style, self._sketch, self._sinks = frames, style, sketch, tuple(sinks)
        self._newest: OverlayFacts | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def __enter__(self) -> TeleopScreen:
        """Begin to draw."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Draw no more."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def show(self, moment: TeleopMoment, step: LoopStep, notes: TeleopNotes) -> None:
        """Take in one control period; returns at once."""
        latest = notes.latency_ms[-_LATEST:]
        block = None if step.sighting is None else step.sighting.base_from_block
        self._newest = OverlayFacts(
            phase=moment.state.phase,
            reason=moment.state.reason,
            sighting=None if moment.seen is None else moment.seen.sighting,
            controlling=None if moment.seen is None else moment.seen.body,
            side=self._style.side,
            arm=ArmFacts(step.state.position_rad, block, notes.place_m),
            tool_m=moment.goal_m,
            closing=bool(step.action[-1] > 0.0) if self._style.tool and moment.state.moves else None,
            scale=moment.scale if self._style.tool else None,
            latency_ms=sum(latest) / len(latest) if latest and moment.state.phase is ClutchPhase.ENGAGED else None,
            recording=self._style.recording,
            mirrored=self._style.mirror,
        )

    def _run(self) -> None:
        while not self._stop.wait(_GAP_S):
            facts, frame = self._newest, self._frames.frame()
            if facts is not None:
                width, height = _EMPTY_PX
                ground = np.full((height, width, 3), _GROUND, dtype=np.uint8)
                picture = draw_overlay(ground if frame is None else frame.rgb, facts, self._sketch)
                for sink in self._sinks:
                    sink(picture)


class KeyWindow:
    """A window that shows pictures, and whose keys can be read elsewhere. Its pictures come from one thread."""

    def __init__(self) -> None:
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __call__(self, picture: Image) -> None:
        """Show a picture, and take in the keys that were pressed."""
        cv2.imshow(_TITLE, picture[:, :, ::-1])
        code = cv2.waitKey(1) & 0xFF
        if code != 0xFF:
            self._keys.put(chr(code))

    def key(self) -> str:
        """Return the next key, or ''."""
        try:
            return self._keys.get_nowait()
        except queue.Empty:
            return ""
