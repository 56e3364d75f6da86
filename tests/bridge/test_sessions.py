"""Who is greeted, and whose key speaks for which session."""

from __future__ import annotations

import msgspec
import pytest

from bridge.gate import MAX_SESSIONS, CommandGate
from bridge.messages import PROTOCOL_VERSION, Hello
from bridge.sessions import Sessions
from urdf.description import load_arm

ARM = load_arm("dofbot")
HELLO = Hello("s1", PROTOCOL_VERSION, ARM.name, ARM.sha256, 0)


def sessions() -> tuple[Sessions, CommandGate]:
    gate = CommandGate(len(ARM.joint_names))
    return Sessions(gate, ARM), gate


def test_a_greeting_opens_a_session_for_its_key_and_for_no_other() -> None:
    made, gate = sessions()
    assert made.open(HELLO, "key-a") == ""
    assert gate.knows("s1")
    assert (made.owner("s1"), made.of("key-a"), made.of("key-b")) == ("key-a", ["s1"], [])
    assert made.owns("key-a", "s1")
    assert not made.owns("key-b", "s1")
    assert "another client's" in made.open(HELLO, "key-b")
    assert made.owner("s1") == "key-a"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"protocol": PROTOCOL_VERSION + 1}, "install the same version"),
        ({"arm": "ur5"}, "same arm description"),
        ({"arm_sha256": "0" * 64}, "same arm description"),
        ({"session": ""}, "needs a name"),
    ],
)
def test_a_greeting_that_does_not_fit_opens_nothing(changes: dict[str, str], why: str) -> None:
    made, gate = sessions()
    hello = msgspec.structs.replace(HELLO, **changes)
    assert why in made.open(hello, "key-a")
    assert not gate.knows(hello.session)
    assert made.of("key-a") == []


def test_a_session_that_has_ended_stays_ended() -> None:
    made, gate = sessions()
    made.open(HELLO, "key-a")
    assert not made.close("s1")  # it moved nothing
    assert made.of("key-a") == []
    assert "has ended" in made.open(HELLO, "key-a")
    assert not gate.knows("s1")


def test_owners_are_forgotten_with_the_sessions_that_made_room() -> None:
    made, _ = sessions()
    for k in range(MAX_SESSIONS + 5):
        assert made.open(msgspec.structs.replace(HELLO, session=f"s{k}"), "key-a") == ""
    assert len(made.of("key-a")) == MAX_SESSIONS
