"""The folder of a training run: `config.json` when it starts, `run.json` when it ends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from calibration.actuator_file import ActuatorCalibration
from policies.artifact import sha256_of, write_json
from policies.config import TrainConfig
from policies.errors import ArtifactError

SCHEMA = 1
CONFIG_NAME, RUN_NAME = "config.json", "run.json"


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was asked for; enough to go on with the run, or to run it again.

    `unit` is the robot whose measured servos are simulated; where it is None it is not written.
    """

    schema: int
    preset: str
    rig: str
    seed: int
    train: TrainConfig
    git_commit: str
    versions: dict[str, str]
    started_utc: str
    unit: ActuatorCalibration | None = None


class RunRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of it. Written last: a run folder without it was killed, and can be resumed."""

    schema: int
    config: RunConfig
    ended_utc: str
    exit_status: int
    end: str
    decisions: int
    episodes: int
    updates: int
    wall_s: float
    success_rate: float | None
    successes: int
    evaluated_episodes: int
    policy_decisions: int
    files_sha256: dict[str, str]


def utc_now() -> str:
    """Return the time as `20260131T235959Z`."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def create_run_folder(data: Path, config: RunConfig) -> Path:
    """Make `runs/<task>/<UTC>_<preset>_seed<n>` and write its `config.json`."""
    name = f"{config.started_utc}_{config.preset}_seed{config.seed}"
    parent = data / "runs" / config.train.task
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # two runs started within one second
            continue
        write_json(folder / CONFIG_NAME, config)
        return folder
    raise FileExistsError(f"{parent / name} and 998 more exist")


def read_run_config(folder: Path) -> RunConfig:
    """Return the configuration of a run; raises ArtifactError when it is missing, damaged or of another version."""
    path = folder / CONFIG_NAME
    try:
        data = path.read_bytes()
        config = msgspec.json.decode(data, type=RunConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"{path}: {error}; expected the configuration of a training run") from error
    # msgspec refuses unknown fields of Structs, but passes over those of a dataclass.
    if msgspec.json.decode(data) != msgspec.json.decode(msgspec.json.encode(config)) or config.schema != SCHEMA:
        raise ArtifactError(f"{path}: written by another version (schema {config.schema}); start the run again")
    return config


def read_run_record(folder: Path) -> RunRecord:
    """Return what came of a run; raises ArtifactError when that is missing (the run was killed), or damaged."""
    path = folder / RUN_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"{path}: {error}; expected the record of a training run that has ended") from error


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that a finished run hands on."""
    files = sorted(p for p in folder.glob("policy/*") if p.is_file())
    return {str(p.relative_to(folder)): sha256_of(p.read_bytes()) for p in files}
