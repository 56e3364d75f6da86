from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from bridge.ports import Intrinsics
from calibration.lens import project, undistort
from urdf.pose import Pose

PINHOLE = Intrinsics(640, 480, 510.0, 512.0, 318.0, 241.0, (-0.28, 0.09, 0.001, -0.0007, 0.0))
#: The kit's camera as measured on one unit: strong barrel, which five coefficients do not hold. FIELD 8.4.
RATIONAL = Intrinsics(
    640, 480, 350.0, 351.0, 322.0, 238.0, (0.3, 0.02, 0.0005, 0.0004, 0.0, 0.62, 0.06, 0.0), "rational"
)
FISHEYE = Intrinsics(640, 480, 300.0, 301.0, 319.0, 240.0, (-0.02, 0.004, -0.003, 0.0006), "fisheye")
LENSES = (PINHOLE, RATIONAL, FISHEYE)
needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="OpenCV is not part of the base install")


def pixels_of_the_picture() -> np.ndarray:
    u, v = np.meshgrid(np.linspace(0, 639, 23), np.linspace(0, 479, 17))
    return np.stack([u.ravel(), v.ravel()], axis=1)


@needs_opencv
@pytest.mark.parametrize("lens", LENSES, ids=lambda i: i.model)
def test_points_land_where_opencv_puts_them(lens: Intrinsics) -> None:
    import cv2

    rng = np.random.default_rng(3)
    points = rng.uniform(-0.1, 0.1, (60, 3))
    pose = Pose.from_rotvec([0.02, -0.03, 0.25], [0.3, -0.4, 1.1])
    if lens.model == "fisheye":
        expected, _ = cv2.fisheye.projectPoints(
            points[:, None], pose.rotvec_rad(), pose.position_m, lens.matrix(), np.array(lens.distortion)
        )
    else:
        expected, _ = cv2.projectPoints(
            points, pose.rotvec_rad(), pose.position_m, lens.matrix(), np.array(lens.distortion)
        )
    assert project(points, pose, lens) == pytest.approx(expected.reshape(-1, 2), abs=1e-8)


@pytest.mark.parametrize("lens", LENSES, ids=lambda i: i.model)
def test_a_ray_through_every_pixel_of_the_picture_comes_back_to_it(lens: Intrinsics) -> None:
    pixels = pixels_of_the_picture()
    rays = undistort(pixels, lens)
    points = np.concatenate([0.4 * rays, np.full((len(rays), 1), 0.4)], axis=1)
    assert project(points, Pose.identity(), lens) == pytest.approx(pixels, abs=1e-6)


def test_without_distortion_a_ray_is_what_one_computes_by_hand() -> None:
    lens = Intrinsics(640, 480, 500.0, 400.0, 320.0, 240.0)
    assert undistort(np.array([[420.0, 240.0], [320.0, 140.0]]), lens) == pytest.approx(
        np.array([[0.2, 0.0], [0.0, -0.25]])
    )


def test_what_is_behind_the_camera_or_beyond_the_lens_has_no_pixel() -> None:
    assert np.isnan(project(np.array([[0.0, 0.0, -1.0]]), Pose.identity(), PINHOLE)).all()
    folds = Intrinsics(640, 480, 300.0, 300.0, 320.0, 240.0, (-0.5, 0.0, 0.0, 0.0, 0.0))
    # The largest radius this lens reaches is r (1 - 0.5 r^2) at r^2 = 2/3: 0.544 * 300 px = 163 px.
    rays = undistort(np.array([[320.0 + 162.0, 240.0], [320.0 + 165.0, 240.0]]), folds)
    assert np.isfinite(rays[0]).all()
    assert np.isnan(rays[1]).all()


def test_a_model_says_how_many_coefficients_it_has() -> None:
    with pytest.raises(ValueError, match=r"'fisheye' with 5 .*fisheye \(4\)"):
        Intrinsics(640, 480, 300.0, 300.0, 320.0, 240.0, (0.0,) * 5, "fisheye")
    with pytest.raises(ValueError, match="'mirror'"):
        Intrinsics(640, 480, 300.0, 300.0, 320.0, 240.0, (0.0,) * 5, "mirror")
