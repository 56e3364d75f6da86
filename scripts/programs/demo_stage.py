"""The stages of a demo: what is being done, how long it will take, and what is told when one fails."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from scripts.counted_progress import minutes
from scripts.exit_codes import describe
from scripts.run_folder import utc_now


class StageFailed(Exception):
    """A stage of the demo failed; the message says which, why, and where more is written."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, what it does in words, how long it takes on two idle cores, and where its logs are."""

    name: str
    does: str
    expected_s: float
    logs: tuple[Path, ...] = ()


@dataclass(slots=True)
class Timetable:
    """Announces each stage with its time and what follows, and writes the same to the demo's log."""

    console: Console
    log: Path
    stages: Sequence[Stage]
    seconds: dict[str, float] = field(default_factory=lambda: {})

    def begin(self, where: Path) -> None:
        """Say what will happen and how long it all takes."""
        self.log.write_text("", encoding="utf-8")
        total = minutes(sum(stage.expected_s for stage in self.stages))
        names = ", ".join(stage.name for stage in self.stages)
        self.tell(f"Demo in {len(self.stages)} stages ({names}), about {total} on two idle cores. Results: {where}")

    def tell(self, text: str) -> None:
        """Say a line, and keep it."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._write(text)

    @contextmanager
    def stage(self, name: str) -> Generator[Stage]:
        """Announce a stage and take its time; whatever goes wrong in it becomes StageFailed."""
        number = next(k for k, stage in enumerate(self.stages) if stage.name == name)
        stage = self.stages[number]
        after_s = sum(later.expected_s for later in self.stages[number + 1 :])
        then = f", then {minutes(after_s)} more" if after_s else ""
        self.tell(f"[{number + 1}/{len(self.stages)}] {stage.does}: about {minutes(stage.expected_s)}{then}")
        start_s = time.monotonic()
        try:
            yield stage
        except Exception as error:
            raise self._failed(number, error) from error
        finally:
            self.seconds[name] = time.monotonic() - start_s
        self._write(f"{stage.name} took {minutes(self.seconds[name])}")

    def _failed(self, number: int, error: Exception) -> StageFailed:
        stage = self.stages[number]
        self._write("".join(traceback.format_exception(error)))
        known = describe(error)
        why = known.line if known else f"{type(error).__name__}: {error}"
        logs = ", ".join(str(path) for path in (self.log, *stage.logs) if path.exists())
        return StageFailed(f"stage {number + 1} of {len(self.stages)} ({stage.name}) failed: {why}. Logs: {logs}")

    def _write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{utc_now()} {text}\n")
