"""PoseEstimator: people, and their hands where asked, in one picture after another. MediaPipe's landmarkers.

Ref: https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker/python (the Tasks API, video mode).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Frame
from perception.body import HAND_LANDMARKS, LANDMARKS, BodyPose, HandPose, Landmark, PeopleSighting, Side
from perception.errors import LibraryMissing, ModelUnfit
from perception.landmark_models import Finds, read_model
from perception.quiet import without_chatter

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision.hand_landmarker import HandLandmarker, HandLandmarkerResult
    from mediapipe.tasks.python.vision.pose_landmarker import PoseLandmarker

#: Stamps that rise by more than this, or do not rise, say nothing about the time between two pictures.
_LONGEST_STEP_NS, _USUAL_STEP_MS = 1_000_000_000, 33
#: Two bodies that lie nearer together than this share of the shorter trunk are one person, seen twice.
_SAME_PERSON = 0.5
_TRUNK = (Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER, Landmark.LEFT_HIP, Landmark.RIGHT_HIP)


@dataclass(frozen=True, slots=True)
class PoseSettings:
    """How many people are looked for, and how sure the model has to be: 0 to 1.

    With `most_people` 1 the model follows one person from picture to picture and looks for nobody else while it sees
    them, in half the time.
    """

    most_people: int = 2
    min_detection: float = 0.5
    min_presence: float = 0.5
    min_tracking: float = 0.5


class _Point(Protocol):
    """A landmark of MediaPipe's, whose own classes have no types."""

    x: float
    y: float
    z: float
    visibility: float | None


class PoseEstimator:
    """Finds people in the pictures of one camera. A context, or to be closed; one thread at a time.

    `pose_model` and `hand_model` are files of `tandem models fetch`; without the second no hands are looked for.
    Raises ModelMissing, ModelUnfit or LibraryMissing.
    """

    def __init__(self, pose_model: Path, hand_model: Path | None = None, settings: PoseSettings | None = None) -> None:
        settings = settings or PoseSettings()
        pose_bytes = read_model(pose_model, Finds.PEOPLE)
        hand_bytes = None if hand_model is None else read_model(hand_model, Finds.HANDS)
        self._clock = _VideoClock()
        self._met_people = self._met_hands = False
        try:
            with without_chatter():
                self._pose = _pose_landmarker(pose_bytes, pose_model, settings)
                self._hand = None if hand_bytes is None else _hand_landmarker(hand_bytes, hand_model, settings)
        except OSError as error:
            raise LibraryMissing(f"MediaPipe cannot be loaded: {error}: sudo apt install libegl1 libgles2") from error

    def __enter__(self) -> PoseEstimator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the models go. MediaPipe complains loudly about one that is still there when the interpreter ends."""
        self._pose.close()
        if self._hand is not None:
            self._hand.close()

    def detect(self, frame: Frame) -> PeopleSighting:
        """Return who is in the picture. A stamp that repeats or jumps costs smoothness, nothing else."""
        import mediapipe

        height_px, width_px = frame.rgb.shape[:2]
        picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(frame.rgb, dtype=np.uint8))
        at_ms = self._clock.next_ms(frame.stamp_ns)
        # The networks behind the first person, and the first hand, are set up when there is one.
        settled = self._met_people and (self._hand is None or self._met_hands)
        with nullcontext() if settled else without_chatter():
            found = self._pose.detect_for_video(picture, at_ms)
            hands = None if self._hand is None else self._hand.detect_for_video(picture, at_ms)
        bodies = distinct(
            [_body(*pair) for pair in zip(found.pose_landmarks, found.pose_world_landmarks, strict=True)],
            width_px / height_px,
        )
        seen_hands = () if hands is None else _hands(hands)
        self._met_people |= bool(bodies)
        self._met_hands |= bool(seen_hands)
        return PeopleSighting(frame.seq, frame.stamp_ns, width_px, height_px, bodies, seen_hands)


class _VideoClock:
    """Milliseconds that always rise, as MediaPipe demands, from stamps that may repeat or jump."""

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._now_ms = 0

    def next_ms(self, stamp_ns: int) -> int:
        step_ns = None if self._stamp_ns is None else stamp_ns - self._stamp_ns
        self._stamp_ns = stamp_ns
        known = step_ns is not None and 0 < step_ns <= _LONGEST_STEP_NS
        self._now_ms += max(1, round(step_ns * 1e-6)) if step_ns is not None and known else _USUAL_STEP_MS
        return self._now_ms


def distinct(bodies: Sequence[BodyPose], aspect: float) -> tuple[BodyPose, ...]:
    """Return the bodies without those that are another one seen twice; of two, the one that is seen better is kept.

    The model follows each person from where they were, so that two whose ways crossed may both end on the nearer one.
    """
    kept: list[BodyPose] = []
    for body in sorted(bodies, key=lambda body: -float(body.visibility.mean())):
        if all(_apart(body, other, aspect) > _SAME_PERSON for other in kept):
            kept.append(body)
    return tuple(body for body in bodies if any(body is other for other in kept))


def _apart(one: BodyPose, other: BodyPose, aspect: float) -> float:
    """Return how far two trunks are apart, in lengths of the shorter one."""
    scale = np.array([aspect, 1.0])
    trunks = [body.image[list(_TRUNK)] * scale for body in (one, other)]
    lengths = [float(np.linalg.norm(trunk[:2].mean(axis=0) - trunk[2:].mean(axis=0))) for trunk in trunks]
    return float(np.linalg.norm(trunks[0] - trunks[1], axis=1).mean()) / max(min(lengths), 1e-6)


def _pose_landmarker(data: bytes, path: Path, settings: PoseSettings) -> PoseLandmarker:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=data),
        running_mode=vision.RunningMode.VIDEO,
        num_poses=settings.most_people,
        min_pose_detection_confidence=settings.min_detection,
        min_pose_presence_confidence=settings.min_presence,
        min_tracking_confidence=settings.min_tracking,
    )
    try:
        return vision.PoseLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ModelUnfit(f"MediaPipe takes no {path}: {error}") from error


def _hand_landmarker(data: bytes, path: Path | None, settings: PoseSettings) -> HandLandmarker:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=data),
        running_mode=vision.RunningMode.VIDEO,
        num_hands=2 * settings.most_people,
        min_hand_detection_confidence=settings.min_detection,
        min_hand_presence_confidence=settings.min_presence,
        min_tracking_confidence=settings.min_tracking,
    )
    try:
        return vision.HandLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ModelUnfit(f"MediaPipe takes no {path}: {error}") from error


def _body(image: Sequence[_Point], world: Sequence[_Point]) -> BodyPose:
    visibility = np.array([point.visibility or 0.0 for point in image])
    return BodyPose(_rows(image)[:, :2], _rows(world), visibility)


def _hands(found: HandLandmarkerResult) -> tuple[HandPose, ...]:
    each = zip(found.handedness, found.hand_landmarks, found.hand_world_landmarks, strict=True)
    return tuple(
        _hand(Side.LEFT if kind[0].category_name == "Left" else Side.RIGHT, float(kind[0].score or 0.0), image, world)
        for kind, image, world in each
    )


def _hand(side: Side, score: float, image: Sequence[_Point], world: Sequence[_Point]) -> HandPose:
    return HandPose(side, _rows(image)[:, :2], _rows(world), score)


def _rows(points: Sequence[_Point]) -> NDArray[np.float64]:
    assert len(points) in (LANDMARKS, HAND_LANDMARKS)
    return np.array([(point.x, point.y, point.z) for point in points], dtype=np.float64)
