"""`tandem ship`: put the policy of a finished run among those that come with the product."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
import onnx
import tyro

from policies import shipped
from policies.artifact import load_artifact, save_artifact, write_json
from policies.errors import ArtifactError
from policies.export import without_traces
from policies.onnx_policy import OnnxPolicy
from policies.presets import find_preset
from policies.shipped import Made
from scripts import run_folder
from scripts.cli import emit_json, resolve_run, say
from scripts.exit_codes import DONE
from scripts.presets import Leaf, differences
from scripts.run_folder import RunConfig, RunRecord
from scripts.train_settings import TrainArgs, chosen_settings, parse


@dataclass(frozen=True)
class ShipArgs:
    """Put the policy of a finished run among those that come with the product, with how it was made.

    It goes to policies/pretrained/<arm>-<task>-<state, or what its pictures show>/ of this source tree, over an older
    one of that name. What `tandem policies` lists is what is there.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = "newest"
    """A run: its folder, its name, or `newest`."""
    json: bool = False
    """Print one JSON object as the last line of stdout: name, folder, and how the policy was made."""


class ShipSummary(msgspec.Struct, frozen=True):
    """The JSON line."""

    name: str
    folder: str
    made: Made


def run(args: ShipArgs) -> int:
    """Check, copy and tell; return the exit code."""
    source = resolve_run(args.run)
    record = run_folder.read_run_record(source)
    if record.exit_status != DONE or not record.evaluated_episodes:
        raise ArtifactError(f"{source} was not finished: go on with it first, tandem train --resume {source.name}")
    if run_folder.file_hashes(source) != record.files_sha256:
        raise ArtifactError(f"{source / 'policy'} is not the policy that {run_folder.RUN_NAME} beside it tells of")
    made = made_by(record)
    folder = ship(source / "policy", made)
    say(f"{folder.name}: {made.successes} of {made.episodes} episodes, by {made.command}. Now in {folder}", args.json)
    emit_json(ShipSummary(folder.name, str(folder), made), args.json)
    return DONE


def ship(policy: Path, made: Made) -> Path:
    """Write a policy folder anew where it is shipped from, over an older one of its name; return where.

    What an older version exported is brought up to date: its golden pairs are compressed, and its network does not tell
    where it was trained. Raises ArtifactError where the policy is larger than `MAX_BYTES`.
    """
    manifest, network, golden = load_artifact(policy)
    folder = shipped.PRETRAINED / shipped.shipped_name(manifest)
    with TemporaryDirectory() as name:
        fresh = Path(name) / folder.name
        save_artifact(fresh, manifest, without_traces(onnx.load_from_string(network)), golden)
        OnnxPolicy(fresh)  # computes the golden pairs again
        write_json(fresh / shipped.MADE_NAME, made)
        size = sum(path.stat().st_size for path in fresh.iterdir())
        if size > shipped.MAX_BYTES:
            raise ArtifactError(
                f"{policy} has {size / 1e6:.2f} MB, a shipped policy {shipped.MAX_BYTES / 1e6:.2f} MB at most: train a "
                "smaller network, or one of fewer or smaller pictures"
            )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fresh, folder)
    return folder


def made_by(record: RunRecord) -> Made:
    """Return how a run made its policy."""
    return Made(
        command=training_command(record.config),
        git_commit=record.config.git_commit,
        date=datetime.strptime(record.ended_utc, "%Y%m%dT%H%M%SZ").date().isoformat(),
        decisions=record.decisions,
        minutes=round(record.wall_s / 60, 1),
        successes=record.successes,
        episodes=record.evaluated_episodes,
    )


def training_command(config: RunConfig) -> str:
    """Return the `tandem train` that asks for a run's settings; raises ArtifactError where no options do."""
    words = ["--preset", config.preset]
    asked: dict[str, Leaf] = {"rig": config.rig, "seed": config.seed}
    words += [w for name, leaf in asked.items() if leaf != getattr(TrainArgs, name) for w in _words(name, leaf)]
    changed = differences(config.train, find_preset(config.preset))
    words += [w for name, leaf in changed.items() for w in _words(name, leaf)]
    args = parse(words)
    if (chosen_settings(args), args.rig, args.seed) != (config.train, config.rig, config.seed):
        raise ArtifactError(f"no options of `tandem train` ask for the settings of this run; {words} come nearest")
    return shlex.join(["tandem", "train", *words])


def _words(name: str, leaf: Leaf) -> list[str]:
    """Return an option as it is typed."""
    option = name.replace("_", "-")
    if isinstance(leaf, bool):
        group, _, last = option.rpartition(".")
        return [f"--{option}" if leaf else f"--{group}{'.' if group else ''}no-{last}"]
    return [f"--{option}", *map(str, leaf if isinstance(leaf, tuple) else (leaf,))]
