"""Keys and pedal of a teleoperation: what each key means, and when a held one counts as let go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bridge.ports import Clock
from perception.teleop_policy import Wishes
from scripts.keyboard import ESCAPE

STOP_KEY, LEAVE_KEYS, CLEAR_KEY = " ", ("q", ESCAPE), "c"
#: Keys that overtake those before them.
STOPS = (STOP_KEY, *LEAVE_KEYS)
_LARGER, _SMALLER, _SCALE_STEP = ("+", "="), ("-", "_"), 1.15
#: A terminal repeats a held key after up to 0.66 s, then every 30 ms or so; it does not tell of the release.
_FIRST_REPEAT_S, _REPEAT_S = 0.7, 0.2

KEYS_HELP = "space emergency stop   c clear it   + - larger, smaller motion   q leave"


class HeldKey:
    """Whether a key is held, from how it repeats: at the latest 0.7 s after a tap, 0.2 s after a hold it is not."""

    def __init__(self) -> None:
        self._pressed_ns: int | None = None
        self._limit_s = _FIRST_REPEAT_S

    def press(self, now_ns: int) -> None:
        """Take note of the key."""
        self._limit_s = _REPEAT_S if self.held(now_ns) else _FIRST_REPEAT_S
        self._pressed_ns = now_ns

    def held(self, now_ns: int) -> bool:
        """Return whether it is held now; on a clock that went back it is not."""
        return self._pressed_ns is not None and 0 <= (now_ns - self._pressed_ns) * 1e-9 <= self._limit_s


class TeleopControls:
    """Implements `perception.teleop_policy.Controls`. Every source of keys returns the next one at once, or ''."""

    def __init__(
        self,
        clock: Clock,
        keys: Sequence[Callable[[], str]],
        deadman_key: str,
        pedal: Callable[[], bool] | None = None,
    ) -> None:
        """`pedal`: whether one is trodden on, where there is one; then the key is no deadman."""
        self._clock, self._keys, self._deadman_key, self._pedal = clock, tuple(keys), deadman_key, pedal
        self._held = HeldKey()

    @property
    def somebody_can_stop(self) -> bool:
        """Whether there are keys at all."""
        return bool(self._keys)

    def read(self) -> Wishes:
        """Return what is wanted now."""
        now_ns = self._clock.now_ns()
        pressed = [key for source in self._keys if (key := source())]
        if self._deadman_key in pressed:
            self._held.press(now_ns)
        scale = 1.0
        for key in pressed:
            scale *= _SCALE_STEP if key in _LARGER else 1 / _SCALE_STEP if key in _SMALLER else 1.0
        return Wishes(
            held=self._held.held(now_ns) if self._pedal is None else self._pedal(),
            stop="emergency stop by the space key" if STOP_KEY in pressed else "",
            leave=any(key in LEAVE_KEYS for key in pressed),
            scale_by=scale,
        )

    def wait_for_clear(self, wait: Callable[[], None]) -> bool:
        """Wait, `wait` after `wait`, until somebody clears the stop; return False where they leave instead."""
        while self._keys:
            for source in self._keys:
                key = source()
                if key == CLEAR_KEY:
                    return True
                if key in LEAVE_KEYS:
                    return False
            wait()
        return False
