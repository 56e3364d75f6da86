from __future__ import annotations

import math

import numpy as np

from bridge.ports import Intrinsics
from calibration.board_spec import BOARDS, BoardCorners
from calibration.intrinsics import Seen
from calibration.lens import project
from calibration.view_guide import ViewGuide
from urdf.pose import Pose

LENS = Intrinsics(640, 480, 600.0, 600.0, 319.5, 239.5)
POINTS = BOARDS["charuco"].points_m


def held(
    tilt_deg: float = 0.0, axis: tuple[float, float] = (0.0, 1.0), at: tuple[float, float] = (0, 0), z: float = 0.4
) -> Seen:
    """The board seen from the front, then turned about an axis of the camera (x right, y down)."""
    turned = Pose.from_rotvec([0, 0, 0], [math.radians(tilt_deg) * axis[0], math.radians(tilt_deg) * axis[1], 0.0])
    facing = turned @ Pose.from_rotvec([0, 0, 0], [math.pi, 0, 0])
    pixels = project(np.array(list(POINTS.values())), Pose(np.array([*at, z]), facing.quat_xyzw), LENS)
    inside = np.all((pixels > 1) & (pixels < (638, 478)), axis=1)
    ids, points = np.array(list(POINTS)), np.array(list(POINTS.values()))
    return Seen("view", BoardCorners(ids[inside], points[inside], pixels[inside]), 0.7)


def test_the_nearest_edge_is_told_by_where_it_is_in_the_picture() -> None:
    guide = ViewGuide((640, 480))
    # By the right hand rule a turn about y (down) takes z (forward) to x: what is on the right (+x) comes nearer
    # (x to -z), and the face, which looks along -z, turns to the left (-x).
    assert guide.attitude(held(30, (0, 1))).near_edge == "right"
    assert guide.attitude(held(-30, (0, 1))).near_edge == "left"
    # A turn about x takes y (down) to z (away): the lower edge goes away, the upper one comes.
    assert guide.attitude(held(30, (1, 0))).near_edge == "upper"
    assert guide.attitude(held(-30, (1, 0))).near_edge == "lower"
    assert guide.attitude(held(30)).tilt_rad > math.radians(20)


def test_a_moving_a_blurred_and_a_known_view_are_not_taken_and_it_is_said_why() -> None:
    guide = ViewGuide((640, 480))
    assert guide.consider(held()).text == "Hold it still."  # nothing to compare with yet
    assert guide.consider(held(at=(0.02, 0))).text == "Hold it still."
    assert guide.consider(held(at=(0.02, 0))).taken
    again = guide.consider(held(at=(0.02, 0)))
    assert not again.taken
    blurred = guide.consider(Seen("view", held(30).corners, 4.0))
    assert not blurred.taken
    assert "Blurred" in blurred.text
    nothing = Seen("view", BoardCorners(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros((0, 2))))
    assert guide.consider(nothing).text == "Show the board to the camera."
    assert len(guide.views) == 1


def test_who_does_what_it_says_comes_to_an_end() -> None:
    guide = ViewGuide((640, 480), wanted=20)
    axes = {"right": (0, 1), "left": (0, -1), "upper": (1, 0), "lower": (-1, 0)}
    rows, columns = {"top": -1, "middle": 0, "bottom": 1}, {"left": -1, "centre": 0, "right": 1}
    view, text, rng = held(), "", np.random.default_rng(0)
    advice = guide.consider(view)
    for _ in range(120):
        guide.consider(view)
        advice = guide.consider(view)
        if advice.done:
            break
        text = advice.text
        words = text.replace(".", "").replace(",", "").split()
        shift = rng.uniform(-0.02, 0.02, 2)
        if text.startswith("Tilt"):
            edge = next(w for w in words if w in axes)
            view = held(rng.uniform(28, 40), axes[edge], tuple(shift), 0.3)
        elif text.startswith("Move"):
            column = next((columns[w] for w in words if w in columns), 0)
            row = next((rows[w] for w in words if w in rows), 0)
            view = held(rng.uniform(0, 30), axes["left"], (0.11 * column + shift[0], 0.07 * row + shift[1]), 0.32)
        elif "nearer" in text:
            view = held(rng.uniform(0, 30), axes["lower"], tuple(shift), 0.2)
        elif "front" in text:
            view = held(0, axes["left"], tuple(shift), 0.35)
        else:
            view = held(
                rng.uniform(25, 40), axes[str(rng.choice(list(axes)))], tuple(3 * shift), rng.uniform(0.22, 0.4)
            )
    assert advice.done, text
    assert advice.progress == 1.0
    assert len(guide.views) >= 20
