"""Statistics of a LeRobot dataset, per episode and of all of it: what its policies normalise with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.generic]
#: By name: min, max, mean, std, count, q01 q10 q50 q90 q99.
Stats = dict[str, NDArray[np.float64]]
_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_COUNT = "count"


def stats_of(values: Values, is_video: bool) -> Stats:
    """Return the statistics of a column (n, ...): each number by itself, pictures (n, C, H, W) channel by channel.

    Of videos they are shares of full brightness, (3, 1, 1).
    """
    numbers = values.astype(np.float64)
    if is_video:
        numbers = np.repeat(numbers, 3, axis=1) / 255 if numbers.shape[1] == 1 else numbers / 255
    axes, keep = ((0, 2, 3), True) if numbers.ndim == 4 else (0, False)
    found: Stats = {
        "min": numbers.min(axis=axes, keepdims=keep),
        "max": numbers.max(axis=axes, keepdims=keep),
        "mean": numbers.mean(axis=axes, keepdims=keep),
        "std": numbers.std(axis=axes, keepdims=keep),
    }
    for name, share in _QUANTILES.items():
        found[name] = np.quantile(numbers, share, axis=axes, keepdims=keep)
    shaped = {name: np.atleast_1d(v[0] if keep else v) for name, v in found.items()}
    return {**shaped, _COUNT: np.array([len(values)], dtype=np.float64)}


def plain(stats: Stats) -> dict[str, object]:
    """Return statistics as JSON and Parquet have them; counts are whole numbers."""
    return {name: [int(v[0])] if name == _COUNT else v.tolist() for name, v in stats.items()}


def flat(stats: Mapping[str, Stats]) -> dict[str, object]:
    """Return the statistics of all columns as an episode's row has them: stats/COLUMN/NAME."""
    return {f"stats/{key}/{name}": value for key, of in stats.items() for name, value in plain(of).items()}
