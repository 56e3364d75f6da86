"""Ready-trained policies that come with the product: `pretrained/<name>/`, a policy folder with how it was made."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.observation import STATE
from policies.artifact import PolicyManifest
from policies.errors import ArtifactError

PRETRAINED = Path(__file__).parent / "pretrained"
MADE_NAME = "made.json"
#: They travel with every checkout and every wheel.
MAX_BYTES = 1_000_000


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a shipped policy was made. Successes are of the last evaluation, whose episodes chose nothing."""

    command: str
    git_commit: str
    date: str
    decisions: int
    minutes: float
    successes: int
    episodes: int


def shipped_folders() -> list[Path]:
    """Return the folders of the shipped policies, by name."""
    return sorted(path.parent for path in PRETRAINED.glob(f"*/{MADE_NAME}"))


def load_made(folder: Path) -> Made:
    """Return how the policy of a shipped folder was made; raises ArtifactError."""
    path = folder / MADE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Made)
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"{path}: {error}; ship the policy again (`tandem ship RUN`)") from error


def shipped_name(manifest: PolicyManifest) -> str:
    """Return `<arm>-<task>-<what it sees>`, and the rig where that is not the usual one."""
    views = manifest.reads.views
    sees = views[0].kind.value if views else STATE
    return f"{manifest.arm}-{manifest.task}-{sees}" + (f"-{manifest.rig}" if manifest.rig != "table" else "")
