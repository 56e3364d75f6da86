"""The block by its colour alone, in rendered pictures of the lab: its markers are never read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.ports import BlockSighting, Frame, Intrinsics
from calibration.boards import desk_from_board, detect_markers
from perception.block_source import BlockLocator
from perception.colour import ColourLocator, around_area, locate_by_colour
from perception.colour_model import ColourModel, chromaticity, learn
from perception.errors import NothingStandsOut, NotTheBlock, TargetNotSeen, TooLittleSeen
from perception.locate import locate_camera
from perception.on_desk import by_camera, on_desk
from perception.systematic import Systematic
from sim.lab_camera import LabRenderer
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from tests.perception.lab_pictures import ARM, RIG, somewhere
from urdf.pose import Pose

FAR_AWAY = Pose.from_rpy([5.0, 5.0, 0.015], [0.0, 0.0, 0.0])
TO_DESK = np.kron(np.eye(2), RIG.desk_from_base.rotation)


class HardEye:
    """The camera of a lab of level `hard`: another lens, light that falls off, blur and noise."""

    def __init__(self, cache: Path, seed: int = 1) -> None:
        truth = LabTruth.draw(seed, 6, "hard")
        self.lens: Intrinsics = truth.camera.intrinsics(LAB_INTRINSICS)
        self._rng, self._noise, self._seq = np.random.default_rng(seed), truth.camera.noise_rgb, 0
        camera = truth.desk_from_camera(nominal_camera(RIG))
        self._renderer = LabRenderer(ARM, RIG, LAB_INTRINSICS, camera, cache, self._rng, truth.camera)

    def picture(self, desk_from_block: Pose) -> NDArray[np.uint8]:
        rgb = self._renderer.draw(ARM.joint_angles(RIG.home_rad), desk_from_block)
        return np.clip(rgb + self._rng.normal(0.0, self._noise, rgb.shape), 0, 255).astype(np.uint8)

    def frame(self, rgb: NDArray[np.uint8]) -> Frame:
        self._seq += 1
        return Frame("lab", self._seq, self._seq * 100_000_000, rgb, self.lens)

    def close(self) -> None:
        self._renderer.close()


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HardEye]:
    eye = HardEye(tmp_path_factory.mktemp("lab"))
    yield eye
    eye.close()


def errors_of(sighting: BlockSighting, truth: Pose) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the error of the place [m] and of the yaw [rad], a quarter turn being none, and the covariance."""
    found = RIG.desk_from_base @ sighting.base_from_block
    turn = (found.yaw_rad - truth.yaw_rad + math.pi / 4) % (math.pi / 2) - math.pi / 4
    assert sighting.covariance is not None
    return found.position_m - truth.position_m, turn, TO_DESK @ sighting.covariance @ TO_DESK.T


def test_the_block_is_found_all_over_its_area_by_a_colour_that_was_learnt_at_first_sight(eye: HardEye) -> None:
    locator: BlockLocator = ColourLocator(RIG)
    rng = np.random.default_rng(5)
    away_mm, turned_deg, squares = [], [], []
    for _ in range(10):
        truth = somewhere(rng)
        frame = eye.frame(eye.picture(truth))
        sighting = locator.locate(frame)
        assert sighting.stamp_ns == frame.stamp_ns
        assert sighting.marker_ids == ()
        away_m, turn, covariance = errors_of(sighting, truth)
        away_mm.append(1000 * float(np.linalg.norm(away_m[:2])))
        turned_deg.append(math.degrees(abs(turn)))
        known = covariance[np.ix_([0, 1, 5], [0, 1, 5])]
        off = np.array([away_m[0], away_m[1], turn])
        squares.append(float(off @ np.linalg.solve(known, off)))
    assert np.median(away_mm) < 0.25
    assert max(away_mm) < 1.0
    assert max(turned_deg) < 1.5
    assert max(squares) < 25.0, "chi squared of three numbers: what is claimed is not far too little"
    assert np.median(squares) > 0.05, "nor far too much"


def test_a_lifted_block_is_seen_to_be_lifted(eye: HardEye) -> None:
    locator, rng = ColourLocator(RIG), np.random.default_rng(6)
    locator.locate(eye.frame(eye.picture(somewhere(rng))))
    for _ in range(4):
        truth = somewhere(rng, height_m=0.015 + rng.uniform(0.03, 0.06))
        away_m, _, covariance = errors_of(locator.locate(eye.frame(eye.picture(truth))), truth)
        assert abs(away_m[2]) < 0.008, "a lift of 30 mm is told from one of 20"
        assert np.linalg.norm(away_m[:2]) < 0.010
        assert away_m @ np.linalg.solve(covariance[:3, :3], away_m) < 25.0


def test_a_lens_that_is_known_less_well_makes_the_block_less_sure(eye: HardEye) -> None:
    truth = somewhere(np.random.default_rng(7))
    frame = eye.frame(eye.picture(truth))
    sigma = np.array([2.0, 2.0, 1.0, 1.0, 0.01, 0.01, 0.001, 0.001, 0.01])
    sure, unsure = (
        ColourLocator(RIG, known).locate(frame).covariance
        for known in (Systematic(), Systematic.of_sigma(sigma, 0.003))
    )
    assert sure is not None
    assert unsure is not None
    assert np.linalg.eigvalsh(unsure - sure).min() > -1e-12
    assert np.trace((unsure - sure)[:2, :2]) > 1e-9


def test_what_is_no_block_is_named(eye: HardEye) -> None:
    empty = eye.picture(FAR_AWAY)
    with pytest.raises(NothingStandsOut, match="colour of its own"):
        ColourLocator(RIG).locate(eye.frame(empty))
    locator = ColourLocator(RIG)
    locator.locate(eye.frame(eye.picture(somewhere(np.random.default_rng(8)))))
    with pytest.raises(TooLittleSeen, match="in sight"):
        locator.locate(eye.frame(empty))  # the fingers have a speck of its colour
    assert locator.model is not None
    camera = locate_camera(detect_markers(empty), eye.lens, desk_from_board(RIG))
    slab = empty.copy()
    area = around_area(RIG, eye.lens, camera)
    rows, columns = np.nonzero(area)
    middle = int(columns.mean()), int(rows.mean())
    cv2.ellipse(slab, middle, (70, 18), 20.0, 0.0, 360.0, (255, 206, 112), -1)
    with pytest.raises(NotTheBlock, match="cube of 30 mm"):
        locate_by_colour(slab, eye.lens, camera, locator.model)


def test_a_colour_is_the_same_in_half_the_light_and_the_dark_has_none() -> None:
    rng = np.random.default_rng(9)
    desk = np.full((120, 160, 3), (225, 220, 214), np.uint8)
    desk[40:70, 60:90] = (60, 150, 90)
    noisy = np.clip(desk + rng.normal(0, 2, desk.shape), 0, 255).astype(np.uint8)
    model, shown = learn(noisy, np.ones((120, 160), bool))
    assert shown[45:65, 65:85].all()
    assert shown.sum() < 1000
    dim = (noisy * 0.5).astype(np.uint8)
    assert model.shows_block(chromaticity(dim))[42:68, 62:88].mean() > 0.95
    assert model.shows_desk(chromaticity(dim))[:30].mean() > 0.95
    black = np.full((4, 4, 3), 20, np.uint8)
    assert not model.shows_block(chromaticity(black)).any()
    assert not model.shows_desk(chromaticity(black)).any()
    with pytest.raises(NothingStandsOut):
        learn(np.full((120, 160, 3), 220, np.uint8), np.ones((120, 160), bool))


def test_a_colour_model_takes_nothing_for_both_block_and_desk() -> None:
    desk = np.zeros((64, 64), dtype=bool)
    desk[20:44, 20:44] = True
    model = ColourModel(np.array([0.5, 0.33]), 2e-4 * np.eye(2), desk)
    shares = np.random.default_rng(1).uniform(0.2, 0.7, (50, 50, 2)).astype(np.float32)
    assert not (model.shows_block(shares) & model.shows_desk(shares)).any()
    assert model.shows_block(shares).any()
    assert model.shows_desk(shares).any()


def test_without_the_board_nobody_knows_where_the_camera_is(eye: HardEye) -> None:
    blind = eye.frame(np.full((eye.lens.height_px, eye.lens.width_px, 3), 200, np.uint8))
    with pytest.raises(TargetNotSeen, match="desk board"):
        ColourLocator(RIG).locate(blind)


def test_a_camera_that_is_elsewhere_moves_a_standing_block_as_its_ray_meets_the_desk() -> None:
    camera, block = nominal_camera(RIG), np.array([*RIG.area_center_m, 0.015])
    ray = camera.inverse().apply(block[None])[0]
    slopes = by_camera(camera, block)
    for k in range(6):
        nudge = np.zeros(6)
        nudge[k] = 1e-5
        turn = Pose.from_rotvec(np.zeros(3), nudge[3:]) @ Pose(np.zeros(3), camera.quat_xyzw)
        there = on_desk(Pose(camera.position_m + nudge[:3], turn.quat_xyzw), ray, 0.015)
        assert there is not None
        np.testing.assert_allclose((there - block) / 1e-5, slopes[:3, k], atol=1e-3)
    assert on_desk(camera, np.array([0.0, -5.0, 1.0]), 0.015) is None
