from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.ports import BlockSource
from calibration.boards import DESK_BOARD, desk_from_board
from hardware.cameras.remote import FrameSender, RemoteCamera
from perception.block_source import CameraBlockSource
from perception.marker_locator import MarkerLocator
from sim.lab_scene import LAB_INTRINSICS, plane_homography
from tests.perception.lab_pictures import RIG, LabEye, frame_of, somewhere
from urdf.pose import Pose

FAR_AWAY = Pose.from_rpy([5.0, 5.0, 0.015], [0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabEye]:
    eye = LabEye(tmp_path_factory.mktemp("lab"), seed=21)
    yield eye
    eye.close()


class Rigged:
    """A tracker behind a real socket, and the hand that sends it pictures."""

    def __init__(self, endpoint: str) -> None:
        self._sender = FrameSender(endpoint)
        self._camera = RemoteCamera(endpoint)
        self.tracker = CameraBlockSource(self._camera, MarkerLocator(RIG))
        self._seq = 0

    def show(self, rgb: NDArray[np.uint8], until: Callable[[], bool]) -> int:
        """Send the picture, newly stamped, until `until` holds; return the stamp of the first."""
        first_ns = time.monotonic_ns()
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            self._sender.send(frame_of(rgb, self._seq, time.monotonic_ns()))
            self._seq += 1
            time.sleep(0.03)
            if until():
                return first_ns
        raise AssertionError(f"not within 5 s; missing: {self.tracker.missing()!r}")

    def close(self) -> None:
        self.tracker.close()
        self._camera.close()
        self._sender.close()


@pytest.fixture
def rigged(tmp_path: Path) -> Iterator[Rigged]:
    rigged = Rigged(f"ipc://{os.path.relpath(tmp_path)}/c")
    yield rigged
    rigged.close()


def test_block_is_read_in_the_base_frame_with_the_stamp_of_its_picture(eye: LabEye, rigged: Rigged) -> None:
    source: BlockSource = rigged.tracker
    assert source.read_block() is None
    truth = somewhere(np.random.default_rng(1))
    first_ns = rigged.show(eye.picture(truth), lambda: source.read_block() is not None)
    sighting = source.read_block()
    assert sighting is not None
    assert first_ns <= sighting.stamp_ns <= time.monotonic_ns()
    found = RIG.desk_from_base @ sighting.base_from_block
    assert np.linalg.norm(found.position_m - truth.position_m) < 0.001
    assert sighting.marker_ids
    assert sighting.covariance is not None
    # In the base's frame, whose x and y are turned against the desk's: the error must fit there.
    error_m = sighting.base_from_block.position_m - (RIG.desk_from_base.inverse() @ truth).position_m
    assert float(error_m @ np.linalg.solve(sighting.covariance[:3, :3], error_m)) < 16.3
    assert np.sqrt(np.diag(sighting.covariance))[:3].max() < 0.001
    assert source.missing() == ""


def test_a_block_that_vanished_is_named_and_its_last_sighting_grows_old(eye: LabEye, rigged: Rigged) -> None:
    tracker = rigged.tracker
    rigged.show(eye.picture(somewhere(np.random.default_rng(2))), lambda: tracker.read_block() is not None)
    gone_ns = time.monotonic_ns()
    rigged.show(eye.picture(FAR_AWAY), lambda: "no marker of the block" in tracker.missing())
    sighting = tracker.read_block()
    assert sighting is not None
    time.sleep(0.1)
    assert (time.monotonic_ns() - sighting.stamp_ns) * 1e-9 > 0.1
    assert sighting.stamp_ns < gone_ns + 10**9


def test_a_board_never_seen_is_named(eye: LabEye, rigged: Rigged) -> None:
    picture = eye.picture(somewhere(np.random.default_rng(3)))
    rigged.show(without_board(eye, picture), lambda: "no marker of the desk board" in rigged.tracker.missing())
    assert "ids 10, 11" in rigged.tracker.missing()
    assert rigged.tracker.read_block() is None


def test_a_board_hidden_for_a_moment_is_remembered(eye: LabEye, rigged: Rigged) -> None:
    tracker = rigged.tracker
    truth = somewhere(np.random.default_rng(4))
    picture = eye.picture(truth)
    rigged.show(picture, lambda: tracker.read_block() is not None)
    hidden_ns = time.monotonic_ns()

    def seen_since() -> bool:
        sighting = tracker.read_block()
        return sighting is not None and sighting.stamp_ns > hidden_ns

    rigged.show(without_board(eye, picture), seen_since)
    assert tracker.missing() == ""


def test_a_silent_camera_is_named(rigged: Rigged) -> None:
    time.sleep(0.1)
    assert "no fresh picture" in rigged.tracker.missing()


def without_board(eye: LabEye, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture with every marker of the board wiped out."""
    to_px = plane_homography(LAB_INTRINSICS, eye.desk_from_camera)
    wiped = picture.copy()
    for marker in DESK_BOARD.markers:
        corners = desk_from_board(RIG).apply(marker.corners_m() * np.array([1.0, 1.0, 0.0]))
        middle = corners.mean(axis=0)
        inner = middle + 0.5 * (corners - middle)  # the middle of a marker is enough to make it illegible
        pixels = (to_px @ np.column_stack([inner[:, :2], np.ones(4)]).T).T
        points = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(np.int32)
        cv2.fillConvexPoly(wiped, points, (235, 235, 235))
    return wiped
