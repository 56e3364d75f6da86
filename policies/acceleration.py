"""How a gradient step is computed: on which device, compiled or not, in which precision.

Both are off unless they are asked for: what they gain on a CPU is in docs/learning.md (compiled steps from depth are
half as many again, after half a minute at the start), and on a GPU, for which they are made, neither was measured.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import gymnasium
import torch

from policies.config import TrainConfig
from policies.errors import BadConfig
from policies.precision import choose_device

Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Computing:
    """Where networks learn, and how their gradient steps are computed."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a value
    compiled: bool = False
    mixed_precision: bool = False

    def step(self, function: Callable[Given, Made]) -> Callable[Given, Made]:
        """Return a function of tensors that draws nothing and changes nothing, compiled where that is wanted.

        On a GPU its kernels are replayed as one CUDA graph: what it returns lasts until `begin` is called again.
        """
        return torch.compile(function, mode="reduce-overhead") if self.compiled else function

    def begin(self) -> None:
        """Say that a gradient step begins, and nothing is needed any more of what the last one returned."""
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()

    def reduced(self) -> AbstractContextManager[object]:
        """Return the context in which matrix products and convolutions are bfloat16 where that is wanted.

        Its range is that of float32, so that no loss has to be scaled. What leaves the context is made float32 again.
        """
        return torch.autocast(self.device.type, torch.bfloat16) if self.mixed_precision else nullcontext()


def choose_computing(config: TrainConfig, space: gymnasium.Space[object]) -> Computing:
    """Return how a run learns from such observations.

    Raises BadConfig where `cuda` is asked for and there is no GPU, or `compiled` and there is no compiler.
    """
    device = choose_device(config.device, space)
    if config.compiled and device.type == "cpu":
        _check_compiler()
    return Computing(device, config.compiled, config.mixed_precision)


def _check_compiler() -> None:
    """Raise BadConfig where there is no C++ compiler: for a CPU PyTorch writes C++."""
    words = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++").split()
    if not words or shutil.which(words[0]) is None:
        raise BadConfig(
            f"compiled needs a C++ compiler on a CPU, and {' '.join(words) or 'the empty CXX'} is not found: install "
            "it (Debian, Ubuntu: apt install g++), name another in CXX, or train without --compiled"
        )
