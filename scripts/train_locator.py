"""`tandem train-locator`: train the network that finds the block in one 64 x 64 picture, with its uncertainty."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from rich.console import Console

from bridge.observation import CameraView, ImageKind
from calibration.artifacts import write_atomic
from perception.errors import LocatorUnfit, PerceptionError
from perception.learned import (
    SCHEMA,
    LocatorManifest,
    network_input,
    place_on_desk,
    save_locator,
)
from perception.locator_training import Lesson, LocatorTrainer
from perception.view import view_intrinsics
from policies.artifact import InputRecord
from policies.errors import BadConfig
from policies.export import onnx_bytes
from scripts.cli import data_root, emit_json
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE, FAILED, INTERRUPTED
from scripts.programs.depth_scenes import CAMERA, SIDE_PX
from scripts.programs.locator_plot import Judged, draw_locator
from scripts.programs.locator_run import (
    CONFIG_NAME,
    METRICS_NAME,
    PICTURE_NAME,
    LocatorConfig,
    SceneTable,
    create_run,
    find_run,
    load_scenes,
    make_scenes,
)
from scripts.programs.locator_run import SCHEMA as RUN_SCHEMA
from scripts.programs.one_pixel import BAR, EPOCHS, run_one_pixel
from scripts.provenance import git_commit, versions
from scripts.train import StopOnSignal
from sim.objects import BLOCK_SIZE_M
from sim.randomization import randomization
from urdf.description import load_arm
from urdf.errors import UnknownName
from urdf.pose import Pose

TASKS = ("block", "one-pixel")
_STATE = "checkpoint.json"
_GOLDEN = 16


@dataclass(frozen=True)
class TrainLocatorArgs:
    """Train a network that finds the block in a 64 x 64 picture of the wrist camera and says how sure it is.

    Leaves data/locators/<UTC>_<arm>_<kinds>_seed<n>/. Ctrl-C stops with a run that --resume goes on with.
    """

    task: str = "block"
    """`block`, or `one-pixel`: the reference's experiment, where is the one black pixel (a minute, nothing is kept)."""
    arm: str = "dofbot"
    """Whose wrist camera it is."""
    rig: str = "table"
    """How the arm is mounted."""
    kinds: tuple[str, ...] = ("depth",)
    """What it sees: depth, gray, rgb, or several of them."""
    randomization: str = "mild"
    """Name of the randomisation of the scenes: none, mild or hard (`tandem randomize`)."""
    scenes: int = 16_000
    """How many pictures, a tenth of them to judge by."""
    epochs: int = 20
    """How often it learns from all of them."""
    batch: int = 64
    """Pictures a step."""
    learning_rate: float = 1.5e-3
    """Of Adam, at its highest."""
    workers: int = 0
    """Processes that make pictures (0: one per core)."""
    seed: int = 0
    """Of scenes and network."""
    resume: str | None = None
    """Go on with a run: its folder, its name, or `newest`. Its settings are its own."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class LocatorSummary(msgspec.Struct, frozen=True):
    """The JSON line; errors in mm and degrees on scenes never met, null in an interrupted run."""

    run: str
    epochs: int
    median_mm: float | None
    p95_mm: float | None
    yaw_median_deg: float | None
    picture: str | None


def run(args: TrainLocatorArgs) -> int:
    """Train; return the exit code."""
    console = Console(stderr=args.json)
    if args.task not in TASKS:
        raise UnknownName("task of a locator", args.task, TASKS)
    if args.task == "one-pixel":
        return _one_pixel(console, args.json)
    folder = find_run(data_root(), args.resume) if args.resume else create_run(data_root(), _config(args))
    config = _read_config(folder)
    console.print(f"{folder}: {config.scenes} scenes, {config.epochs} epochs", highlight=False, soft_wrap=True)
    with StopOnSignal() as stop:
        table = _scenes(folder, config, args.workers or os.cpu_count() or 1, console, stop)
        trainer = None if table is None else _train(folder, config, table, console, stop)
    if table is None or trainer is None or trainer.done < config.epochs:
        done = 0 if trainer is None else trainer.done
        console.print(f"stopped; go on with: tandem train-locator --resume {folder.name}", soft_wrap=True)
        emit_json(LocatorSummary(str(folder), done, None, None, None, None), args.json)
        return INTERRUPTED
    judged, manifest = _finish(folder, config, table, trainer)
    picture = folder / PICTURE_NAME
    error, yaw = 1000 * judged.error_m, math.degrees(float(np.median(judged.yaw_error_rad)))
    kinds = " and ".join(kind.value for kind in config.kinds)
    draw_locator(judged, f"{config.arm}: the block from one 64 x 64 picture ({kinds}), learnt", picture)
    console.print(
        f"the block is found within {np.median(error):.1f} mm at the median, {np.percentile(error, 95):.1f} mm for 95 "
        f"of 100, its yaw within {yaw:.1f} degrees; its sigmas were off by a factor of {manifest.sigma_scale:.2f}, "
        f"which is mended. {folder / 'manifest.json'}, picture: {picture}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    p95 = float(np.percentile(error, 95))
    emit_json(LocatorSummary(str(folder), trainer.done, float(np.median(error)), p95, yaw, str(picture)), args.json)
    return DONE


def _one_pixel(console: Console, json_too: bool) -> int:
    with CountedProgress(console, "epochs", EPOCHS) as progress:
        squares = run_one_pixel(lambda number, square: progress.advance(f"validation MSE {square:.1e}"))
    verdict = "reached" if squares[-1] <= BAR else "NOT reached"
    pixels = 63 * math.sqrt(squares[-1])
    console.print(
        f"the black pixel is found within {pixels:.2f} px (validation MSE {squares[-1]:.1e} after {len(squares)} "
        f"epochs; {BAR:.0e}, what the reference needed them for, {verdict})", highlight=False, soft_wrap=True,
    )  # fmt: skip
    emit_json({"task": "one-pixel", "validation_mse": squares, "bar": BAR}, json_too)
    return DONE if squares[-1] <= BAR else FAILED


# Set-up ------------------------------------------------------------------------------------------
def _config(args: TrainLocatorArgs) -> LocatorConfig:
    """Return what was asked for, checked; raises BadConfig and UnknownName."""
    for name, least in (("scenes", 200), ("epochs", 1), ("batch", 2)):
        if getattr(args, name) < least:
            raise BadConfig(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if not 0 < args.learning_rate < 1:
        raise BadConfig(f"--learning-rate must lie between 0 and 1, got {args.learning_rate}")
    unknown = [kind for kind in args.kinds if kind not in tuple(ImageKind)]
    if unknown or not args.kinds or len(set(args.kinds)) != len(args.kinds):
        raise UnknownName("kind of picture", unknown[0] if unknown else " ".join(args.kinds), tuple(ImageKind))
    description = load_arm(args.arm)
    description.camera(CAMERA, description.rig(args.rig))
    randomization(args.randomization)
    kinds = tuple(sorted(ImageKind(kind) for kind in args.kinds))
    return LocatorConfig(
        RUN_SCHEMA, args.arm, args.rig, kinds, args.randomization, args.scenes, args.epochs, args.batch,
        args.learning_rate, args.seed, git_commit(),
    )  # fmt: skip


def _read_config(folder: Path) -> LocatorConfig:
    try:
        config = msgspec.json.decode((folder / CONFIG_NAME).read_bytes(), type=LocatorConfig)
    except msgspec.MsgspecError as error:
        raise LocatorUnfit(f"{folder / CONFIG_NAME}: {error}; begin another run") from error
    if config.schema != RUN_SCHEMA:
        raise LocatorUnfit(f"{folder}: schema {config.schema}, this version reads {RUN_SCHEMA}: begin another run")
    return config


def _scenes(
    folder: Path, config: LocatorConfig, workers: int, console: Console, stop: StopOnSignal
) -> SceneTable | None:
    with CountedProgress(console, "scenes", config.scenes) as progress:
        for count in make_scenes(folder, config, workers, lambda: stop.asked):
            for _ in range(count):
                progress.advance()
    return None if stop.asked else load_scenes(folder, config)


# Training ----------------------------------------------------------------------------------------
def _lesson(table: SceneTable) -> Lesson:
    return Lesson(network_input(table.pictures), table.place, table.yaw4, table.shown)


def _train(
    folder: Path, config: LocatorConfig, table: SceneTable, console: Console, stop: StopOnSignal
) -> LocatorTrainer:
    learn, judge = (_lesson(part) for part in table.parts())
    trainer = LocatorTrainer(learn.pictures.shape[1], config.epochs, config.batch, config.learning_rate, config.seed)
    _restore(folder, trainer)
    shown = judge.there
    with CountedProgress(console, "epochs", config.epochs) as progress:
        for _ in range(trainer.done):
            progress.advance("resumed")
        while trainer.done < config.epochs and not stop.asked:
            began = time.monotonic()
            loss = trainer.epoch(learn)
            said = trainer.outputs(judge.pictures)
            half = (SIDE_PX - 1) / 2
            apart_px = half * np.linalg.norm(said[shown, :2] - judge.place[shown], axis=1)
            right = float(((said[:, 8] > 0) == shown).mean())
            row = {"epoch": trainer.done, "loss": loss, "median_px": float(np.median(apart_px)), "there": right,
                   "wall_s": time.monotonic() - began}  # fmt: skip
            _save(folder, trainer, row)
            progress.advance(f"{row['median_px']:.2f} px off, {100 * right:.0f} % right about whether it is there")
    return trainer


def _save(folder: Path, trainer: LocatorTrainer, row: dict[str, float]) -> None:
    """Write the checkpoint: weights under a name of their epoch, then the JSON that names them, then the old go."""
    name = f"checkpoint_{trainer.done:04d}.safetensors"
    write_atomic(folder / name, safetensors.torch.save({k: t.contiguous() for k, t in trainer.capture().items()}))
    write_atomic(folder / _STATE, json.dumps({"epochs": trainer.done, "weights": name}).encode())
    for old in folder.glob("checkpoint_*.safetensors"):
        if old.name != name:
            old.unlink()
    kept = [line for line in _metrics(folder) if json.loads(line)["epoch"] < trainer.done]
    text = "\n".join([*kept, json.dumps(row)]) + "\n"
    write_atomic(folder / METRICS_NAME, text.encode())


def _metrics(folder: Path) -> list[str]:
    path = folder / METRICS_NAME
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _restore(folder: Path, trainer: LocatorTrainer) -> None:
    if not (folder / _STATE).exists():
        return
    state = json.loads((folder / _STATE).read_bytes())
    try:
        tensors = safetensors.torch.load((folder / state["weights"]).read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise LocatorUnfit(f"{folder / state['weights']}: {error}; remove {_STATE} to learn from the start") from error
    trainer.restore(tensors, int(state["epochs"]))


# Judging -----------------------------------------------------------------------------------------
def judge(config: LocatorConfig, table: SceneTable, outputs: NDArray[np.floating], sigma_scale: float) -> Judged:
    """Return how far what the network said (n, 9) is from the truth, on the desk, where the block was shown."""
    mount = load_arm(config.arm).camera(CAMERA, load_arm(config.arm).rig(config.rig))
    nominal = view_intrinsics(mount, CameraView(CAMERA, config.kinds[0], SIDE_PX, SIDE_PX))
    truth, found, turned, z2 = [], [], [], []
    for row in np.flatnonzero(table.shown):
        focal = float(table.focal_px[row])
        lens = dataclasses.replace(nominal, fx_px=focal, fy_px=focal)
        camera = Pose(table.camera[row, :3], table.camera[row, 3:])
        try:
            located = place_on_desk(outputs[row].astype(np.float64), sigma_scale, lens, camera, BLOCK_SIZE_M / 2)
        except PerceptionError:
            continue
        apart = located.desk_from_block.position_m[:2] - table.block[row, :2]
        turn = located.desk_from_block.yaw_rad - table.block[row, 2]
        truth.append(table.block[row, :2])
        found.append(located.desk_from_block.position_m[:2])
        turned.append(abs((turn + math.pi / 4) % (math.pi / 2) - math.pi / 4))
        z2.append(float(apart @ np.linalg.solve(located.covariance[:2, :2], apart)))
    return Judged(np.array(truth), np.array(found), np.array(turned), np.array(z2))


def _finish(
    folder: Path, config: LocatorConfig, table: SceneTable, trainer: LocatorTrainer
) -> tuple[Judged, LocatorManifest]:
    """Export the locator, its sigmas scaled by half of the held scenes and judged by the other half."""
    held = table.parts()[1]
    rows = np.arange(len(held))
    scaling, judging = held.only(rows[::2]), held.only(rows[1::2])
    raw = judge(config, scaling, trainer.outputs(network_input(scaling.pictures)), 1.0)
    # The median of chi squared with two degrees of freedom is 2 ln 2: few outliers do not move it.
    scale = math.sqrt(float(np.median(raw.z2)) / (2 * math.log(2)))
    pictures = network_input(judging.pictures)
    judged = judge(config, judging, trainer.outputs(pictures), scale)
    description = load_arm(config.arm)
    mount = description.camera(CAMERA, description.rig(config.rig))
    manifest = LocatorManifest(
        SCHEMA, config.arm, description.sha256, config.rig, CAMERA, config.kinds, SIDE_PX, mount.fov_y_rad,
        BLOCK_SIZE_M, config.randomization, config.scenes, scale, float(np.median(judged.error_m)),
        float(np.percentile(judged.error_m, 95)), float(np.median(judged.yaw_error_rad)), folder.name,
        git_commit(), versions(), "", "",
    )  # fmt: skip
    record = InputRecord("pictures", pictures.shape[1:], "float32")
    onnx = onnx_bytes(OfParts(trainer.net), {"pictures": record}, "outputs")
    save_locator(folder, manifest, onnx, pictures[:_GOLDEN], trainer.outputs)
    return judged, manifest


class OfParts(torch.nn.Module):
    """The network as `onnx_bytes` calls it: with named parts."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net.eval()

    def forward(self, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the outputs."""
        return self.net(parts["pictures"])
