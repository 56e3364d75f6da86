from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from perception.body import BodyPose, Landmark, PeopleSighting, Side
from perception.errors import ModelMissing, ModelUnfit
from perception.pose import PoseEstimator, PoseSettings, distinct
from tests.landmark_models import frame_of, pose_data

ROOT = Path(__file__).parents[2]
Models = tuple[Path, Path]
Picture = NDArray[np.uint8]


def picture(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def film(path: Path) -> list[Picture]:
    capture, pictures = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        pictures.append(np.asarray(read[1][:, :, ::-1], dtype=np.uint8))
    return pictures


@pytest.fixture
def estimator(landmark_models: Models) -> Iterator[PoseEstimator]:
    with PoseEstimator(landmark_models[0]) as estimator:
        yield estimator


@pytest.fixture(scope="module")
def watched(landmark_models: Models) -> list[PeopleSighting]:
    with PoseEstimator(landmark_models[0], settings=PoseSettings(most_people=1)) as estimator:
        return [estimator.detect(frame_of(rgb, k)) for k, rgb in enumerate(film(pose_data("pose_1.mp4")))]


def test_the_photograph_of_an_astronaut_has_one_person_who_faces_the_camera(estimator: PoseEstimator) -> None:
    sighting = estimator.detect(frame_of(skimage.data.astronaut(), seq=7))
    assert (sighting.seq, sighting.width_px, sighting.height_px) == (7, 512, 512)
    (body,) = sighting.bodies
    # Read off the photograph by eye, in pixels: her nose, her left and right shoulder under the suit.
    assert body.image[Landmark.NOSE] * 512 == pytest.approx([222, 127], abs=12)
    assert body.image[Landmark.LEFT_SHOULDER] * 512 == pytest.approx([310, 250], abs=30)
    assert body.image[Landmark.RIGHT_SHOULDER] * 512 == pytest.approx([112, 240], abs=30)
    assert body.visibility[[Landmark.NOSE, Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER]].min() > 0.9
    assert body.visibility[Landmark.LEFT_WRIST] < 0.5, "her arms are below the photograph's edge"


def test_the_worlds_axes_are_right_down_and_away_from_the_camera(estimator: PoseEstimator) -> None:
    (body,) = estimator.detect(frame_of(skimage.data.astronaut())).bodies
    left, right = body.world_m[Landmark.LEFT_SHOULDER], body.world_m[Landmark.RIGHT_SHOULDER]
    assert left[0] > right[0], "who faces the camera has the left shoulder on the picture's right"
    assert 0.2 < float(np.linalg.norm(left - right)) < 0.5
    assert body.world_m[Landmark.NOSE][1] < left[1] < 0, "above the hips, the nose above the shoulders"
    assert body.world_m[Landmark.NOSE][2] < (left + right)[2] / 2, "the nose is nearer to the camera"


def test_a_whole_body_at_the_side_of_the_sea(estimator: PoseEstimator) -> None:
    rgb = picture(pose_data("pose.jpg"))
    (body,) = estimator.detect(frame_of(rgb)).bodies
    # Fingertips, read off the photograph: his arms are stretched out to both sides at one height.
    wrists = body.image[[Landmark.RIGHT_WRIST, Landmark.LEFT_WRIST]] * [1000, 667]
    assert np.sort(wrists[:, 0]) == pytest.approx([280, 710], abs=40)
    assert wrists[:, 1] == pytest.approx([310, 313], abs=25)


def test_nobody_is_in_a_black_picture(estimator: PoseEstimator) -> None:
    assert estimator.detect(frame_of(np.zeros((480, 640, 3), dtype=np.uint8))).bodies == ()


def two_astronauts() -> Picture:
    """Return the photograph twice, 300 grey pixels between the two."""
    return np.tile(np.pad(skimage.data.astronaut(), ((0, 0), (150, 150), (0, 0)), constant_values=90), (1, 2, 1))


def test_two_people_side_by_side_are_two(estimator: PoseEstimator) -> None:
    bodies = estimator.detect(frame_of(two_astronauts())).bodies
    noses = sorted(float(body.image[Landmark.NOSE][0]) * 1624 for body in bodies)
    assert noses == pytest.approx([150 + 222, 812 + 150 + 222], abs=12)


def test_one_person_is_looked_for_where_one_is_asked_for(landmark_models: Models) -> None:
    with PoseEstimator(landmark_models[0], settings=PoseSettings(most_people=1)) as estimator:
        assert len(estimator.detect(frame_of(two_astronauts())).bodies) == 1


def test_the_person_of_the_film_is_seen_in_every_picture_and_moves_the_wrist(watched: list[PeopleSighting]) -> None:
    assert [len(sighting.bodies) for sighting in watched] == [1] * 120
    wrist_m = np.array([s.bodies[0].world_m[Landmark.LEFT_WRIST] for s in watched])
    assert float(np.ptp(wrist_m, axis=0).max()) == pytest.approx(1.0, abs=0.25)


def test_a_clock_that_repeats_or_jumps_costs_nothing(estimator: PoseEstimator) -> None:
    rgb = skimage.data.astronaut()
    stamps_ns = (5_000_000_000, 5_000_000_000, 4_000_000_000, 9_000_000_000_000, 0, 1, 2)
    for seq, stamp_ns in enumerate(stamps_ns):
        sighting = estimator.detect(frame_of(rgb, seq, stamp_ns))
        assert (sighting.stamp_ns, len(sighting.bodies)) == (stamp_ns, 1)


def test_a_camera_that_changes_its_size_goes_on(estimator: PoseEstimator) -> None:
    rgb = skimage.data.astronaut()
    estimator.detect(frame_of(rgb, 0))
    half = estimator.detect(frame_of(np.ascontiguousarray(rgb[::2, ::2]), 1))
    assert (half.width_px, len(half.bodies)) == (256, 1)


def test_raised_hands_are_found_and_belong_to_their_wrists(landmark_models: Models) -> None:
    rgb = film(pose_data("pose_1.mp4"))[60][60:240, 190:390]
    bright = np.clip(cv2.resize(rgb, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) * 2.0, 0, 255).astype(np.uint8)
    with PoseEstimator(landmark_models[0], landmark_models[1], PoseSettings(1)) as estimator:
        sighting = estimator.detect(frame_of(bright))
    right, left = sorted(sighting.hands, key=lambda hand: hand.image[0][0])
    assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
    for hand in (left, right):
        wrist, middle_tip = hand.image[0], hand.image[12]
        assert middle_tip[1] < wrist[1], "the fingers point up"
        assert 0.1 < float(np.linalg.norm(hand.world_m[12] - hand.world_m[0])) < 0.25
        assert hand.score > 0.5


def body_at(x: float, visibility: float = 1.0) -> BodyPose:
    image = np.full((33, 2), 0.5)
    image[[Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER]] = [[0.55, 0.3], [0.45, 0.3]]
    image[[Landmark.LEFT_HIP, Landmark.RIGHT_HIP]] = [[0.54, 0.7], [0.46, 0.7]]
    return BodyPose(image + np.array([x, 0.0]), np.zeros((33, 3)), np.full(33, visibility))


def test_a_person_who_is_seen_twice_is_one_and_the_better_seen_stays() -> None:
    worse, better = body_at(0.0, 0.6), body_at(0.02, 0.9)
    assert distinct([worse, better], 4 / 3) == (better,)


def test_two_who_stand_shoulder_to_shoulder_stay_two_in_their_order() -> None:
    one, other = body_at(0.0, 0.6), body_at(0.16, 0.9)  # 0.21 of the height apart, trunks of 0.4
    assert distinct([one, other], 4 / 3) == (one, other)


def test_a_model_that_is_not_there_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="tandem models fetch"):
        PoseEstimator(tmp_path / "pose_landmarker_lite.task")


def test_a_model_with_another_hash_is_refused_before_mediapipe_sees_it(landmark_models: Models, tmp_path: Path) -> None:
    damaged = bytearray(landmark_models[0].read_bytes())
    damaged[5_000_000] ^= 1
    (tmp_path / "pose.task").write_bytes(damaged)
    with pytest.raises(ModelUnfit, match=r"SHA-256 [0-9a-f]{64}, which is no model .* expected one of pose_landmarker"):
        PoseEstimator(tmp_path / "pose.task")


def test_a_hand_model_is_no_pose_model(landmark_models: Models) -> None:
    with pytest.raises(ModelUnfit, match="finds hands: expected a model that finds people"):
        PoseEstimator(landmark_models[1])


_QUIETLY = """
import sys
from pathlib import Path
import skimage.data
from perception.pose import PoseEstimator
assert "mediapipe" not in sys.modules, "it takes seconds to import"
from tests.landmark_models import frame_of
with PoseEstimator(Path(sys.argv[1]), Path(sys.argv[2])) as estimator:
    for seq in range(3):
        estimator.detect(frame_of(skimage.data.astronaut(), seq))
print("an error of ours", file=sys.stderr)
"""


def test_mediapipe_writes_nothing_to_the_terminal(landmark_models: Models) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _QUIETLY, *map(str, landmark_models)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60.0, env={**os.environ},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "an error of ours\n")


def test_a_body_that_is_hardly_seen_is_still_a_whole_one(estimator: PoseEstimator) -> None:
    (body,) = estimator.detect(frame_of(skimage.data.astronaut())).bodies
    assert (body.image.shape, body.world_m.shape, body.visibility.shape) == ((33, 2), (33, 3), (33,))
    assert np.isfinite(body.world_m).all()
    assert 0.0 <= body.visibility.min() <= body.visibility.max() <= 1.0
