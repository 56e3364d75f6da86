"""Where and how exactly networks are computed: as fast as can be without losing anything."""

from __future__ import annotations

import gymnasium
import torch

from policies.errors import BadConfig
from policies.parts import parts_of

#: Of a product in float32, relative to its size.
_PRODUCT_ERROR = 1e-6


def choose_precision() -> None:
    """Let float32 products take the faster of two exact ways, where this processor has one.

    On AMD processors `medium` takes oneDNN's kernels, twice as fast as those that MKL picks, and as exact. On others it
    may mean bfloat16: so a product decides.
    """
    if torch.cuda.is_available():
        return  # there it would mean TF32
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(256, 256, generator=rng), torch.randn(256, 256, generator=rng)
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    error = float(((a @ b).double() - exact).norm() / exact.norm())
    if error > _PRODUCT_ERROR:
        torch.set_float32_matmul_precision("highest")


def choose_device(asked: str, space: gymnasium.Space[object]) -> torch.device:
    """Return where to learn from such observations; raises BadConfig where `cuda` is asked for and there is no GPU."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise BadConfig("device is cuda, but PyTorch finds no GPU here; valid: auto, cpu")
    pictures = any(len(box.shape) == 3 for box in parts_of(space).values())
    return torch.device("cuda" if asked == "cuda" or (asked == "auto" and there and pictures) else "cpu")
