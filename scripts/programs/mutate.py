"""Mutation testing: is there a test for every part of the safety filter and of the watchdog?

Each mutant (scripts/programs/mutations.py) replaces its module in a copy of the tree, and the tests of that module run
there until one fails. A mutant that no test notices survived: a test is missing, or the change makes no difference.
The latter are named with their reasons in tests/equivalent_mutants.toml; a name that fits no survivor fails the run.

Ours, because what PyPI keeps (mutmut 3, cosmic-ray 8) leaves out constants of a module or numbers its mutants, so that
names given to survivors would not outlast an edit. Run by `make check-deep`; by hand:

    python -m scripts.programs.mutate --jobs 2 [--only watchdog] [--list]
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: a process that forks has one thread

import hypothesis.extra.pytestplugin  # noqa: F401
import pytest
import tyro

import urdf.description  # noqa: F401
from scripts.programs.mutations import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.toml"
#: Which tests ask about a module; the quick ones first.
TARGETS = {
    "bridge/watchdog.py": ("tests/bridge/test_watchdog.py",),
    "bridge/safety.py": (
        "tests/bridge/test_safety_figures.py",
        "tests/bridge/test_safety.py",
        "tests/bridge/test_safety_sentences.py",
    ),
}
LEAST_KILLED = 0.95
SEQUENCES = "400"  # of tests/bridge/test_safety_sentences.py: enough to notice, and five times quicker
PATIENCE = 10.0  # a mutant that takes so many times longer than the module itself goes round in circles
LEAST_PATIENCE_S = 60.0
POLL_S = 0.02
_COPIED = ("bridge", "urdf", "tests/bridge", "tests/__init__.py", "tests/conftest.py", "pyproject.toml")
_IGNORED = shutil.ignore_patterns("__pycache__", ".*")

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class MutateArgs:
    """Mutation testing of the safety filter and the watchdog."""

    only: str = ""
    """Only the modules whose path contains this."""
    jobs: int = 2
    """Mutants at a time."""
    list: bool = False
    """List the mutants and run nothing."""


class Workbench:
    """A copy of the tree in which one mutant at a time is tried, in a child of this process.

    A fork has NumPy and pytest loaded already: of three seconds that a mutant took, two were imports.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: int | None = None
        self._begun_s = 0.0
        for name in _COPIED:
            source, copy = ROOT / name, folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=_IGNORED)
            else:
                shutil.copy(source, copy)

    @property
    def idle(self) -> bool:
        """Whether nothing is being tried."""
        return self._child is None

    def begin(self, file: str, source: str) -> None:
        """Start the tests of a module with this source in its place."""
        (self._folder / file).write_text(source)
        shutil.rmtree(self._folder / ".hypothesis", ignore_errors=True)  # what failed one mutant is no help to the next
        self._begun_s = time.monotonic()
        self._child = os.fork()
        if self._child == 0:
            self._run(TARGETS[file])

    def passed(self, limit_s: float) -> bool | None:
        """Return whether the tests passed, None while they run; tests that run for too long have not passed."""
        assert self._child is not None
        ended, status = os.waitpid(self._child, os.WNOHANG)
        if not ended and time.monotonic() - self._begun_s > limit_s:
            os.kill(self._child, signal.SIGKILL)
            ended, status = os.waitpid(self._child, 0)
        if not ended:
            return None
        self._child = None
        return status == 0

    def result(self, file: str, source: str, limit_s: float) -> bool:
        """Return whether the tests pass; waits for them."""
        self.begin(file, source)
        while (passed := self.passed(limit_s)) is None:
            time.sleep(POLL_S)
        return passed

    def _run(self, tests: Sequence[str]) -> NoReturn:
        """Be the child: run pytest on the copy and leave with its exit code, whatever happens."""
        code = 1
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            os.chdir(self._folder)
            os.environ["TANDEM_SEQUENCES"] = SEQUENCES
            sys.path.insert(0, str(self._folder))
            sys.dont_write_bytecode = True  # a mutant of the same size within the same second would pass for the last
            options = ("-q", "-x", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0")
            for test in tests:  # one after the other: most mutants never see the second
                code = int(pytest.main([*options, test]))
                if code:
                    break
        finally:
            os._exit(code)


def read_equivalent(path: Path) -> dict[Key, str]:
    """Return the reasons of the mutants that are named as equivalent."""
    with path.open("rb") as file:
        entries = tomllib.load(file)["mutant"]
    return {(e["file"], e["within"], e["was"], e["becomes"]): e["reason"] for e in entries}


def survivors_of(mutants: Sequence[Mutant], benches: Sequence[Workbench], limit_s: float) -> list[Mutant]:
    """Return the mutants that no test notices; prints how far it is."""
    begun_s, done = time.monotonic(), 0
    waiting = list(reversed(mutants))
    tried: dict[Workbench, Mutant] = {}
    survivors: list[Mutant] = []
    while waiting or tried:
        for bench in benches:
            passed = None if bench.idle else bench.passed(limit_s)
            if passed is not None:
                mutant, done = tried.pop(bench), done + 1
                if passed:
                    survivors.append(mutant)
                if passed or done % 20 == 0:
                    left_s = (time.monotonic() - begun_s) / done * (len(mutants) - done)
                    print(f"  {done}/{len(mutants)}, {len(survivors)} alive, {left_s:.0f} s to go", flush=True)
            if bench.idle and waiting:
                tried[bench] = waiting.pop()
                bench.begin(tried[bench].file, tried[bench].source)
        time.sleep(POLL_S)
    return survivors


def limit_for(file: str, bench: Workbench) -> float:
    """Return how long a mutant may take; raises SystemExit where the tests do not tell right from wrong at all."""
    begun_s = time.monotonic()
    if not bench.result(file, (ROOT / file).read_text(), 600.0):
        raise SystemExit(f"mutate: the tests of {file} fail before anything is changed")
    limit_s = max(PATIENCE * (time.monotonic() - begun_s), LEAST_PATIENCE_S)
    if bench.result(file, "raise RuntimeError\n", limit_s):
        raise SystemExit(f"mutate: the tests of {file} do not load the copy that is changed")
    return limit_s


def try_module(file: str, jobs: int, named: dict[Key, str]) -> bool:
    """Try every mutant of a module and print the count; return whether the promise holds."""
    mutants = mutants_of(file, (ROOT / file).read_text())
    print(f"{file}: {len(mutants)} mutants", flush=True)
    with tempfile.TemporaryDirectory(prefix="tandem-mutants-") as folder:
        benches = [Workbench(Path(folder) / str(k)) for k in range(jobs)]
        survivors = survivors_of(mutants, benches, limit_for(file, benches[0]))
    alive = {m.key for m in survivors}
    unnamed = [m for m in survivors if m.key not in named]
    idle = [key for key in named if key[0] == file and key not in alive]
    killed = len(mutants) - len(survivors)
    for mutant in unnamed:
        print(f"survived in {mutant.within or 'the module'}:\n{mutant.diff}")
    for key in idle:
        print(f"named as equivalent in {EQUIVALENT.name}, but killed or gone: {key}")
    print(
        f"{file}: killed {killed}, survived {len(survivors)} ({len(survivors) - len(unnamed)} named as equivalent), "
        f"total {len(mutants)}: {100 * killed / len(mutants):.1f} % killed",
        flush=True,
    )
    return not idle and (not unnamed or killed >= LEAST_KILLED * len(mutants))


def main() -> None:
    """Parse the arguments, try the modules, exit 1 where too many mutants live."""
    args = tyro.cli(MutateArgs, description=__doc__)
    files = [file for file in TARGETS if args.only in file]
    if args.list:
        for file in files:
            for mutant in mutants_of(file, (ROOT / file).read_text()):
                print(f"{file} {mutant.within}: {mutant.was}  ->  {mutant.becomes}")
        return
    named = read_equivalent(EQUIVALENT)
    held = [try_module(file, args.jobs, named) for file in files]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
