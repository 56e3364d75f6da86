"""Sessions: which key opened which session, and who is greeted. No input, no output, no clock."""

from __future__ import annotations

from bridge.gate import CommandGate
from bridge.messages import PROTOCOL_VERSION, Hello
from urdf.description import ArmDescription


class Sessions:
    """The sessions of a gate and the public key behind each; without keys every owner is the empty string."""

    def __init__(self, gate: CommandGate, arm: ArmDescription) -> None:
        self._gate, self._arm = gate, arm
        self._owners: dict[str, str] = {}

    def owner(self, session: str) -> str:
        """Return the key that opened a session; empty where nobody did."""
        return self._owners.get(session, "")

    def owns(self, owner: str, session: str) -> bool:
        """Return whether a session may be spoken for by this key: its own, or one that nobody has opened."""
        return self._owners.get(session, owner) == owner

    def of(self, owner: str) -> list[str]:
        """Return the sessions that a key has opened."""
        return [session for session, key in self._owners.items() if key == owner]

    def close(self, session: str) -> bool:
        """End a session for good; return whether it was moving the arm."""
        self._owners.pop(session, None)
        return self._gate.close(session)

    def open(self, hello: Hello, owner: str) -> str:
        """Open the session of a greeting; return why not, in words, or empty."""
        arm = self._arm
        if hello.protocol != PROTOCOL_VERSION:
            return (
                f"this server speaks protocol {PROTOCOL_VERSION}, the client {hello.protocol}: install the same version"
            )
        if (hello.arm, hello.arm_sha256) != (arm.name, arm.sha256):
            return (
                f"this server's arm is {arm.name!r} ({arm.sha256[:12]}), the client expects {hello.arm!r} "
                f"({hello.arm_sha256[:12]}): use the same arm description at both ends"
            )
        if not hello.session:
            return "a session needs a name"
        if not self.owns(owner, hello.session):
            return f"session {hello.session!r} is another client's"
        if not self._gate.open(hello.session, hello.take_over):
            return f"session {hello.session!r} has ended: a new one needs a new name"
        self._owners = {s: key for s, key in self._owners.items() if self._gate.knows(s)} | {hello.session: owner}
        return ""
