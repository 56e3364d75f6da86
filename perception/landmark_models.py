"""The landmark models that are known here, each by the SHA-256 of its file; nothing else is loaded.

Ref: https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker#models and .../hand_landmarker#models.
Where the files come from: docs/models.md, `tandem models fetch`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from perception.errors import ModelMissing, ModelUnfit


class Finds(StrEnum):
    """What a model finds in a picture."""

    PEOPLE = "people"
    HANDS = "hands"


@dataclass(frozen=True, slots=True)
class LandmarkModel:
    """A model bundle: the name of its file without `.task`, what it finds, and the SHA-256 of its bytes."""

    name: str
    finds: Finds
    sha256: str

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.name}.task"


#: Google's bundles, version 1, and those built from the networks that a MediaPipe wheel brings. Best first.
POSE_LITE = LandmarkModel(
    "pose_landmarker_lite", Finds.PEOPLE, "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a"
)
POSE_FULL = LandmarkModel(
    "pose_landmarker_full", Finds.PEOPLE, "4eaa5eb7a98365221087693fcc286334cf0858e2eb6e15b506aa4a7ecdcec4ad"
)
POSE_BUILT = LandmarkModel(
    "pose_landmarker_built", Finds.PEOPLE, "7a36936bdd6c2c8321be4c20eb31b0490893297ca86dcca66b09b70a5671d0f0"
)
HAND = LandmarkModel("hand_landmarker", Finds.HANDS, "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1")
HAND_BUILT = LandmarkModel(
    "hand_landmarker_built", Finds.HANDS, "d75a07ba82cb9ca0bb41cb4a4835b5918069c0d45061dee17f206daaa58d7c20"
)
MODELS = (POSE_LITE, POSE_FULL, POSE_BUILT, HAND, HAND_BUILT)


def read_model(path: Path, finds: Finds) -> bytes:
    """Return the bytes of a known model that finds this, whatever its file is called.

    Raises ModelMissing where there is no such file, ModelUnfit where it is another one.
    """
    if not path.is_file():
        raise ModelMissing(path)
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    model = next((model for model in MODELS if model.sha256 == sha256), None)
    if model is None:
        valid = ", ".join(f"{m.name} {m.sha256[:12]}…" for m in MODELS if m.finds is finds)
        raise ModelUnfit(
            f"{path} has the SHA-256 {sha256}, which is no model that is known here: expected one of {valid}. "
            "Remove it and fetch it again: `tandem models fetch`"
        )
    if model.finds is not finds:
        raise ModelUnfit(f"{path} is {model.name}, which finds {model.finds}: expected a model that finds {finds}")
    return data


def find_model(folder: Path, finds: Finds) -> Path:
    """Return the file in `folder` of the first known model that finds this; raises ModelMissing where there is none."""
    fit = [folder / model.file_name for model in MODELS if model.finds is finds]
    for path in fit:
        if path.is_file():
            return path
    raise ModelMissing(fit[0])
