from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.actions import LATERAL_ACTION, clamp_to_workspace, decode_lateral, jaw_heading
from bridge.errors import BridgeError
from urdf.description import load_arm

RIG = load_arm("dofbot").rig("table")


def decoded_mm(*action: float) -> list[float]:
    return (1000 * decode_lateral(np.array(action, dtype=np.float32))).tolist()


@pytest.mark.parametrize(
    ("action", "expected_mm"),
    [
        ((0.0, 0.0), (0.0, 0.0)),
        ((1.0, 0.0), (10.0, 0.0)),
        ((0.0, -1.0), (0.0, -10.0)),
        ((0.25, 0.5), (2.5, 5.0)),
        ((0.6, -0.8), (6.0, -8.0)),
        ((1.0, 1.0), (7.0711, 7.0711)),  # no longer than a side, in the same direction
        ((-1.0, 0.5), (-8.9443, 4.4721)),
        ((30.0, 40.0), (6.0, 8.0)),
    ],
)
def test_an_action_is_a_motion_of_at_most_10_mm(action: tuple[float, float], expected_mm: tuple[float, float]) -> None:
    assert decoded_mm(*action) == pytest.approx(expected_mm, abs=1e-4)


@pytest.mark.parametrize("action", [(math.nan, 0.0), (0.0, math.inf), (0.0,), (0.0, 0.0, 0.0)])
def test_what_is_no_action_is_refused_by_name(action: tuple[float, ...]) -> None:
    with pytest.raises(BridgeError, match=r"2 finite numbers \('dx', 'dy'\)"):
        decode_lateral(np.array(action, dtype=np.float32))


def test_the_layout_is_named_and_numbered() -> None:
    assert (LATERAL_ACTION.name, LATERAL_ACTION.version, LATERAL_ACTION.names) == ("lateral", 1, ("dx", "dy"))


@pytest.mark.parametrize(
    ("point_m", "expected_m"),
    [
        ((0.0, 0.155), (0.0, 0.155)),
        ((0.064, 0.194), (0.064, 0.194)),
        ((0.2, 0.5), (0.065, 0.195)),  # area to (50, 180) mm and 15 mm more
        ((0.0, 0.0), (0.0, 0.115)),
        ((-0.3, 0.15), (-0.110, 0.150)),  # home at -95 mm and 15 mm more
    ],
)
def test_the_workspace_is_the_area_and_home_with_a_margin(
    point_m: tuple[float, float], expected_m: tuple[float, float]
) -> None:
    home = np.array([-0.095, 0.155])
    np.testing.assert_allclose(clamp_to_workspace(np.array(point_m), RIG, home), expected_m, atol=1e-12)


@pytest.mark.parametrize(
    ("yaw_deg", "place_m", "expected_deg"),
    [
        (0.0, (0.0, 0.15), 0.0),  # straight ahead the tangent runs along x
        (40.0, (0.0, 0.15), 40.0),
        (-40.0, (0.0, 0.15), -40.0),
        (50.0, (0.0, 0.15), -40.0),  # a cube turned by 50 degrees is one turned by -40
        (100.0, (0.0, 0.15), 10.0),
        (180.0, (0.0, 0.15), 0.0),
        (0.0, (-0.10, 0.10), 0.0),  # at 135 degrees: tangent 45 degrees, 0 and 90 equally near
        (10.0, (-0.10, 0.10), 10.0),
        (-10.0, (-0.10, 0.10), 80.0),
        (0.0, (0.15, 0.0), -90.0),  # to the right the tangent runs along -y
        (20.0, (0.15, 0.01), -70.0),
    ],
)
def test_jaws_take_the_face_of_the_block_that_is_nearest_to_the_tangent(
    yaw_deg: float, place_m: tuple[float, float], expected_deg: float
) -> None:
    heading_deg = math.degrees(jaw_heading(math.radians(yaw_deg), np.array(place_m)))
    # Half a turn makes no difference to jaws.
    assert (heading_deg - expected_deg + 90.0) % 180.0 - 90.0 == pytest.approx(0.0, abs=1e-9)


def test_the_heading_is_always_a_face_of_the_block_within_45_degrees_of_the_tangent() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        yaw, place = rng.uniform(-10.0, 10.0), rng.uniform(-0.2, 0.2, 2)
        heading = jaw_heading(yaw, place)
        quarter_turns = (heading - yaw) / (math.pi / 2)
        assert quarter_turns == pytest.approx(round(quarter_turns), abs=1e-9)
        tangent = math.atan2(place[1], place[0]) - math.pi / 2
        off = (heading - tangent + math.pi / 2) % math.pi - math.pi / 2
        assert abs(off) <= math.pi / 4 + 1e-9
