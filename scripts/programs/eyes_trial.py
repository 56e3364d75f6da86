"""Attempts in the lab by one kind of eyes, on a simulated clock: what `tandem run --eyes KIND` does, and quicker.

`python -m scripts.programs.eyes_trial depth 3 10 mild` runs 10 attempts on each of 3 lab seeds and says what came of
them. Depth is tried with the policy that reads depth pictures, all others with the one that reads where the block is; a
fifth word names another, such as `blind`, which misses most blocks: are failures seen as well?
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bridge.errors import CommandRefused
from perception.arm_track import ArmTrack
from perception.block_source import CameraBlockSource
from perception.pictures import CameraPictures
from perception.rgbd import MountedCamera
from scripts.evaluate import PolicyChoice, choose_policy
from scripts.programs.lab_unit import LabUnit
from scripts.programs.quick_lab import QuickLab
from scripts.programs.robot_eyes import WRIST, EyesKind, desk_locator, wrist_locator
from scripts.programs.robot_run import AttemptRecord, RobotRun
from scripts.run import make_policy
from sim.lab_truth import TruthFile

POLICIES = {kind: "dofbot-grasp-depth" if kind is EyesKind.DEPTH else "dofbot-grasp-state" for kind in EyesKind}


class EyesTrial:
    """One lab and what runs a policy on it with these eyes. A context."""

    def __init__(self, kind: EyesKind, choice: PolicyChoice, seed: int, level: str, folder: Path) -> None:
        self.lab = lab = QuickLab(LabUnit("dofbot", choice.rig, seed, level), folder / "data", folder, kind.at_wrist)
        self._stack, self.track = ExitStack(), ArmTrack()
        self._stack.callback(lab.close)
        pictures = None
        if lab.wrist is None:
            camera, locator = lab.camera, desk_locator(kind, lab.rig)
        else:
            lab.camera.wanted = lambda: False  # nobody looks at markers here
            camera = lab.wrist
            mounted = MountedCamera(lab.description, lab.rig, lab.description.camera(WRIST, lab.rig))
            locator = wrist_locator(kind, mounted, self.track, self._stack)
            if choice.spec.views:
                pictures = CameraPictures({WRIST: camera}, choice.spec, lab.description, lab.rig)
        policy = make_policy(choice, lab.description, lab.rig)
        self.source = CameraBlockSource(camera, locator, clock=lab.clock, own_thread=False)
        self.runner = RobotRun(
            lab.connect(), lab.rig, self.source, policy, choice.spec, choice.action_repeat, lab.clock, pictures
        )
        self.runner.watcher.on_state = self.track.add
        self.runner.go_home()

    def attempt(self) -> tuple[AttemptRecord, bool]:
        """Run one attempt; return what the eyes saw of it, and whether it really succeeded."""
        record = self.runner.attempt(self.lab)
        return record, TruthFile.load(self.lab.truth_path).outcomes[-1].success

    def __enter__(self) -> EyesTrial:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._stack.close()


def trials(
    kind: EyesKind,
    seeds: int,
    attempts: int,
    level: str,
    policy: str,
    on_attempt: Callable[[int, AttemptRecord, bool], None],
) -> tuple[int, int, int]:
    """Run attempts on each of so many lab seeds; return how many there were, succeeded, and were judged right.

    An arm that faults, as one that presses on the desk, ends its lab's attempts.
    """
    choice, done = choose_policy(policy, None), np.zeros(3, dtype=np.int64)
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder, EyesTrial(kind, choice, seed, level, Path(folder)) as trial:
            for _ in range(attempts):
                try:
                    record, really = trial.attempt()
                except CommandRefused as fault:
                    print(f"seed {seed}: {fault}", file=sys.stderr)
                    break
                done += (1, really, record.success == really)
                on_attempt(seed, record, really)
    total, succeeded, judged = (int(n) for n in done)
    return total, succeeded, judged


def main() -> None:
    """Run the trials and print what came of them."""
    words = sys.argv[1:]
    kind, seeds, attempts, level = EyesKind(words[0]), int(words[1]), int(words[2]), words[3]
    policy = words[4] if len(words) > 4 else POLICIES[kind]

    def tell(seed: int, record: AttemptRecord, really: bool) -> None:
        verdict = f"lifted {1000 * record.rise_m:.0f} mm" if record.success else record.why
        print(f"seed {seed}, attempt {record.number}: {'held' if really else 'not held'}; seen: {verdict}", flush=True)

    total, succeeded, judged = trials(kind, seeds, attempts, level, policy, tell)
    print(f"{succeeded} of {total} succeeded; the eyes ({kind}) judged {judged} of {total} right")


if __name__ == "__main__":
    main()
