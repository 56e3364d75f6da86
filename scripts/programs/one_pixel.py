"""The reference's Coordinate-CNN experiment: where is the one black pixel in a white picture of 64 x 64?

The reference split 4,096 pictures 80 to 20, and its network of two convolutions and a layer of 16,384 numbers reached a
mean square of 5.7e-4 in ten epochs, the picture being one unit wide: 1.5 pixels. The locator's network does it with the
same settings (batches of 32, Adam at 1e-3, no look at the uncertainty).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perception.locator_training import Lesson, LocatorTrainer

SIDE_PX, EPOCHS, BATCH, RATE, SEED = 64, 10, 32, 1e-3, 42
#: What the reference reached after ten epochs, as mean square of the two coordinates, rounded up.
BAR = 6e-4


def one_pixel_lessons(count: int | None = None) -> tuple[Lesson, Lesson]:
    """Return the pictures to learn from and those to be judged by, 80 to 20: all, or the first `count` of each."""
    rows, columns = np.divmod(np.arange(SIDE_PX**2), SIDE_PX)
    pictures = np.ones((SIDE_PX**2, 1, SIDE_PX, SIDE_PX), dtype=np.float32)
    pictures[np.arange(SIDE_PX**2), 0, rows, columns] = 0.0
    place = 2.0 * np.column_stack([columns, rows]) / (SIDE_PX - 1) - 1.0
    order = np.random.default_rng(SEED).permutation(SIDE_PX**2)
    cut = round(0.8 * SIDE_PX**2)
    parts = [
        Lesson(pictures[part], place[part], np.zeros((len(part), 2)), np.ones(len(part), dtype=np.bool_))
        for part in (order[:cut][:count], order[cut:][:count])
    ]
    return parts[0], parts[1]


def run_one_pixel(
    on_epoch: Callable[[int, float], None], epochs: int = EPOCHS, enough: float = 0.0, pictures: int | None = None
) -> list[float]:
    """Train; return the mean square of the validation after every epoch, of coordinates from 0 to 1.

    `enough`: it ends when this is reached. `pictures`: learn from so many only.
    """
    learn, judge = one_pixel_lessons(pictures)
    trainer = LocatorTrainer(1, epochs, BATCH, RATE, SEED)
    squares: list[float] = []
    for number in range(epochs):
        trainer.epoch(learn, sure=False)
        apart = (trainer.outputs(judge.pictures)[:, :2] - judge.place) / 2.0
        squares.append(float(np.mean(apart**2)))
        on_epoch(number, squares[-1])
        if squares[-1] <= enough:
            break
    return squares
