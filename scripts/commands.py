"""Every subcommand of `tandem`: what it does in a line, and how to run it. Each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Args = TypeVar("Args")


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: what it does in a line, and how to parse its words and run it."""

    summary: str
    run: Callable[[Sequence[str]], int]


def _parse(name: str, kind: type[Args], words: Sequence[str]) -> Args:
    from scripts.arguments import parse  # tyro: 40 ms that `tandem --help` does not need

    return parse(name, kind, words)


def _train(words: Sequence[str]) -> int:
    from scripts.train import run
    from scripts.train_settings import parse

    return run(parse(words))


def _train_locator(words: Sequence[str]) -> int:
    from scripts.train_locator import TrainLocatorArgs, run

    return run(_parse("train-locator", TrainLocatorArgs, words))


def _evaluate(words: Sequence[str]) -> int:
    from scripts.evaluate import EvaluateArgs, run

    return run(_parse("evaluate", EvaluateArgs, words))


def _plot(words: Sequence[str]) -> int:
    from scripts.plot import PlotArgs, run

    return run(_parse("plot", PlotArgs, words))


def _presets(words: Sequence[str]) -> int:
    from scripts.presets import PresetsArgs, run

    return run(_parse("presets", PresetsArgs, words))


def _policies(words: Sequence[str]) -> int:
    from scripts.policies import PoliciesArgs, run

    return run(_parse("policies", PoliciesArgs, words))


def _models_list(words: Sequence[str]) -> int:
    from scripts.models import ModelsListArgs, run_list

    return run_list(_parse("models list", ModelsListArgs, words))


def _models_fetch(words: Sequence[str]) -> int:
    from scripts.models import ModelsFetchArgs, run_fetch

    return run_fetch(_parse("models fetch", ModelsFetchArgs, words))


def _ship(words: Sequence[str]) -> int:
    from scripts.ship import ShipArgs, run

    return run(_parse("ship", ShipArgs, words))


def _observe(words: Sequence[str]) -> int:
    from scripts.observe import ObserveArgs, run

    return run(_parse("observe", ObserveArgs, words))


def _env_list(words: Sequence[str]) -> int:
    from scripts.env import EnvListArgs, run_list

    return run_list(_parse("env list", EnvListArgs, words))


def _env_show(words: Sequence[str]) -> int:
    from scripts.env import EnvShowArgs, run_show

    return run_show(_parse("env show", EnvShowArgs, words))


def _run(words: Sequence[str]) -> int:
    from scripts.run import RunArgs, run

    return run(_parse("run", RunArgs, words))


def _teleop(words: Sequence[str]) -> int:
    from scripts.teleop import TeleopArgs, run

    return run(_parse("teleop", TeleopArgs, words))


def _episodes_record(words: Sequence[str]) -> int:
    from scripts.episodes_record import EpisodesRecordArgs, run

    return run(_parse("episodes record", EpisodesRecordArgs, words))


def _episodes_label(words: Sequence[str]) -> int:
    from scripts.episodes_label import EpisodesLabelArgs, run_label

    return run_label(_parse("episodes label", EpisodesLabelArgs, words))


def _episodes_trim(words: Sequence[str]) -> int:
    from scripts.episodes_label import EpisodesTrimArgs, run_trim

    return run_trim(_parse("episodes trim", EpisodesTrimArgs, words))


def _episodes_stats(words: Sequence[str]) -> int:
    from scripts.episodes_stats import EpisodesStatsArgs, run

    return run(_parse("episodes stats", EpisodesStatsArgs, words))


def _episodes_export(words: Sequence[str]) -> int:
    from scripts.episodes_export import EpisodesExportArgs, run_export

    return run_export(_parse("episodes export", EpisodesExportArgs, words))


def _episodes_import(words: Sequence[str]) -> int:
    from scripts.episodes_export import EpisodesImportArgs, run_import

    return run_import(_parse("episodes import", EpisodesImportArgs, words))


def _episodes_list(words: Sequence[str]) -> int:
    from scripts.episodes import EpisodesListArgs, run_list

    return run_list(_parse("episodes list", EpisodesListArgs, words))


def _episodes_show(words: Sequence[str]) -> int:
    from scripts.episodes import EpisodesShowArgs, run_show

    return run_show(_parse("episodes show", EpisodesShowArgs, words))


def _episodes_replay(words: Sequence[str]) -> int:
    from scripts.episodes_replay import EpisodesReplayArgs, run

    return run(_parse("episodes replay", EpisodesReplayArgs, words))


def _episodes_repair(words: Sequence[str]) -> int:
    from scripts.episodes import EpisodesRepairArgs, run_repair

    return run_repair(_parse("episodes repair", EpisodesRepairArgs, words))


def _mirror(words: Sequence[str]) -> int:
    from scripts.mirror import MirrorArgs, run

    return run(_parse("mirror", MirrorArgs, words))


def _lab(words: Sequence[str]) -> int:
    from scripts.lab import LabArgs, run

    return run(_parse("lab", LabArgs, words))


def _serve(words: Sequence[str]) -> int:
    from scripts.serve import ServeArgs, run

    return run(_parse("serve", ServeArgs, words))


def _stop(words: Sequence[str]) -> int:
    from scripts.stop import StopArgs, run

    return run(_parse("stop", StopArgs, words))


def _keys_new(words: Sequence[str]) -> int:
    from scripts.keys import KeysNewArgs, run_new

    return run_new(_parse("keys new", KeysNewArgs, words))


def _keys_list(words: Sequence[str]) -> int:
    from scripts.keys import KeysListArgs, run_list

    return run_list(_parse("keys list", KeysListArgs, words))


def _keys_revoke(words: Sequence[str]) -> int:
    from scripts.keys import KeysRevokeArgs, run_revoke

    return run_revoke(_parse("keys revoke", KeysRevokeArgs, words))


def _camera_list(words: Sequence[str]) -> int:
    from scripts.camera import CameraListArgs, run_list

    return run_list(_parse("camera list", CameraListArgs, words))


def _camera_view(words: Sequence[str]) -> int:
    from scripts.camera import CameraViewArgs, run_view

    return run_view(_parse("camera view", CameraViewArgs, words))


def _camera_record(words: Sequence[str]) -> int:
    from scripts.camera_record import CameraRecordArgs, run_record

    return run_record(_parse("camera record", CameraRecordArgs, words))


def _camera_serve(words: Sequence[str]) -> int:
    from scripts.camera_serve import CameraServeArgs, run_serve

    return run_serve(_parse("camera serve", CameraServeArgs, words))


def _doctor(words: Sequence[str]) -> int:
    from scripts.doctor import DoctorArgs, run

    return run(_parse("doctor", DoctorArgs, words))


def _jog(words: Sequence[str]) -> int:
    from scripts.jog import JogArgs, run

    return run(_parse("jog", JogArgs, words))


def _calibrate_all(words: Sequence[str]) -> int:
    from scripts.calibrate_all import CalibrateAllArgs, run

    return run(_parse("calibrate all", CalibrateAllArgs, words))


def _gap(words: Sequence[str]) -> int:
    from scripts.gap import GapArgs, run

    return run(_parse("gap", GapArgs, words))


def _check_obs(words: Sequence[str]) -> int:
    from scripts.check_obs import CheckObsArgs, run

    return run(_parse("check-obs", CheckObsArgs, words))


def _calibrate_camera(words: Sequence[str]) -> int:
    from scripts.calibrate_camera import CalibrateCameraArgs, run

    return run(_parse("calibrate camera", CalibrateCameraArgs, words))


def _calibrate_servos(words: Sequence[str]) -> int:
    from scripts.calibrate_servos import CalibrateServosArgs, run

    return run(_parse("calibrate servos", CalibrateServosArgs, words))


def _calibrate_hand_eye(words: Sequence[str]) -> int:
    from scripts.calibrate_hand_eye import CalibrateHandEyeArgs, run

    return run(_parse("calibrate hand-eye", CalibrateHandEyeArgs, words))


def _board(words: Sequence[str]) -> int:
    from scripts.board import BoardArgs, run

    return run(_parse("board", BoardArgs, words))


def _board_make(words: Sequence[str]) -> int:
    from scripts.board import BoardMakeArgs, run_make

    return run_make(_parse("board make", BoardMakeArgs, words))


def _board_measured(words: Sequence[str]) -> int:
    from scripts.board import BoardMeasuredArgs, run_measured

    return run_measured(_parse("board measured", BoardMeasuredArgs, words))


def _calibrate_actuator(words: Sequence[str]) -> int:
    from scripts.calibrate_actuator import CalibrateActuatorArgs, run

    return run(_parse("calibrate actuator", CalibrateActuatorArgs, words))


def _bench(words: Sequence[str]) -> int:
    from scripts.bench import BenchArgs, run

    return run(_parse("bench", BenchArgs, words))


def _randomize(words: Sequence[str]) -> int:
    from scripts.randomize import RandomizeArgs, run

    return run(_parse("randomize", RandomizeArgs, words))


def _demo(words: Sequence[str]) -> int:
    from scripts.programs.demo import DemoArgs, run

    return run(_parse("demo", DemoArgs, words))


COMMANDS: dict[str, Command] = {
    "demo": Command("train, start the lab, run the policy on it and write a report: no questions asked", _demo),
    "train": Command("train a policy in simulation", _train),
    "train-locator": Command(
        "train the network that finds the block in one 64x64 picture, with its uncertainty", _train_locator
    ),
    "evaluate": Command("count how often a policy succeeds in simulation", _evaluate),
    "plot": Command("draw the learning curves of several runs in one picture", _plot),
    "presets": Command("list the named settings of training, curricula and randomisation", _presets),
    "policies": Command("list the ready-trained policies and how each was made", _policies),
    "models list": Command("list the models that find people and hands, and whether they are here", _models_list),
    "models fetch": Command("fetch those models, or build them from a package", _models_fetch),
    "ship": Command("put the policy of a finished run among the ready-trained ones", _ship),
    "observe": Command("watch a policy, the oracle or yourself act in any environment: window or film", _observe),
    "env list": Command("list the registered environments", _env_list),
    "env show": Command("show an environment's numbers with their units, and draw what its arm can reach", _env_show),
    "run": Command("run a policy on an arm: the lab's, or a served one that has a camera", _run),
    "teleop": Command("lead an arm by the motion of your own, seen by a webcam", _teleop),
    "episodes record": Command("record demonstrations: a policy's, or yours at the keys", _episodes_record),
    "episodes label": Command("say which attempts of a recording succeeded", _episodes_label),
    "episodes trim": Command("leave out the idle ends of a recording's attempts", _episodes_trim),
    "episodes stats": Command("count demonstrations, and draw a contact sheet of them", _episodes_stats),
    "episodes export": Command("write demonstrations as arrays, for Minari or for LeRobot", _episodes_export),
    "episodes import": Command("read demonstrations that Minari or LeRobot wrote", _episodes_import),
    "episodes list": Command("list the recordings that runs on an arm have left", _episodes_list),
    "episodes show": Command(
        "show a recording: the loop and the joints in numbers and a picture, events", _episodes_show
    ),
    "episodes replay": Command("play a recording again, on an arm or in simulation, and compare", _episodes_replay),
    "episodes repair": Command("make a recording whole that was cut off", _episodes_repair),
    "mirror": Command("drive an arm and its simulated twin together, and tell how they differ", _mirror),
    "lab": Command("start the arm you have when you have no arm: servo board, world and camera", _lab),
    "serve": Command("own a servo bus and serve its arm (on the arm's own computer)", _serve),
    "stop": Command("emergency stop of a served arm, or its end", _stop),
    "camera list": Command("list the cameras that are plugged in here", _camera_list),
    "camera view": Command("look through a camera: window, terminal, and a picture with its figures", _camera_view),
    "camera record": Command("record a camera as a folder of pictures or a film", _camera_record),
    "camera serve": Command("serve a camera, here or with keys over the network", _camera_serve),
    "keys new": Command("let a client in over the network, and make its key", _keys_new),
    "keys list": Command("list who is let in", _keys_list),
    "keys revoke": Command("let a client in no longer", _keys_revoke),
    "doctor": Command("find what would stop a run on this computer, and how to mend it", _doctor),
    "jog": Command("move an arm by keyboard, slowly, joint by joint", _jog),
    "board": Command("list the boards that were printed here, and how to tell how long they came out", _board),
    "board make": Command("make a board to print at exact size: for cameras, the desk, the block", _board_make),
    "board measured": Command("tell how long a printed board's rulers came out", _board_measured),
    "calibrate camera": Command(
        "measure a camera's focal length and lens from views of a printed board", _calibrate_camera
    ),
    "calibrate servos": Command("measure the servos' zeros and scales, by hand or with a camera", _calibrate_servos),
    "calibrate hand-eye": Command("measure where a camera is, on the tool or before the arm", _calibrate_hand_eye),
    "calibrate actuator": Command("measure how the servos move: dead time, speed, play", _calibrate_actuator),
    "calibrate all": Command("measure camera, servos and where the camera stands, one after the other", _calibrate_all),
    "check-obs": Command("compare what a policy would see on an arm with what it would see in simulation", _check_obs),
    "gap": Command("measure what is left of a policy's success in labs, before and after calibration", _gap),
    "randomize": Command("list the ranges of domain randomisation, or draw what they do", _randomize),
    "bench": Command("measure the figures that were promised and say which hold", _bench),
}
