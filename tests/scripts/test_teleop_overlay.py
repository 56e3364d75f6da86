from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perception.body import BodyPose, PeopleSighting, Side
from perception.clutch import ClutchPhase
from scripts.programs.overlay_arm import ArmFacts, ArmSketch
from scripts.programs.overlay_pen import Image, text_width_px, wrapped
from scripts.programs.teleop_overlay import PHASE_COLOURS, OverlayFacts, draw_overlay
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
GREY = np.full((480, 640, 3), 120, dtype=np.uint8)
#: Where the foot begins, and where the top row ends: the people of these tests are between.
TOP, FOOT = 60, 380


def person(x: float) -> BodyPose:
    """Stand at a share of the width, the left arm held out to the right of the picture."""
    image = np.full((33, 2), 0.5) + np.random.default_rng(0).normal(scale=0.01, size=(33, 2))
    image[[11, 13, 15]] = [[0.05, 0.4], [0.12, 0.4], [0.18, 0.4]]
    image[[12, 14, 16]] = [[-0.05, 0.4], [-0.08, 0.5], [-0.08, 0.6]]
    image[[23, 24]] = [[0.04, 0.65], [-0.04, 0.65]]
    image[[11, 12, 13, 14, 15, 16, 23, 24], 0] += x
    return BodyPose(image, np.zeros((33, 3)), np.isin(np.arange(33), [11, 12, 13, 14, 15, 16, 23, 24]).astype(float))


def sighting(*bodies: BodyPose) -> PeopleSighting:
    return PeopleSighting(0, 0, 640, 480, bodies)


def near(picture: Image, x: float, y: float, colour: tuple[int, int, int]) -> int:
    """Count pixels of a colour within 14 pixels of a place given in shares."""
    column, row = round(x * 640), round(y * 480)
    patch = picture[row - 14 : row + 14, column - 14 : column + 14].astype(int)
    return int((np.abs(patch - colour).max(axis=2) < 12).sum())


def test_the_picture_keeps_its_size_and_the_cameras_own_stays_as_it_is() -> None:
    camera = GREY.copy()
    for mirrored in (True, False):
        drawn = draw_overlay(camera, OverlayFacts(ClutchPhase.READY, "hold the space bar", mirrored=mirrored))
        assert drawn.shape == camera.shape
        assert (camera == GREY).all()
        assert not (drawn == GREY).all()


def test_the_picture_is_shown_as_in_a_mirror_with_the_skeleton_on_it() -> None:
    camera = GREY.copy()
    camera[:, :320] = 10
    body, colour = person(0.3), PHASE_COLOURS[ClutchPhase.ENGAGED]
    facts = OverlayFacts(ClutchPhase.ENGAGED, "", sighting(body), body, Side.LEFT)
    mirror, straight = draw_overlay(camera, facts), draw_overlay(camera, replace(facts, mirrored=False))
    assert mirror[200, 630].tolist() == [10, 10, 10]
    assert straight[200, 10].tolist() == [10, 10, 10]
    assert near(straight, 0.48, 0.4, colour) > 100
    assert near(mirror, 0.52, 0.4, colour) > 100
    assert near(mirror, 0.48, 0.4, colour) == 0


@pytest.mark.parametrize(("side", "followed", "other"), [(Side.LEFT, 0.68, 0.42), (Side.RIGHT, 0.42, 0.68)])
def test_the_arm_that_is_followed_has_the_colour_of_the_clutch(side: Side, followed: float, other: float) -> None:
    body, colour = person(0.5), PHASE_COLOURS[ClutchPhase.HOLDING]
    facts = OverlayFacts(ClutchPhase.HOLDING, "nobody", sighting(body), body, side, mirrored=False)
    drawn = draw_overlay(GREY, facts)
    height = {0.68: 0.4, 0.42: 0.6}
    assert near(drawn, followed, height[followed], colour) > 100
    assert near(drawn, other, height[other], colour) == 0


def test_who_is_not_in_control_is_dim() -> None:
    one, other = person(0.25), person(0.7)
    facts = OverlayFacts(ClutchPhase.ENGAGED, "", sighting(one, other), one, Side.LEFT, mirrored=False)
    drawn = draw_overlay(GREY, facts)[TOP:FOOT].astype(int)
    bright, dim = drawn[:, 80:300], drawn[:, 380:600]
    assert (bright.min(axis=2) > 235).sum() > 300
    assert (dim.min(axis=2) > 235).sum() == 0
    assert (np.abs(dim - 120).max(axis=2) > 10).sum() > 300, "and yet to be seen"


def test_a_smoothed_body_is_recognised_and_not_drawn_twice() -> None:
    seen = person(0.5)
    smoothed = replace(seen, image=seen.image + 0.01)
    facts = OverlayFacts(ClutchPhase.READY, "", sighting(seen), smoothed, Side.LEFT, mirrored=False)
    alone = draw_overlay(GREY, replace(facts, sighting=sighting()))
    assert (draw_overlay(GREY, facts) == alone).all()


@pytest.mark.parametrize("phase", list(ClutchPhase))
def test_every_state_of_the_clutch_has_its_own_colour_and_the_edge_warns(phase: ClutchPhase) -> None:
    drawn = draw_overlay(GREY, OverlayFacts(phase, "why"))
    framed = drawn[240, 1].tolist() == list(PHASE_COLOURS[phase])
    assert framed == (phase not in (ClutchPhase.WAITING, ClutchPhase.READY))
    assert len(set(PHASE_COLOURS.values())) == len(ClutchPhase)


def changed(one: OverlayFacts, other: OverlayFacts) -> tuple[bool, bool, bool]:
    """Return whether the top, the middle and the foot of the picture differ."""
    differ = (draw_overlay(GREY, one) != draw_overlay(GREY, other)).any(axis=(1, 2))
    return bool(differ[:TOP].any()), bool(differ[TOP:FOOT].any()), bool(differ[FOOT:].any())


def test_each_fact_has_its_place() -> None:
    facts = OverlayFacts(
        ClutchPhase.READY, "hold the space bar", latency_ms=38.0, tool_m=(0.2, 0.0, 0.1), closing=False
    )
    top, foot = (True, False, False), (False, False, True)
    assert changed(facts, replace(facts, latency_ms=41.0)) == top
    assert changed(facts, replace(facts, latency_ms=None)) == top
    assert changed(facts, replace(facts, recording=True)) == top
    assert changed(facts, replace(facts, reason="raise your other hand")) == foot
    assert changed(facts, replace(facts, tool_m=(0.2, 0.0, 0.11))) == foot
    assert changed(facts, replace(facts, closing=True)) == foot
    assert changed(facts, replace(facts, scale=0.5)) == foot


@pytest.mark.parametrize("name", ["dofbot", "ur5", "kuka_iiwa"])
def test_the_arm_is_drawn_as_it_stands_its_jaws_as_open_as_they_are(name: str) -> None:
    description = load_arm(name)
    rig = description.rig("table")
    sketch, home_rad = ArmSketch(description, rig), rig.home_rad
    for line in (sketch.area(), sketch.bones(home_rad.tolist()), sketch.jaws(home_rad.tolist())):
        assert ((line > 0.0) & (line < 1.0)).all()
    closed_rad = [*home_rad[:-1], description.gripper.closed_rad]
    wide, narrow = (float(np.linalg.norm(np.diff(sketch.jaws(q), axis=0))) for q in (home_rad.tolist(), closed_rad))
    assert wide > 0.02
    assert narrow < 0.3 * wide
    # Nearer to whoever stands before the desk is lower and larger in the picture.
    turned_rad = [home_rad[0] + 0.3, *home_rad[1:]]
    assert np.abs(sketch.bones(turned_rad)[-1] - sketch.bones(home_rad.tolist())[-1]).max() > 0.02


def test_what_the_arm_does_is_shown_beside_the_person() -> None:
    sketch = ArmSketch(ARM, ARM.rig("table"))
    home_rad = tuple(ARM.rig("table").home_rad.tolist())
    stands = ArmFacts(home_rad)
    facts = OverlayFacts(ClutchPhase.READY, "why", arm=stands)
    drawn = draw_overlay(GREY, facts, sketch)
    block = Pose.from_rotvec([0.15, 0.0, 0.015], [0.0, 0.0, 0.3])
    for other in (
        replace(stands, position_rad=(0.9, *home_rad[1:])),
        replace(stands, base_from_block=block),
        replace(stands, place_m=np.array([0.02, 0.15, 0.015])),
    ):
        differ = (draw_overlay(GREY, replace(facts, arm=other), sketch) != drawn).any(axis=2)
        assert differ[TOP:FOOT, 450:].any()
        assert not differ[:, :450].any()
    assert (draw_overlay(GREY, replace(facts, arm=None), sketch) == draw_overlay(GREY, facts)).all()


@pytest.mark.parametrize("size", [(120, 160), (576, 576), (1080, 1920)])
def test_pictures_of_any_size_and_landmarks_anywhere_are_drawn(size: tuple[int, int]) -> None:
    body = person(0.5)
    image = body.image.copy()
    image[15], image[16] = [np.nan, np.nan], [1e9, -1e9]
    lost = replace(body, image=image)
    facts = OverlayFacts(
        ClutchPhase.ENGAGED, "a reason of many words " * 20, sighting(lost), lost, Side.LEFT,
        arm=ArmFacts(tuple(ARM.rig("table").home_rad.tolist())), latency_ms=1234.0,
    )  # fmt: skip
    sketch = ArmSketch(ARM, ARM.rig("table"))
    assert draw_overlay(np.zeros((*size, 3), dtype=np.uint8), facts, sketch).shape == (*size, 3)


def test_words_are_wrapped_inside_their_room_and_what_is_left_is_an_ellipsis() -> None:
    words = "your right elbow and wrist cannot be seen and so the arm stands still until they can"
    rows = wrapped(words, 18.0, 250.0, bold=True)
    assert len(rows) == 2
    assert rows[1].endswith("…")
    assert all(text_width_px(row, 18.0, bold=True) <= 250.0 for row in rows)
    assert " ".join(wrapped(words, 18.0, 250.0, bold=True, lines=9)) == words
