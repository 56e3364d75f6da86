"""Ready-trained policies that come with the product: `pretrained/<name>/`, a policy folder with how it was made."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.observation import STATE
from calibration.artifacts import write_atomic
from policies.artifact import GOLDEN_NAME, MANIFEST_NAME, ONNX_NAME, PolicyManifest, load_manifest, write_json
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


def ship(policy: Path, made: Made) -> Path:
    """Copy a policy folder to where it is shipped from, over an older one of its name; return the copy.

    Raises ArtifactError where it is larger than `MAX_BYTES`.
    """
    files = {name: (policy / name).read_bytes() for name in (ONNX_NAME, GOLDEN_NAME, MANIFEST_NAME)}
    size = sum(len(data) for data in files.values())
    if size > MAX_BYTES:
        raise ArtifactError(
            f"{policy} has {size / 1e6:.2f} MB, a shipped policy {MAX_BYTES / 1e6:.0f} MB at most: train a smaller "
            "network, or one of fewer or smaller pictures"
        )
    folder = PRETRAINED / shipped_name(load_manifest(policy))
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)
    write_json(folder / MADE_NAME, made)
    return folder
