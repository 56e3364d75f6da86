"""`tandem`: reads the first words, imports that one subcommand, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the work failed, 2 the arguments or files are wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from scripts.commands import COMMANDS
from scripts.exit_codes import describe
from urdf.errors import UnknownName


def help_text() -> str:
    """Return what `tandem --help` prints."""
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tandem COMMAND [options]",
            "",
            "Two arms, one loop: train in simulation, run the same policy on the arm on the desk.",
            "",
            "commands:",
            *lines,
            "",
            "`tandem COMMAND --help` lists a command's options with their units. With --json a command prints one JSON",
            "object as the last line of stdout. Data lives in ./data, or in $TANDEM_DATA.",
            "Exit codes: 0 done, 1 the work failed, 2 the arguments or files are wrong, 130 interrupted.",
        ]
    )


def find_command(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the command that the first one or two words name, and the words after it; raises UnknownName."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    asked = words[0]
    group = [name for name in COMMANDS if name.startswith(f"{asked} ")]
    raise UnknownName("command", " ".join(words[:2]) if group else asked, group or COMMANDS)


def group_text(words: Sequence[str]) -> str:
    """Return the commands of the group that a lone word names, with or without `--help`; empty where it names none."""
    asked = [word for word in words if word not in ("-h", "--help")]
    named = len(asked) == 1 and asked[0] not in COMMANDS
    group = {name: c.summary for name, c in COMMANDS.items() if named and name.startswith(f"{asked[0]} ")}
    width = max(map(len, group), default=0)
    return "\n".join(f"  tandem {name:<{width}}  {summary}" for name, summary in group.items())


def main(words: Sequence[str] | None = None) -> int:
    """Run `tandem` with `words` (default: the command line) and return its exit code."""
    try:
        code = _run_words(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has seen enough, as in `tandem train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run_words(words: Sequence[str]) -> int:
    if not words:
        print(help_text(), file=sys.stderr)
        return 2
    if words[0] in ("-h", "--help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(_version())
        return 0
    if group := group_text(words):
        helped = len(words) > 1
        print(group, file=sys.stdout if helped else sys.stderr)
        return 0 if helped else 2
    prefix = "tandem"
    try:
        name, rest = find_command(words)
        prefix = f"tandem {name}"
        return COMMANDS[name].run(rest)
    except KeyboardInterrupt:
        print(f"{prefix}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        print(f"{prefix}: {known.line}", file=sys.stderr)
        return known.exit_code


def _version() -> str:
    try:
        return version("tandem-arm")
    except PackageNotFoundError:
        return "not installed (running from the source tree)"


if __name__ == "__main__":
    sys.exit(main())
