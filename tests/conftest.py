"""What every test stands on."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.bridge.served_bench import Bench

# A shell that starts this in the background has Ctrl-C ignored, and every process started from here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
#: The files that take longest; they go first, so that none is left to run alone at the end of two workers' work.
_LONGEST = ("test_train", "test_evaluate", "test_bench_train", "test_bench_command", "test_observe", "test_ship")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and leave the deep tests to `make check-deep`."""
    items.sort(key=lambda item: item.path.stem not in _LONGEST)
    if os.environ.get("TANDEM_DEEP", "") in ("", "0"):
        for item in items:
            if item.get_closest_marker("deep") is not None:
                item.add_marker(pytest.mark.skip(reason="deep: set TANDEM_DEEP=1"))


@pytest.fixture(scope="session")
def landmark_models(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """The pose and the hand model as files: real ones, built once and kept for the next session."""
    from tests.landmark_models import built_models  # needs what the Pi half does without

    return built_models(request.config)


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Generator[Bench]:
    """A unit on a servo board, and whoever serves it; in a folder of a short name, since a socket's path is short."""
    bench = Bench(tmp_path_factory.mktemp("b"))
    try:
        yield bench
    finally:
        bench.end()
