"""Somebody sets the machine's clock by an hour while the arm moves: nobody on it notices."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from bridge.episode_reader import read_episode
from bridge.errors import CommandRefused
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from tests.bridge.benches import eventually
from tests.bridge.served_bench import ARM, CLOCK, MOVE_SIX, Bench
from tests.bridge.stepped_clock import COMPILER, SteppedClock

pytestmark = pytest.mark.skipif(COMPILER is None, reason="without a C compiler no process's clock can be stepped here")
HOUR_S, STEPS = 3600, 5


@pytest.fixture
def clock(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> SteppedClock:
    clock = SteppedClock(tmp_path_factory.mktemp("clock"))
    bench.environment |= clock.environment
    return clock


def test_the_clock_of_a_process_can_be_stepped(clock: SteppedClock, bench: Bench) -> None:
    clock.step_to(HOUR_S)
    told = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    done = subprocess.run([sys.executable, "-c", told], env=bench.environment, capture_output=True, check=True)
    wall_s, date_s, monotonic_s = map(float, done.stdout.split())
    assert wall_s - time.time() == pytest.approx(HOUR_S, abs=30.0)
    assert date_s - time.time() == pytest.approx(HOUR_S, abs=30.0)
    assert monotonic_s == pytest.approx(time.monotonic(), abs=30.0)


def test_a_clock_that_is_stepped_by_an_hour_moves_nothing_and_bends_nothing(clock: SteppedClock, bench: Bench) -> None:
    bench.board.press_k1(CLOCK.now_ns())  # without torque the bench's arm falls through its desk: no way is clear
    server = bench.serve("hold", ["--hold-after-s", "0.5"])
    client = bench.stream()
    with RemoteRobot(bench.endpoint, ARM, CLOCK) as other:
        for _ in range(STEPS):
            for ahead_s in (HOUR_S, -HOUR_S):
                clock.step_to(ahead_s)
                time.sleep(0.15)
                with pytest.raises(CommandRefused, match="in control"):  # the lease lasts
                    other.send(JointCommand(CLOCK.now_ns(), CLOCK.now_ns(), other.read_state().position_rad, 0.05))
        client.kill()
        killed_ns = time.monotonic_ns()
        clock.step_to(-HOUR_S)
        assert eventually(lambda: other.read_state().holding, 5.0)  # the watchdog does not wait for the hour to pass
        assert (time.monotonic_ns() - killed_ns) * 1e-9 < 3.0
    clock.step_to(HOUR_S)
    server.terminate()
    said, _ = server.communicate(timeout=20)
    counted = Counter({word: int(number) for word, number in re.findall(r"(watchdog|lateness|stale): (\d+)", said)})
    # A busy machine may be late by itself; a step that counted as time would be one each.
    assert 1 <= counted["watchdog"] < STEPS  # the killed client is one
    assert counted["lateness"] < STEPS
    assert "stale" not in counted
    (accepted,) = re.findall(r"(\d+) commands accepted", said)
    assert int(accepted) > 20
    assert_times_of_the_recording_are_real(bench)


def assert_times_of_the_recording_are_real(bench: Bench) -> None:
    """Every time in it goes on from its beginning; only the end, which asks the clock anew, is an hour away."""
    (path,) = (bench.folder / "episodes").glob("*_serve.mcap")
    episode = read_episode(path)
    moves = [f.stamp_ns for f in bench.heard(0) if f.command == MOVE_SIX]
    stamps = np.array([w.stamp_ns for w in episode.bus_sent])
    assert np.median(np.abs(stamps - moves)) < 50_000_000
    assert np.diff(stamps).min() > 0
    assert episode.duration_s == pytest.approx((moves[-1] - moves[0]) * 1e-9, abs=5.0)
    assert abs(episode.header.start_utc_ns * 1e-9 - time.time()) < 120.0
    assert episode.ending is not None
    end = datetime.strptime(episode.ending.end_utc, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert end - time.time() == pytest.approx(HOUR_S, abs=60.0)
