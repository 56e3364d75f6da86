"""`tandem policies`: the ready-trained policies that come with this version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from policies.artifact import load_manifest
from policies.shipped import Made, load_made, shipped_folders
from scripts.cli import emit_json, say
from scripts.exit_codes import DONE


@dataclass(frozen=True)
class PoliciesArgs:
    """List the ready-trained policies: `--policy NAME` of evaluate, observe, run and demo takes them."""

    json: bool = False
    """Print one JSON object as the last line of stdout."""


class PolicyRow(msgspec.Struct, frozen=True):
    """One policy: what it is for, which parts of an observation it reads, and how it was made."""

    name: str
    arm: str
    task: str
    rig: str
    reads: tuple[str, ...]
    made: Made


class PolicyList(msgspec.Struct, frozen=True):
    """The JSON line."""

    policies: tuple[PolicyRow, ...]


def run(args: PoliciesArgs) -> int:
    """Print the list; return the exit code."""
    rows = tuple(map(_row, shipped_folders()))
    for row in rows:
        made = row.made
        say(
            f"{row.name}: {row.arm} {row.task} on rig {row.rig}, reads {' and '.join(row.reads)}\n"
            f"    {made.successes} of {made.episodes} episodes, after {made.decisions:,} decisions in "
            f"{made.minutes:.1f} minutes ({made.date}, commit {made.git_commit[:10]})\n"
            f"    {made.command}",
            args.json,
        )
    if not rows:
        say("no policy comes with this version: train one with `tandem train`", args.json)
    emit_json(PolicyList(rows), args.json)
    return DONE


def _row(folder: Path) -> PolicyRow:
    manifest = load_manifest(folder)
    reads = manifest.reads.spec().part_names
    return PolicyRow(folder.name, manifest.arm, manifest.task, manifest.rig, reads, load_made(folder))
