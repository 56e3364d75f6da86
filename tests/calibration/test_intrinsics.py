from __future__ import annotations

import dataclasses
import math
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.ports import Intrinsics
from calibration.board_spec import BOARDS, BoardCorners
from calibration.camera_file import CameraCalibration
from calibration.errors import BadArtifact, CalibrationError, ForeignCalibration, NotCalibrated, WeakViews
from calibration.intrinsics import Seen, calibrate
from calibration.lens import project
from calibration.lens_fit import fit_lens
from calibration.lens_solver import View
from urdf.description import load_arm
from urdf.pose import Pose

SIZE = (640, 480)
PINHOLE = Intrinsics(*SIZE, 560.0, 562.0, 315.0, 236.0, (-0.25, 0.08, 0.0005, -0.0003, 0.0))
FISHEYE = Intrinsics(*SIZE, 300.0, 301.0, 319.0, 240.0, (-0.02, 0.004, -0.003, 0.0006), "fisheye")
needs_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="OpenCV is not part of the base install")


def views(lens: Intrinsics, count: int = 12, noise_px: float = 0.3, seed: int = 1, tilted: bool = True) -> list[Seen]:
    """Views of the ChArUco board, tilted by 30 degrees to all sides in turn and all over the picture."""
    rng = np.random.default_rng(seed)
    ids = np.array(list(BOARDS["charuco"].points_m))
    points = np.array(list(BOARDS["charuco"].points_m.values()))
    seen = []
    for k in range(count):
        tilt, towards = (math.radians(32) if tilted else 0.0), k * math.pi / 2 + 0.3
        turn = Pose.from_rotvec([0, 0, 0], [tilt * math.cos(towards), tilt * math.sin(towards), 0])
        facing = Pose.from_rotvec([0, 0, 0], [math.pi, 0, 0])
        rolled = Pose.from_rotvec([0, 0, 0], [0, 0, (k // 4) * math.pi / 2])
        depth = lens.fx_px * (0.4e-3 if k % 2 else 0.6e-3)
        place = np.array([0.06 * (k % 3 - 1), 0.05 * (k // 3 % 3 - 1), depth]) + rng.normal(0, 0.003, 3)
        pose = Pose(place, (turn @ rolled @ facing).quat_xyzw)
        pixels = project(points, pose, lens)
        inside = np.all((pixels > 2) & (pixels < (637, 477)), axis=1)
        noisy = pixels[inside] + noise_px * rng.normal(size=(int(inside.sum()), 2))
        seen.append(Seen(f"{k:02d}.png", BoardCorners(ids[inside], points[inside], noisy), 0.7))
    return seen


def as_views(pictures: list[Seen]) -> list[View]:
    return [View(s.name, s.corners.object_m, s.corners.image_px) for s in pictures]


@needs_opencv
@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=lambda i: i.model)
def test_the_solver_finds_the_same_camera_as_opencv(lens: Intrinsics) -> None:
    import cv2

    seen = as_views(views(lens))
    ours = fit_lens(seen, SIZE, lens.model)
    if lens.model == "fisheye":
        _, theirs, _, _, _ = cv2.fisheye.calibrate(
            [v.object_m[None] for v in seen], [v.image_px[None] for v in seen], SIZE, lens.matrix(), np.zeros(4),
            flags=cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC + cv2.fisheye.CALIB_FIX_SKEW
            + cv2.fisheye.CALIB_USE_INTRINSIC_GUESS,
        )  # fmt: skip
    else:
        _, theirs, _, _, _ = cv2.calibrateCamera(
            [v.object_m.astype(np.float32) for v in seen], [v.image_px.astype(np.float32) for v in seen], SIZE,
            lens.matrix(), np.zeros(5), flags=cv2.CALIB_USE_INTRINSIC_GUESS,
        )  # fmt: skip
    # Ours weighs the largest errors less and keeps unseen coefficients small: a fraction of a standard deviation.
    sigma = np.sqrt(np.diag(ours.covariance))[:4]
    offset = np.array([ours.intrinsics.fx_px, ours.intrinsics.fy_px, ours.intrinsics.cx_px, ours.intrinsics.cy_px])
    offset -= [theirs[0, 0], theirs[1, 1], theirs[0, 2], theirs[1, 2]]
    assert np.all(np.abs(offset) < 0.5 * sigma)


def test_the_standard_deviations_are_those_that_many_trials_show() -> None:
    start = fit_lens(as_views(views(PINHOLE, 8)), SIZE, "pinhole")
    fits = [fit_lens(as_views(views(PINHOLE, 8, seed=k)), SIZE, "pinhole", start) for k in range(24)]
    for name, column in (("fx_px", 0), ("cx_px", 2)):
        found = np.array([getattr(f.intrinsics, name) for f in fits])
        said = float(np.mean([math.sqrt(f.covariance[column, column]) for f in fits]))
        # 24 draws know their spread to 15 %; three times that.
        assert 0.6 < float(np.std(found, ddof=1)) / said < 1.5
        assert abs(float(np.mean(found)) - getattr(PINHOLE, name)) < said


@pytest.mark.parametrize("lens", [PINHOLE, FISHEYE], ids=lambda i: i.model)
def test_the_lens_model_is_chosen_and_predicts_what_it_was_not_fitted_to(lens: Intrinsics) -> None:
    result = calibrate(views(lens, 12), SIZE)
    assert result.intrinsics.model == lens.model
    assert result.held_out_rms_px == pytest.approx(0.3, rel=0.1)
    assert abs(result.intrinsics.fx_px - lens.fx_px) < 4 * result.sigma[0]
    assert not result.refused


def test_the_order_of_the_pictures_does_not_matter() -> None:
    seen = views(PINHOLE)
    first, second = calibrate(seen, SIZE, ("pinhole",)), calibrate(seen[::-1], SIZE, ("pinhole",))
    assert second.intrinsics.fx_px == pytest.approx(first.intrinsics.fx_px, rel=1e-5)


def test_views_that_do_not_count_are_named_with_the_reason() -> None:
    seen = views(PINHOLE, 14)
    bent = seen[3].corners
    bulge = 3 * np.sin(bent.object_m[:, 0] * 40)[:, None] * np.array([1.0, -1.0])
    seen[3] = dataclasses.replace(seen[3], corners=dataclasses.replace(bent, image_px=bent.image_px + bulge))
    seen[5] = dataclasses.replace(seen[5], blur_px=3.4)
    nothing = BoardCorners(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 2)))
    seen.append(Seen("far out of focus.png", nothing, 4.2))
    seen.append(Seen("cut.png", nothing, 0.7, "all of it must be in view"))
    seen.append(dataclasses.replace(seen[0], name="again.png"))
    few = seen[7].corners
    seen[7] = dataclasses.replace(seen[7], corners=BoardCorners(few.ids[:5], few.object_m[:5], few.image_px[:5]))
    line = seen[8].corners
    row = np.flatnonzero(line.object_m[:, 0] == line.object_m[0, 0])
    wide = np.concatenate([row, row])  # enough of them, and all in one line
    seen[8] = dataclasses.replace(
        seen[8], corners=BoardCorners(line.ids[wide], line.object_m[wide], line.image_px[wide])
    )
    result = calibrate(seen, SIZE, ("pinhole",))
    reasons = {r.name: r.why for r in result.refused}
    others = {"far out of focus.png", "cut.png", "again.png"}
    assert set(reasons) == {"03.png", "05.png", "07.png", "08.png"} | others
    assert "blurred: edges are 4.2 px" in reasons["far out of focus.png"]
    assert reasons["cut.png"] == "the board was not found: all of it must be in view"
    assert "disagrees" in reasons["03.png"]
    assert "blurred: edges are 3.4 px" in reasons["05.png"]
    assert "5 points" in reasons["07.png"]
    assert "in a line" in reasons["08.png"]
    assert "same view as 00.png" in reasons["again.png"]
    assert result.held_out_rms_px < 0.35


def test_flat_views_do_not_tell_the_focal_length_and_are_refused() -> None:
    with pytest.raises(WeakViews, match="Tilt the board"):
        calibrate(views(PINHOLE, 12, tilted=False), SIZE, ("pinhole",))


def test_too_few_views_are_refused_with_what_was_wrong_with_the_others() -> None:
    seen = [dataclasses.replace(s, blur_px=9.0) for s in views(PINHOLE, 5)] + views(PINHOLE, 7)
    with pytest.raises(WeakViews, match=r"7 usable views of the board, 8 are needed.*00.png: blurred"):
        calibrate(seen, SIZE)


@pytest.fixture(scope="module")
def artifact() -> CameraCalibration:
    result = calibrate(views(PINHOLE, 9), SIZE, ("pinhole",))
    return CameraCalibration.of(result, "desk", "charuco", "arm1", load_arm("dofbot"))


def test_a_camera_survives_the_disk(artifact: CameraCalibration, tmp_path: Path) -> None:
    artifact.save(tmp_path)
    back = CameraCalibration.load("desk", "arm1", load_arm("dofbot"), tmp_path)
    assert back == artifact
    assert back.intrinsics_for(640, 480) == artifact.intrinsics()
    assert back.views == tuple(f"{k:02d}.png" for k in range(9))


def test_how_the_numbers_err_together_survives_the_disk_and_is_independent_in_older_files(
    artifact: CameraCalibration,
) -> None:
    fit = calibrate(views(PINHOLE, 9), SIZE, ("pinhole",)).fit
    np.testing.assert_allclose(artifact.covariance(), fit.covariance, rtol=1e-9, atol=1e-18)
    older = msgspec.structs.replace(artifact, correlation=())
    np.testing.assert_allclose(older.covariance(), np.diag(np.square(artifact.sigma)))
    assert np.linalg.eigvalsh(artifact.covariance()).min() > 0


def test_a_camera_of_another_robot_name_size_or_an_edited_one_is_refused(
    artifact: CameraCalibration, tmp_path: Path
) -> None:
    dofbot = load_arm("dofbot")
    path = artifact.save(tmp_path)
    with pytest.raises(NotCalibrated, match="calibrate camera"):
        CameraCalibration.load("wrist", "arm1", dofbot, tmp_path)
    path.with_name("camera_wrist.json").write_bytes(path.read_bytes())
    with pytest.raises(ForeignCalibration, match="'desk'"):
        CameraCalibration.load("wrist", "arm1", dofbot, tmp_path)
    with pytest.raises(ForeignCalibration):
        CameraCalibration.load("desk", "arm1", load_arm("dofbot-se"), tmp_path)
    with pytest.raises(ForeignCalibration, match="1280 x 720"):
        artifact.intrinsics_for(1280, 720)
    whole = msgspec.json.decode(path.read_bytes())
    for change in (
        {"arm_sha256": "0" * 64}, {"model": "fisheye"}, {"fx_px": -1.0}, {"sigma": [0.1]}, {"extra": 1},
                   {"correlation": [0.5]}, {"correlation": [2.0] * 36}):  # fmt: skip
        path.write_bytes(msgspec.json.encode({**whole, **change}))
        with pytest.raises((BadArtifact, ForeignCalibration)):
            CameraCalibration.load("desk", "arm1", dofbot, tmp_path)
    with pytest.raises(CalibrationError, match="letters"):
        CameraCalibration.load("../desk", "arm1", dofbot, tmp_path)


def test_errors_that_a_picture_s_corners_share_widen_the_standard_deviations() -> None:
    """As of markers, whose four corners err together: each sees the bend of the lens as the other does."""
    rng = np.random.default_rng(3)
    alone = as_views(views(PINHOLE, 12, noise_px=0.0))
    said: list[float] = []
    for shared in (False, True):
        sigmas: list[float] = []
        for _ in range(4):
            noisy: list[View] = []
            for view in alone:
                tiles = view.object_m[:, :2] // 0.05 if shared else view.object_m
                _, number = np.unique(tiles, axis=0, return_inverse=True)
                errors = 0.3 * rng.normal(size=(number.max() + 1, 2))
                noisy.append(dataclasses.replace(view, image_px=view.image_px + errors[number.ravel()]))
            sigmas.append(math.sqrt(fit_lens(noisy, SIZE, "pinhole").covariance[0, 0]))
        said.append(float(np.mean(sigmas)))
    assert 1.25 < said[1] / said[0] < 3.0  # groups of about four: the root of four where all of them pulled alike
