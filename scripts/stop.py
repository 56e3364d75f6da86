"""`tandem stop`: emergency stop of a served arm, from any terminal; `--clear` ends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE
from scripts.programs.robot_file import RobotFile, RobotFileError
from scripts.programs.robot_link import RobotLink


@dataclass(frozen=True)
class StopArgs:
    """Stop a served arm at once: it stands still and takes no command until the stop is cleared."""

    robot: str = ""
    """Which arm: data/robots/NAME/robot.toml says where it is served. Default: the only one there."""
    clear: bool = False
    """End the stop, or a fault whose cause is gone, instead: the arm is taken hold of where it stands."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    json: bool = False
    """Print the arm's state as one JSON object on the last line."""


def only_robot() -> str:
    """Return the one robot that is known here; raises RobotFileError with the names where there are more."""
    known = sorted(path.parent.name for path in (data_root() / "robots").glob("*/robot.toml"))
    if len(known) != 1:
        listing = ", ".join(known) or "none: `tandem lab` or `tandem serve` serves one"
        raise RobotFileError(f"which arm? Say --robot NAME; known here: {listing}")
    return known[0]


def run(args: StopArgs) -> int:
    """Stop or clear; return the exit code."""
    name = args.robot or only_robot()
    with RobotLink.of(RobotFile.load(name, data_root()), args.key).connect() as robot:
        if args.clear:
            robot.clear()
        else:
            robot.stop()
        state = robot.read_state()
    say(
        "cleared: the arm takes commands again" if args.clear else f"{name} stands still: {state.fault}",
        args.json,
    )
    emit_json(state, args.json)
    return DONE
