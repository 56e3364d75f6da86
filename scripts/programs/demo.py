"""`tandem demo`: train, evaluate, run the policy on the lab's arm across the bridge, film it and write a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from bridge.clock import MonotonicClock
from calibration.artifacts import write_atomic
from hardware.cameras.remote import RemoteCamera
from policies.artifact import write_json
from policies.evaluation import wilson_interval
from policies.scripted import SCRIPTED_NAMES
from scripts import run_folder
from scripts.cli import data_root, emit_json
from scripts.counted_progress import CountedProgress
from scripts.evaluate import EvaluateSummary, PolicyChoice, choose_policy, evaluate_policy
from scripts.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED
from scripts.programs.demo_film import film_side_by_side
from scripts.programs.demo_stage import Stage, StageFailed, Timetable
from scripts.programs.demo_summary import DemoSummary
from scripts.programs.figures import machine
from scripts.programs.film import Film, Take
from scripts.programs.lab import LabArgs
from scripts.programs.lab_process import LabProcess
from scripts.programs.report import ReportSources, write_report
from scripts.programs.robot_link import RobotLink
from scripts.programs.robot_run import AttemptRecord
from scripts.programs.side_by_side import HALF_PX
from scripts.provenance import git_commit, versions
from scripts.run import RunOutcome, Tally, closing, own_lab, run_on
from scripts.train import TrainSummary, train_once
from scripts.train_settings import TrainArgs
from urdf.description import load_arm

SUMMARY_NAME, REPORT_NAME, GIF_NAME, CURVE_NAME = "summary.json", "report.html", "demo.gif", "learning_curve.png"
_EVALUATION_SEED = 1000
_FILMED_ATTEMPTS = 4
_TRAIN, _EVALUATE, _LAB, _FILM, _REPORT = "train", "evaluate", "lab", "film", "report"


@dataclass(frozen=True)
class DemoArgs:
    """Train, evaluate, start the lab, run the policy on it across the bridge, and write a report. No questions.

    Exits 1 when a stage fails or a promise is not kept (evaluation 95 %, lab 17 of 20, camera and truth agreeing on
    19 of 20); the report is written all the same.
    """

    out: Path | None = None
    """Folder of the results. Default: `demo` under the data root."""
    policy: str | None = None
    """Skip the training and show this run (folder, name or `newest`), a ready-trained policy (`tandem policies`), or
    oracle, random, hold, blind."""
    rig: str = "table"
    """How the arm is mounted, in training and in the lab: table or hanging. A run brings its own."""
    seed: int = 0
    """Seed of the training and of what is hidden about the lab."""
    episodes: int = 20
    """Attempts in the lab, 11 s each."""
    evaluate_episodes: int = 200
    """Episodes of the evaluation in simulation, 0.3 s each."""
    json: bool = False
    """Print the summary as one JSON object on the last line of stdout."""


def run(args: DemoArgs) -> int:
    """Play the demo; return the exit code."""
    console = Console(stderr=args.json)
    if args.episodes < 1 or args.evaluate_episodes < 1:
        console.print("tandem demo: --episodes and --evaluate-episodes must be at least 1", highlight=False)
        return BAD_INPUT
    # A wrong name is told now, not in four minutes, and before older results are cleared away.
    load_arm(LabArgs.arm).rig(args.rig)
    if args.seed < 0:
        console.print(f"tandem demo: --seed must be at least 0, got {args.seed}", highlight=False)
        return BAD_INPUT
    scripted_rig = args.rig if args.policy in SCRIPTED_NAMES else None
    choice = choose_policy(args.policy, scripted_rig) if args.policy else None
    demo = Demo(args, console, choice)
    try:
        demo.play()
    except StageFailed as error:
        exit_code = FAILED
        demo.say(f"tandem demo: {error}")
    except KeyboardInterrupt:
        exit_code = INTERRUPTED
        demo.say(f"tandem demo: interrupted; {demo.way_on()}")
    else:
        shortfalls = demo.summary.shortfalls()
        exit_code = FAILED if shortfalls else DONE
        for shortfall in shortfalls:
            demo.say(f"tandem demo: promise not kept: {shortfall}")
    demo.save()
    emit_json(demo.summary, args.json)
    return exit_code


@dataclass(slots=True)
class Shown:
    """What the demo has made so far, for the report."""

    choice: PolicyChoice | None = None
    run_folder: Path | None = None
    outcome: RunOutcome | None = None
    truth_path: Path | None = None
    takes: list[Take] = field(default_factory=lambda: [])


class Demo:
    """The stages in order. Whatever ends it, `summary` holds what was reached."""

    def __init__(self, args: DemoArgs, console: Console, choice: PolicyChoice | None) -> None:
        self.args, self.console = args, console
        self.out = args.out or data_root() / "demo"
        self.out.mkdir(parents=True, exist_ok=True)
        for name in (SUMMARY_NAME, REPORT_NAME, GIF_NAME, CURVE_NAME):
            (self.out / name).unlink(missing_ok=True)  # an interrupted demo must not show an older one's pictures
        self.summary = DemoSummary(
            policy=args.policy or "",
            rig=choice.rig if choice else args.rig,
            seed=args.seed,
            started_utc=run_folder.utc_now(),
            machine=machine(),
            git_commit=git_commit(),
            versions=versions(),
        )
        self.shown = Shown(choice, choice.run_folder if choice else None)
        self._table = Timetable(console, self.out / "demo.log", _stages(args, self.out))

    def say(self, text: str) -> None:
        """Say a line, and keep it in the log."""
        self._table.tell(text)

    def way_on(self) -> str:
        """Return where an interrupted demo left things, and how to go on without training twice."""
        train = self.summary.train
        where = f"what is there lies in {self.out}"
        if train is None:
            return where
        run = Path(train.run).name
        resume = f"tandem train --resume {run}, then " if train.success_rate is None else ""
        return f"{where}. To go on: {resume}tandem demo --policy {run}"

    def play(self) -> None:
        """Play every stage; raises StageFailed or KeyboardInterrupt."""
        self._table.begin(self.out)
        if self.shown.choice is None:
            with self._table.stage(_TRAIN):
                self.shown.choice = self._train()
        elif self.shown.run_folder is not None:
            self.summary.train = _recorded_training(self.shown.run_folder)
        with self._table.stage(_EVALUATE):
            self.summary.evaluate = self._evaluate(self.shown.choice)
        with self._table.stage(_LAB) as stage:
            self._run_in_lab(self.shown.choice, stage)
        with self._table.stage(_FILM):
            self._film(self.shown.choice)
        with self._table.stage(_REPORT):
            self._report()
        self.say(f"Done in {self.summary.wall.total_s / 60:.1f} minutes. Open {(self.out / REPORT_NAME).resolve()}")

    def save(self) -> None:
        """Write `summary.json` with what there is."""
        seconds, wall = self._table.seconds, self.summary.wall
        wall.train_s, wall.evaluate_s = _rounded(seconds.get(_TRAIN)), _rounded(seconds.get(_EVALUATE))
        wall.lab_s, wall.film_s = _rounded(seconds.get(_LAB)), _rounded(seconds.get(_FILM))
        wall.total_s = round(sum(seconds.values()), 1)
        write_json(self.out / SUMMARY_NAME, self.summary)

    # Stages ------------------------------------------------------------------------------------------
    def _train(self) -> PolicyChoice:
        args = TrainArgs(rig=self.args.rig, seed=self.args.seed)
        summary, exit_status = train_once(args, self.console)
        self.summary.train, self.summary.policy = summary, summary.run
        self.shown.run_folder = Path(summary.run)
        if exit_status == INTERRUPTED:
            raise KeyboardInterrupt
        return choose_policy(summary.run, None)

    def _evaluate(self, choice: PolicyChoice) -> EvaluateSummary:
        episodes, successes = self.args.evaluate_episodes, 0
        with CountedProgress(self.console, "episodes", episodes) as progress:

            def advance(success: bool) -> None:
                nonlocal successes
                successes += success
                progress.advance(f"{successes} succeeded")

            start_ns = MonotonicClock().now_ns()
            evaluate_policy(choice, episodes, _EVALUATION_SEED, 0, advance)
        wall_s = (MonotonicClock().now_ns() - start_ns) * 1e-9
        low, high = wilson_interval(successes, episodes)
        self.say(
            f"{successes} of {episodes} episodes succeeded: {100 * low:.1f}-{100 * high:.1f} % with 95 % confidence"
        )
        return EvaluateSummary(successes / episodes, successes, episodes, low, high, round(wall_s, 3))

    def _run_in_lab(self, choice: PolicyChoice, stage: Stage) -> None:
        # A data folder of its own: a lab that somebody runs meanwhile is left in peace.
        folder = self.out / "lab"
        with own_lab(LabProcess(choice.rig, self.args.seed, folder, data=folder)) as robot:
            self.shown.truth_path = Path(robot.truth_path)
            camera = RemoteCamera(robot.camera_endpoint)
            try:
                with (
                    Film(camera, MonotonicClock(), _FILMED_ATTEMPTS, HALF_PX) as film,
                    CountedProgress(self.console, "attempts", self.args.episodes) as progress,
                ):
                    self.shown.takes = film.takes
                    tally = Tally(self.console, progress)

                    def advance(attempt: AttemptRecord) -> None:
                        film.on_attempt(attempt)
                        tally.advance(attempt)

                    outcome = run_on(
                        RobotLink.of(robot), choice, self.args.episodes, self.console, advance, film.on_step
                    )
            finally:
                camera.close()
        self.shown.outcome, self.summary.run = outcome, outcome.summary
        self.say(closing(outcome))

    def _film(self, choice: PolicyChoice) -> None:
        if not self.shown.takes:
            self.say("no attempt succeeded: there is nothing to show side by side")
            return
        film_side_by_side(choice, self.shown.takes, self.out / GIF_NAME, self.console)

    def _report(self) -> None:
        if self.shown.run_folder is not None and (self.shown.run_folder / CURVE_NAME).exists():
            write_atomic(self.out / CURVE_NAME, (self.shown.run_folder / CURVE_NAME).read_bytes())
        self.save()
        sources = ReportSources(
            summary=self.summary,
            outcome=self.shown.outcome,
            truth_path=self.shown.truth_path,
            takes=tuple(self.shown.takes),
            gif_path=self.out / GIF_NAME,
            curve_path=self.out / CURVE_NAME,
            run_folder=self.shown.run_folder,
        )
        write_report(sources, self.out / REPORT_NAME)


def _stages(args: DemoArgs, out: Path) -> tuple[Stage, ...]:
    """Return the stages with the time each takes on two idle cores."""
    train = (Stage(_TRAIN, "training the grasp in simulation, at most 4:00", 180.0),) if args.policy is None else ()
    lab_logs = (out / "lab" / "lab.log", out / "lab" / "server.log")
    return (
        *train,
        Stage(_EVALUATE, f"evaluating on {args.evaluate_episodes} new episodes", 5 + 0.3 * args.evaluate_episodes),
        Stage(_LAB, f"{args.episodes} attempts in the lab, across the bridge", 12 + 11.0 * args.episodes, lab_logs),
        Stage(
            _FILM, "playing the filmed attempts again in the training world", 6.0 * min(_FILMED_ATTEMPTS, args.episodes)
        ),
        Stage(_REPORT, "writing the report", 6.0),
    )


def _recorded_training(folder: Path) -> TrainSummary | None:
    """Return what the run's own record says about its training; None where it holds none."""
    if not (folder / run_folder.RUN_NAME).exists():
        return None
    record = run_folder.read_run_record(folder)
    return TrainSummary(str(folder), record.success_rate, record.episodes, record.decisions, round(record.wall_s, 3))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
