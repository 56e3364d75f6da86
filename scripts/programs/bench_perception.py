"""Every figure that is promised of eyes and rulers, from whichever program measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from scripts.programs.figures import Row

Progress = Callable[[str, float], None]


def _markers(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_markers import measure

    return measure(on_progress, only)


def _depth(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_depth_block import measure

    return measure(on_progress, only)


def _colour(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_colour_block import measure

    return measure(on_progress, only)


def _intrinsics(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_intrinsics import measure

    return measure(on_progress, only)


def _hand_eye(on_progress: Progress, _only: str) -> Iterable[Row]:
    from scripts.programs.bench_hand_eye import rows_of

    return rows_of(on_progress)


def _servos(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs import bench_actuator, bench_servos

    yield from bench_servos.measure(on_progress, only)
    yield from bench_actuator.measure(on_progress, only)


def _camera(on_progress: Progress, _only: str) -> Iterable[Row]:
    from scripts.programs.bench_camera import rows_of

    return rows_of(on_progress)


def _gap(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_gap import measure

    return measure(on_progress, only)


#: What the figures of each part have in their names, quick parts first, and what measures them.
PARTS: tuple[tuple[tuple[str, ...], Callable[[Progress, str], Iterable[Row]]], ...] = (
    (("marker", "block", "detection and pose"), _markers),
    (("block from 64x64 wrist depth",), _depth),
    (("colour",), _colour),
    (("intrinsics",), _intrinsics),
    (("hand-eye",), _hand_eye),
    (("camera -> observation",), _camera),
    (("servo zeros by camera", "actuator"), _servos),
    (("gap", "servo zeros in the lab", "lab on the pty"), _gap),
)


def measure(on_progress: Progress, only: str) -> Iterator[Row]:
    """Yield at least the rows whose figure contains `only`; a word that no part is known by is looked for in all."""
    chosen = [take for names, take in PARTS if any(only in name or name in only for name in names)]
    for take in chosen or [take for _, take in PARTS]:
        yield from take(on_progress, only)
