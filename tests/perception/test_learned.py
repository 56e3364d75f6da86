"""The learned locator: the reference's experiment, places and ellipses by hand, learning that can be stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bridge.observation import CameraView, ImageKind
from perception.errors import LocatorUnfit
from perception.learned import (
    network_input,
    place_on_desk,
)
from perception.locator_net import OUTPUTS, Labels, loss
from perception.locator_training import Lesson, LocatorTrainer
from perception.view import view_intrinsics
from scripts.programs.one_pixel import BAR, run_one_pixel
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
MOUNT = ARM.camera("wrist", RIG)
LENS = view_intrinsics(MOUNT, CameraView("wrist", ImageKind.DEPTH))
ABOVE = Pose.from_rpy([0.0, 0.15, 0.2], [math.pi, 0.0, 0.0])


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.deep
def test_the_references_one_pixel_is_found_as_well_from_a_quarter_of_the_pictures() -> None:
    torch.set_num_threads(1)
    squares = run_one_pixel(lambda number, square: None, enough=BAR, pictures=640)
    assert squares[-1] <= BAR
    assert len(squares) <= 10


def said(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in OUTPUTS])


def test_a_place_in_the_picture_becomes_one_on_the_desk_with_its_ellipse() -> None:
    # Half a picture to the right: 31.5 / 2 px over the focal length, times the 0.185 m down to the block's centre.
    step = 0.185 * 15.75 / LENS.fx_px
    outputs = said(column=0.5, log_sigma_column=math.log(0.02), log_sigma_row=math.log(0.01), yaw_cos4=1.0, there=9.0)
    found = place_on_desk(outputs, 2.0, LENS, ABOVE, 0.015)
    np.testing.assert_allclose(found.desk_from_block.position_m, [step, 0.15, 0.015], atol=1e-9)
    per_px = 0.185 / LENS.fx_px
    sigmas = np.sqrt(np.diag(found.covariance)[:2])
    np.testing.assert_allclose(sigmas, [2 * 0.02 * 31.5 * per_px, 2 * 0.01 * 31.5 * per_px], rtol=1e-6)
    assert found.likely == pytest.approx(1 / (1 + math.exp(-9.0)))


def test_the_yaw_is_told_against_the_cameras_heading() -> None:
    turned = Pose.from_rpy([0.0, 0.0, 0.0], [0.0, 0.0, 0.3]) @ ABOVE
    outputs = said(yaw_cos4=math.cos(4 * 0.2), yaw_sin4=math.sin(4 * 0.2))
    assert place_on_desk(outputs, 1.0, LENS, turned, 0.015).desk_from_block.yaw_rad == pytest.approx(0.5)


def test_the_loss_is_least_where_sigma_is_the_error() -> None:
    labels = Labels(torch.tensor([[0.1, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.ones(1))

    def at(sigma: float) -> float:
        outputs = said(log_sigma_column=math.log(sigma), log_sigma_row=-3.0, yaw_cos4=1.0, there=20.0)
        return float(loss(torch.tensor(outputs[None], dtype=torch.float32), labels))

    assert at(0.1) < at(0.05)
    assert at(0.1) < at(0.2)


def test_depth_is_told_from_its_middle_with_its_holes_apart_and_colours_as_shares() -> None:
    depth = np.array([0.2, 0.3, 0.0, 3.0], np.float16).reshape(1, 1, 2, 2)
    rgb = np.full((1, 3, 2, 2), 255, np.uint8)
    both = network_input({ImageKind.RGB: rgb, ImageKind.DEPTH: depth})
    assert both.shape == (1, 5, 2, 2)
    assert both.dtype == np.float32
    # 3 m count as 0.6; the middle of 0.2, 0.3 and 0.6 is 0.3.
    np.testing.assert_allclose(both[0, 0].ravel(), [-1.0, 0.0, 0.0, 3.0], atol=0.01)
    np.testing.assert_array_equal(both[0, 1].ravel(), [0.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(both[0, 2:], 1.0)
    assert np.isfinite(network_input({ImageKind.DEPTH: np.zeros((1, 1, 2, 2), np.float16)})).all()


def test_a_trainer_that_was_stopped_goes_on_as_if_it_had_not_been() -> None:
    rng = np.random.default_rng(1)
    lesson = Lesson(
        rng.random((32, 1, 64, 64), dtype=np.float32), rng.uniform(-1, 1, (32, 2)), np.zeros((32, 2)), np.ones(32, bool)
    )
    whole = LocatorTrainer(1, 2, 16, 1e-3, seed=3)
    whole.epoch(lesson)
    kept = whole.capture()
    whole.epoch(lesson)
    resumed = LocatorTrainer(1, 2, 16, 1e-3, seed=99)
    resumed._seed = 3
    resumed.restore(kept, 1)
    resumed.epoch(lesson)
    np.testing.assert_allclose(resumed.outputs(lesson.pictures), whole.outputs(lesson.pictures), atol=1e-6)
    with pytest.raises(LocatorUnfit, match="another network"):
        LocatorTrainer(3, 2, 16, 1e-3, seed=0).restore(kept, 1)
