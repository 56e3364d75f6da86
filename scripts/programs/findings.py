"""Findings: what a check has found, and how a terminal shows it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

_MARKS = {"ok": ("✓", "ok  ", "32"), "warn": ("!", "warn", "33"), "fail": ("✗", "FAIL", "31")}
_MAX_COLUMNS = 110


class Level(StrEnum):
    """What a finding means for a run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `fail` is what would stop a run; whatever is not `ok` comes with its fix."""

    topic: str
    level: Level
    subject: str
    text: str
    fix: str = ""


def ok(topic: str, subject: str, text: str) -> Finding:
    """Return a finding that nothing needs to be done about."""
    return Finding(topic, Level.OK, subject, text)


def warn(topic: str, subject: str, text: str, fix: str) -> Finding:
    """Return a finding that is worth a look."""
    return Finding(topic, Level.WARN, subject, text, fix)


def fail(topic: str, subject: str, text: str, fix: str) -> Finding:
    """Return a finding that would stop a run."""
    return Finding(topic, Level.FAIL, subject, text, fix)


class FindingsPrinter:
    """Shows findings as they come, under a heading for each topic, with colours and marks where there is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        colourful = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._colourful = colourful
        self._marks = "utf" in (stream.encoding or "").lower()
        self._columns = min(shutil.get_terminal_size((100, 24)).columns, _MAX_COLUMNS)
        self._topic = ""

    def show(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Show each finding at once and hand it on."""
        for finding in findings:
            self._show(finding)
            yield finding

    def close(self, findings: Iterable[Finding]) -> None:
        """Say in one line what it all comes to."""
        levels = [finding.level for finding in findings]
        failed, warned = levels.count(Level.FAIL), levels.count(Level.WARN)
        look = f"{warned} {'is' if warned == 1 else 'are'} worth a look" if warned else ""
        if failed:
            things = f"{failed} thing{'s' if failed > 1 else ''} would stop a run"
            self._line(self._mark(Level.FAIL), ", ".join(filter(None, (things, look))) + ".", "")
        else:
            text = "Nothing here would stop a run" + (f"; {look}" if look else "") + "."
            self._line(self._mark(Level.WARN if warned else Level.OK), text, "")

    def _show(self, finding: Finding) -> None:
        if finding.topic != self._topic:
            self._topic = finding.topic
            self._write(f"\n{self._paint('1', finding.topic)}\n")
        self._line(self._mark(finding.level), f"{finding.subject}: {finding.text}", finding.fix)

    def _line(self, mark: str, text: str, fix: str) -> None:
        width = 4 if self._marks else 7
        body = textwrap.wrap(text, self._columns - width, break_long_words=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(body):
            self._write(f"  {mark} {part}\n" if number == 0 else f"{' ' * width}{part}\n")
        arrow = "→" if self._marks else "->"
        for number, part in enumerate(
            textwrap.wrap(fix, self._columns - width - 3, break_long_words=False, break_on_hyphens=False)
        ):
            lead = f"{arrow} " if number == 0 else "  "
            self._write(" " * width + self._paint("36", lead + part) + "\n")

    def _mark(self, level: Level) -> str:
        pretty, plain, colour = _MARKS[level.value]
        return self._paint(colour, pretty if self._marks else plain)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colourful else text

    def _write(self, text: str) -> None:
        print(text, end="", file=self._stream, flush=True)


def printer(json: bool) -> FindingsPrinter:
    """Return a printer on stdout, or on stderr when stdout is for the JSON object."""
    return FindingsPrinter(sys.stderr if json else sys.stdout)
