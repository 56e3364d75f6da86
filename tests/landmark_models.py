"""The real landmark models, built once and kept beside pytest's own cache, and the pictures they are tried on."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.ports import Frame, Intrinsics
from perception.landmark_models import Finds
from scripts.programs.model_errors import SourceUnreachable
from scripts.programs.model_fetch import Kept, ModelFetcher, Source


def built_models(config: pytest.Config) -> tuple[Path, Path]:
    """Return the pose and the hand model; skips where no package index can be reached."""
    assert config.cache is not None
    folder = config.cache.mkdir("models")
    fetcher = ModelFetcher(folder, lambda words: None, lambda done, total: None)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run two at a time
        try:
            kept: tuple[Kept, ...] = fetcher.fetch(Source.WHEEL, (Finds.PEOPLE, Finds.HANDS))
        except SourceUnreachable as error:
            pytest.skip(f"the landmark models are built from a wheel of the package index: {error}")
    return kept[0].path, kept[1].path


def pose_data(name: str) -> Path:
    """Return a picture or film of a person; skips where the test data is not named."""
    folder = os.environ.get("TANDEM_TEST_DATA")
    if not folder:
        pytest.skip("set TANDEM_TEST_DATA to the folder of test data from elsewhere")
    return Path(folder) / "pose" / name


def frame_of(rgb: NDArray[np.uint8], seq: int = 0, stamp_ns: int | None = None) -> Frame:
    """Return the picture as a camera of 30 pictures a second would hand it out."""
    stamp_ns = 1_000_000_000 + seq * 33_333_333 if stamp_ns is None else stamp_ns
    return Frame("person", seq, stamp_ns, rgb, Intrinsics.unknown(rgb.shape[1], rgb.shape[0]))
