"""The processes behind `tandem gap`: one lab unit each, as many at a time as there are cores."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Sequence
from multiprocessing.queues import Queue
from typing import NamedTuple

from scripts.evaluate import PolicyChoice
from scripts.programs.gap_measure import UnitMeasurement
from scripts.programs.gap_record import GapFolder
from scripts.programs.process_tree import die_with_parent

_LOOK_S = 0.2


class Piece(NamedTuple):
    """One thing that has been done: an attempt, a picture, a pose."""

    seed: int
    stage: str
    words: str


class UnitFailed(RuntimeError):
    """A unit's process ended with an error."""


def measure_units(
    folder: GapFolder, choice: PolicyChoice, seeds: Sequence[int], workers: int, on_piece: Callable[[Piece], None]
) -> None:
    """Measure the units that are missing; raises UnitFailed after the others have ended."""
    context = multiprocessing.get_context("spawn")
    pieces: Queue[Piece] = context.Queue()
    failures: list[str] = []
    with context.Pool(max(1, min(workers, len(seeds))), _begin_worker, (pieces, os.getpid())) as pool:
        jobs = [pool.apply_async(_measure, (folder, choice, seed)) for seed in seeds]
        while not all(job.ready() for job in jobs):
            _drain(pieces, on_piece)
        _drain(pieces, on_piece)
        for seed, job in zip(seeds, jobs, strict=True):
            try:
                job.get()
            except Exception as error:  # whatever it was: the other units count all the same
                failures.append(f"seed {seed}: {type(error).__name__}: {error}")
    if failures:
        raise UnitFailed("; ".join(failures) + ". What was measured is kept: the same command goes on from there")


def _drain(pieces: Queue[Piece], on_piece: Callable[[Piece], None]) -> None:
    try:
        on_piece(pieces.get(timeout=_LOOK_S))
        while True:
            on_piece(pieces.get_nowait())
    except queue.Empty:
        return


_pieces: Queue[Piece] | None = None


def _begin_worker(pieces: Queue[Piece], parent_pid: int) -> None:
    global _pieces  # a pool's worker has no other place for it
    _pieces = pieces
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    die_with_parent(signal.SIGKILL, parent_pid)


def _measure(folder: GapFolder, choice: PolicyChoice, seed: int) -> None:
    def advance(stage: str, words: str) -> None:
        if _pieces is not None:
            _pieces.put(Piece(seed, stage, words))

    UnitMeasurement(folder, choice, seed, advance).run()
