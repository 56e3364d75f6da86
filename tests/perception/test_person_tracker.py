from __future__ import annotations

import numpy as np
import pytest

from perception.body import LANDMARKS, BodyPose, Landmark, PeopleSighting
from perception.person_tracker import PersonTracker, trunk_of

WIDTH_PX, HEIGHT_PX = 640, 480
ASPECT = WIDTH_PX / HEIGHT_PX
MS = 1_000_000


def person(x: float, size: float = 0.3, hips: float = 0.9) -> BodyPose:
    """Return someone whose shoulders are `x` heights from the left, whose trunk is `size` heights high."""
    image, visibility = np.full((LANDMARKS, 2), 0.5), np.full(LANDMARKS, 0.9)
    for left, right, y in (
        (Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER, 0.4),
        (Landmark.LEFT_HIP, Landmark.RIGHT_HIP, 0.4 + size),
    ):
        image[left], image[right] = [(x + size / 4) / ASPECT, y], [(x - size / 4) / ASPECT, y]
        visibility[[left, right]] = 0.9 if y == 0.4 else hips
    return BodyPose(image, np.zeros((LANDMARKS, 3)), visibility)


def picture(ms: int, *people: BodyPose) -> PeopleSighting:
    return PeopleSighting(ms, ms * MS, WIDTH_PX, HEIGHT_PX, people)


def test_before_anybody_engages_the_nearest_person_is_followed() -> None:
    near, far = person(0.9, 0.4), person(0.4, 0.25)
    assert PersonTracker().find(picture(0, far, near)).body is near


def test_who_engaged_is_followed_whoever_comes_nearer() -> None:
    tracker = PersonTracker()
    tracker.find(picture(0, person(0.4)))
    tracker.lock()
    for k in range(1, 60):
        mine, other = person(0.4 + 0.002 * k), person(1.2, 0.3 + 0.005 * k)
        assert tracker.find(picture(33 * k, other, mine)).body is mine


def test_when_the_one_in_control_leaves_another_is_nobody() -> None:
    tracker = PersonTracker()
    tracker.find(picture(0, person(0.4)))
    tracker.lock()
    found = tracker.find(picture(33, person(1.2)))
    assert found.body is None
    assert "somebody else" in found.why
    assert tracker.find(picture(2000, person(1.2))).body is None
    back = person(0.42)
    assert tracker.find(picture(2033, back, person(1.2))).body is back


def test_two_people_where_the_one_in_control_was_are_nobody() -> None:
    tracker = PersonTracker()
    tracker.find(picture(0, person(0.5)))
    tracker.lock()
    found = tracker.find(picture(33, person(0.49), person(0.53)))
    assert found.body is None
    assert "two people" in found.why


def test_somebody_much_larger_at_the_same_place_is_somebody_else() -> None:
    tracker = PersonTracker()
    tracker.find(picture(0, person(0.5)))
    tracker.lock()
    assert tracker.find(picture(33, person(0.5, 0.5))).body is None


def test_after_release_the_nearest_may_engage_and_is_told_to_be_new() -> None:
    tracker = PersonTracker()
    assert tracker.find(picture(0, person(0.4))).new
    assert not tracker.find(picture(33, person(0.41))).new
    tracker.lock()
    tracker.release()
    other = person(1.2, 0.4)
    found = tracker.find(picture(66, person(0.41), other))
    assert found.body is other
    assert found.new


@pytest.mark.parametrize("hips", [0.1, 0.9])
def test_hips_behind_a_desk_change_nothing_about_who_it_is(hips: float) -> None:
    tracker = PersonTracker()
    tracker.find(picture(0, person(0.5)))
    tracker.lock()
    assert tracker.find(picture(33, person(0.5, hips=hips))).body is not None


def test_an_empty_picture_and_one_without_shoulders_say_so() -> None:
    assert PersonTracker().find(picture(0)).why == "nobody is in the picture"
    hidden = person(0.5)
    hidden.visibility[[Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER]] = 0.1
    assert "shoulders" in PersonTracker().find(picture(0, hidden)).why
    assert trunk_of(hidden, ASPECT) is None
