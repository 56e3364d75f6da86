from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from scripts.programs.turn_clock import TurnClock


@pytest.fixture
def clock() -> Iterator[TurnClock]:
    clock = TurnClock(lambda now_ns: None, 1000)
    yield clock
    clock.close()


def test_time_passes_in_whole_steps_while_the_driver_sleeps() -> None:
    steps: list[int] = []
    clock = TurnClock(steps.append, 1000)
    began = clock.now_ns()
    clock.sleep_until(began + 2_500_000)
    assert clock.now_ns() == began + 3_000_000
    assert steps == [began + k * 1_000_000 for k in (1, 2, 3)]


def test_threads_take_turns_in_the_order_of_their_deadlines(clock: TurnClock) -> None:
    seen: list[tuple[str, int]] = []
    began = clock.now_ns()

    def sleeper(name: str, period_ns: int) -> None:
        for _ in range(3):
            clock.sleep_until(clock.now_ns() + period_ns)
            seen.append((name, (clock.now_ns() - began) // 1_000_000))

    threads = [threading.Thread(target=sleeper, args=a) for a in (("slow", 5_000_000), ("quick", 2_000_000))]
    for thread in threads:
        thread.start()
        clock.await_thread()
    clock.sleep_until(began + 20_000_000)
    assert seen == [("quick", 2), ("quick", 4), ("slow", 5), ("quick", 6), ("slow", 10), ("slow", 15)]
    for thread in threads:
        thread.join(timeout=2.0)


def test_a_thread_that_waits_for_something_wakes_when_it_happens_or_at_its_deadline(clock: TurnClock) -> None:
    news: list[str] = []
    results: list[tuple[bool, int]] = []
    began = clock.now_ns()

    def waiter() -> None:
        for deadline_ns in (began + 50_000_000, began + 12_000_000):
            results.append((clock.wait_for(lambda: bool(news), deadline_ns), clock.now_ns() - began))
            news.clear()

    thread = threading.Thread(target=waiter)
    thread.start()
    clock.await_thread()
    clock.sleep_until(began + 3_000_000)
    news.append("hello")
    clock.sleep_until(began + 20_000_000)
    assert results == [(True, 4_000_000), (False, 12_000_000)]
    thread.join(timeout=2.0)


def test_a_closed_clock_lets_every_thread_go(clock: TurnClock) -> None:
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            clock.sleep_until(clock.now_ns() + 1_000_000)

    thread = threading.Thread(target=loop)
    thread.start()
    clock.await_thread()
    clock.close()
    stop.set()
    thread.join(timeout=2.0)
    assert not thread.is_alive()
