"""Landmark models from the networks in a MediaPipe wheel: metadata is added, then two networks become one bundle.

The last wheels with networks in them are those of 0.10. Newer versions load the same networks once they say how a
picture's numbers are to be scaled. The same wheel always gives the same bytes.
Ref: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata (the metadata of a .tflite file).
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from perception.landmark_models import HAND_BUILT, POSE_BUILT, LandmarkModel
from scripts.programs.model_errors import WheelUnfit

#: The wheel, as a package index calls it: the last version that brings networks. Its platform does not matter.
WHEEL = "mediapipe==0.10.21"
WHEEL_TAGS = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")

_METADATA_NAME, _METADATA_ID, _NETWORK_ID = "TFLITE_METADATA", b"M001", b"TFL3"
#: A network's numbers are read where they lie in the file: they have to begin at a multiple of this.
_ALIGNMENT = 16
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
_PADDING_ID = 0xD935  # how zipalign marks what it puts in
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True, slots=True)
class Network:
    """One network: its name in the bundle, where it is in the wheel, and that (pixel - mean) / std is what it takes."""

    name: str
    member: str
    mean: float
    std: float


#: -1 to 1 for the detector of people, 0 to 1 for the others.
_NETWORKS = {
    POSE_BUILT: (
        Network("pose_detector.tflite", "mediapipe/modules/pose_detection/pose_detection.tflite", 127.5, 127.5),
        Network(
            "pose_landmarks_detector.tflite", "mediapipe/modules/pose_landmark/pose_landmark_full.tflite", 0.0, 255.0
        ),
    ),
    HAND_BUILT: (
        Network("hand_detector.tflite", "mediapipe/modules/palm_detection/palm_detection_full.tflite", 0.0, 255.0),
        Network(
            "hand_landmarks_detector.tflite", "mediapipe/modules/hand_landmark/hand_landmark_full.tflite", 0.0, 255.0
        ),
    ),
}
BUILT = tuple(_NETWORKS)


def build_model(model: LandmarkModel, wheel: Path) -> bytes:
    """Return the bytes of a bundle, one of `BUILT`; raises WheelUnfit where the wheel lacks a network."""
    try:
        with zipfile.ZipFile(wheel) as file:
            parts = [(network.name, _with_scaling(file.read(network.member), network)) for network in _NETWORKS[model]]
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise WheelUnfit(f"{wheel} is no wheel of {WHEEL} with its networks: {error}") from error
    return _bundle(parts)


def _with_scaling(network: bytes, about: Network) -> bytes:
    """Return the network with metadata that says how a picture is scaled for it."""
    import flatbuffers
    import numpy as np
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(network, 0)
    buffers = model.buffers or []
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_scaling(about), dtype=np.uint8)  # type: ignore[assignment]  # packed far faster
    entry = schema.MetadataT()
    entry.name, entry.buffer = _METADATA_NAME, len(buffers)
    model.buffers = [*buffers, buffer]
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(network) + 4096)
    builder.Finish(model.Pack(builder), _NETWORK_ID)
    return bytes(builder.Output())


def _scaling(about: Network) -> bytes:
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    options = schema.NormalizationOptionsT()
    options.mean, options.std = [about.mean], [about.std]
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, options
    picture = schema.TensorMetadataT()
    picture.name, picture.processUnits = "image", [unit]
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [picture]
    metadata = schema.ModelMetadataT()
    metadata.name, metadata.subgraphMetadata = about.name, [graph]
    builder = flatbuffers.Builder(256)
    builder.Finish(metadata.Pack(builder), _METADATA_ID)
    return bytes(builder.Output())


def _bundle(parts: list[tuple[str, bytes]]) -> bytes:
    """Return a zip of stored files, each beginning at an aligned place."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in parts:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # the same bytes wherever they are made
            unpadded = out.tell() + _LOCAL_HEADER_BYTES + len(name) + 4
            padding = -unpadded % _ALIGNMENT
            entry.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
            bundle.writestr(entry, data)
    return out.getvalue()
