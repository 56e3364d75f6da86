from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perception.body import BodyPose, Landmark, PeopleSighting, Side
from scripts.programs.gif import gif_frames
from scripts.programs.kuka_twin import KukaTwin, TwinStep
from scripts.programs.pose_track import QUIET, Waypoint, pose_track
from scripts.programs.stick_figure import LIMB_COLOURS
from scripts.programs.teleop_gif import SIZE_PX, film_twin

#: 0.67 rad: what the reference adds.
LEAN_RAD = 0.67


def person(drop_deg: float, fold_deg: float) -> BodyPose:
    """Both arms held alike: the upper arm so far below the horizontal, the forearm turned up by the fold."""
    still = [Waypoint(0, (0.1, 0.3, 0.0)), Waypoint(1, (0.1, 0.3, 0.0))]
    body = pose_track(still, Side.LEFT, np.random.default_rng(0), QUIET)[0].bodies[0]
    upper, forearm = math.radians(drop_deg), math.radians(drop_deg - fold_deg)
    for shoulder, elbow, wrist, outward in ((11, 13, 15, 1.0), (12, 14, 16, -1.0)):
        body.image[shoulder] = [0.5 + 0.1 * outward, 0.4]
        body.image[elbow] = body.image[shoulder] + 0.1 * np.array([outward * math.cos(upper), math.sin(upper)])
        body.image[wrist] = body.image[elbow] + 0.1 * np.array([outward * math.cos(forearm), math.sin(forearm)])
    return body


def seen(k: int, body: BodyPose | None) -> PeopleSighting:
    return PeopleSighting(k, round(k * 1e9 / 30), 480, 480, () if body is None else (body,))


def shown(twin: KukaTwin, bodies: Sequence[BodyPose | None], first: int = 0) -> TwinStep:
    """Show these pictures; return what the last one did."""
    return [twin.see(seen(first + k, body)) for k, body in enumerate(bodies)][-1]


@pytest.fixture
def twin() -> Iterator[KukaTwin]:
    made = KukaTwin()
    yield made
    made.close()


def test_the_twins_do_what_the_references_did(twin: KukaTwin) -> None:
    step = shown(twin, [person(20.0, 50.0)] * 45)
    for side, sign in ((Side.LEFT, 1.0), (Side.RIGHT, -1.0)):
        expected = [1.57, 0, 0, sign * (math.radians(20) + LEAN_RAD), 0, sign * math.radians(50), 0]
        np.testing.assert_allclose(step.sent_rad[side][:7], expected, atol=math.radians(2))
        np.testing.assert_allclose(step.reached_rad[side][:7], expected, atol=math.radians(4))


def test_a_hidden_limb_lets_its_arm_hold_and_the_other_go_on(twin: KukaTwin) -> None:
    shown(twin, [person(0.0, 0.0)] * 30)
    hidden = person(60.0, 0.0)
    hidden.visibility[Landmark.LEFT_ELBOW] = 0.1
    before_rad = shown(twin, [None], first=30).sent_rad
    after_rad = shown(twin, [hidden] * 30, first=31).sent_rad
    assert abs(after_rad[Side.LEFT][3] - before_rad[Side.LEFT][3]) < math.radians(1)
    assert abs(after_rad[Side.RIGHT][3] - before_rad[Side.RIGHT][3]) > math.radians(50)


def test_nobody_holds_both_and_says_why(twin: KukaTwin) -> None:
    shown(twin, [person(0.0, 0.0)] * 30)
    steps = [twin.see(seen(k, None)) for k in range(30, 60)]
    assert steps[-1].why_held == "nobody is in the picture"
    for side in Side:
        np.testing.assert_array_equal(steps[10].sent_rad[side], steps[-1].sent_rad[side])


def test_who_came_first_is_copied_until_they_have_been_away_for_a_while(twin: KukaTwin) -> None:
    first, stranger = person(0.0, 0.0), person(80.0, 0.0)
    before_rad = shown(twin, [first] * 30).sent_rad[Side.LEFT][3]
    stranger.image[:] = (stranger.image - 0.5) * 1.5 + [0.95, 0.5]  # larger, and elsewhere
    for k in range(30, 40):
        both = replace(seen(k, first), bodies=(stranger, first))
        assert abs(twin.see(both).sent_rad[Side.LEFT][3] - before_rad) < math.radians(1)
    assert shown(twin, [stranger] * 20, first=40).why_held.startswith("the person in control")
    assert abs(shown(twin, [stranger] * 80, first=60).sent_rad[Side.LEFT][3] - before_rad) > math.radians(40)


def test_a_clock_that_goes_back_holds_and_is_gone_on_from(twin: KukaTwin) -> None:
    shown(twin, [person(0.0, 0.0)] * 10, first=100)
    jumped = twin.see(seen(3, person(0.0, 0.0)))
    assert "rising stamps" in jumped.why_held
    assert twin.see(seen(4, person(0.0, 0.0))).why_held == ""


def test_mirrored_twins_exchange_sides() -> None:
    one_arm_up = person(0.0, 0.0)
    one_arm_up.image[13] = one_arm_up.image[11] + [0.0, 0.1]
    one_arm_up.image[15] = one_arm_up.image[11] + [0.0, 0.2]
    own, mirrored = KukaTwin(), KukaTwin(mirrored=True)
    own_rad, mirrored_rad = (shown(twin, [one_arm_up] * 45).sent_rad for twin in (own, mirrored))
    own.close()
    mirrored.close()
    assert own_rad[Side.LEFT][3] > own_rad[Side.RIGHT][3] + math.radians(90)
    assert mirrored_rad[Side.RIGHT][3] == pytest.approx(-own_rad[Side.LEFT][3], abs=1e-6)
    assert mirrored_rad[Side.LEFT][3] == pytest.approx(-own_rad[Side.RIGHT][3], abs=1e-6)


def test_the_film_shows_person_and_twins(tmp_path: Path) -> None:
    sightings = [seen(k, person(-40.0 + 4 * k, 10.0)) for k in range(8)]
    sightings.append(replace(sightings[-1], seq=8, stamp_ns=sightings[-1].stamp_ns + 33_333_333, bodies=()))
    shares: list[float] = []
    steps = film_twin(sightings, tmp_path / "teleop.gif", "caption", lambda _, share: shares.append(share))
    frames = gif_frames(tmp_path / "teleop.gif")
    assert len(steps) == len(sightings)
    assert shares[-1] == 1.0
    assert len(frames) == 5
    for side in Side:
        near = (np.abs(frames[0].astype(np.int64) - LIMB_COLOURS[side]).max(axis=2) < 40).nonzero()[1]
        assert (near < SIZE_PX).sum() > 50, "a bone of the person"
        assert (near >= SIZE_PX).sum() > 50, "a link of its twin"


def test_a_film_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody is in any of 2 pictures"):
        film_twin([seen(0, None), seen(1, None)], tmp_path / "teleop.gif", "", lambda *_: None)
