"""Attempts of a depth policy in the lab without any marker, on a simulated clock: what `tandem run` does, and quicker.

`python -m scripts.programs.depth_trial 3 10 mild` runs 10 attempts on each of 3 lab seeds and says what came of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bridge.errors import StaleFrame
from bridge.ports import Frame
from perception.arm_track import ArmTrack
from perception.pictures import CameraPictures
from perception.rgbd import DepthBlockSource, MountedCamera
from scripts.evaluate import PolicyChoice, choose_policy
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.lab_unit import LabUnit
from scripts.programs.lab_wrist_eye import FRAMES_PER_S
from scripts.programs.quick_camera import LATENCY_NS
from scripts.programs.quick_lab import QuickLab
from scripts.programs.robot_eyes import WRIST
from scripts.programs.robot_run import AttemptRecord, RobotRun
from scripts.run import make_policy
from sim.lab_depth import LabDepthEye
from sim.lab_truth import LabTruth, TruthFile
from urdf.pose import Pose

POLICY = "dofbot-grasp-depth"


class QuickWrist:
    """The lab's depth camera at the wrist on the lab's simulated clock: a Camera. `tick` is called once a step."""

    def __init__(self, lab: QuickLab, eye: LabDepthEye) -> None:
        self._lab, self._eye = lab, eye
        self._period_ns = round(1e9 / FRAMES_PER_S)
        self._due_ns = self._seq = 0
        self._shots: list[tuple[int, int, dict[str, float], Pose]] = []
        self._newest: Frame | None = None
        #: Asked before every picture: whether there is one.
        self.works: Callable[[], bool] = lambda: True

    def tick(self, now_ns: int) -> None:
        """Note the scene when a picture is due."""
        if now_ns < self._due_ns or not self.works():
            return
        self._due_ns = now_ns + self._period_ns
        self._seq += 1
        self._shots = [*self._shots[-1:], (self._seq, now_ns, *self._lab.world.scene())]

    def read(self, max_age_s: float) -> Frame:
        """Return the newest picture that has had time to arrive; raises StaleFrame where it is older than asked for."""
        now_ns = self._lab.clock.now_ns()
        ready = [shot for shot in self._shots if shot[1] + LATENCY_NS <= now_ns]
        if ready and (self._newest is None or ready[-1][0] != self._newest.seq):
            seq, stamp_ns, angles, block = ready[-1]
            self._newest = self._eye.draw(angles, block, seq, stamp_ns)
        if self._lab.clock.closed or self._newest is None or (now_ns - self._newest.stamp_ns) * 1e-9 > max_age_s:
            raise StaleFrame("the lab's wrist camera has taken no picture of late")
        return self._newest

    def close(self) -> None:
        """Give the renderer back."""
        self._eye.close()


class DepthTrial:
    """One lab and what runs a depth policy on it. A context."""

    def __init__(self, choice: PolicyChoice, seed: int, level: str, folder: Path) -> None:
        self.lab = lab = QuickLab(LabUnit("dofbot", choice.rig, seed, level), folder / "data", folder)
        lab.camera.wanted = lambda: False  # nobody looks at markers here
        truth = LabTruth.draw(seed, len(lab.description.joint_names), level)
        self.wrist = QuickWrist(lab, LabDepthEye(lab.description, lab.rig, truth))
        look = lab.camera.tick
        lab.camera.tick = lambda now_ns: (look(now_ns), self.wrist.tick(now_ns))[0]  # type: ignore[method-assign]
        self._mask, track = RenderedArmMask(lab.description, lab.rig), ArmTrack()
        mounted = MountedCamera(lab.description, lab.rig, lab.description.camera(WRIST, lab.rig))
        robot = lab.connect()
        self.source = DepthBlockSource(self.wrist, mounted, track, self._mask, clock=lab.clock)
        lab.clock.await_thread()
        pictures = CameraPictures({WRIST: self.wrist}, choice.spec, lab.description, lab.rig)
        policy = make_policy(choice, lab.description, lab.rig)
        self.runner = RobotRun(
            robot, lab.rig, self.source, policy, choice.spec, choice.action_repeat, lab.clock, pictures
        )
        self.runner.watcher.on_state = track.add
        self.runner.go_home()

    def attempt(self) -> tuple[AttemptRecord, bool]:
        """Run one attempt; return what the depth camera saw of it, and whether it really succeeded."""
        record = self.runner.attempt(self.lab)
        return record, TruthFile.load(self.lab.truth_path).outcomes[-1].success

    def __enter__(self) -> DepthTrial:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self.lab.end(self.source.close)
        self._mask.close()
        self.wrist.close()
        self.lab.close()


def trials(
    seeds: int, attempts: int, level: str, on_attempt: Callable[[int, AttemptRecord, bool], None], policy: str = POLICY
) -> tuple[int, int, int]:
    """Run attempts on each of so many lab seeds; return how many there were, succeeded, and were judged right."""
    choice, done = choose_policy(policy, None), np.zeros(3, dtype=np.int64)
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder, DepthTrial(choice, seed, level, Path(folder)) as trial:
            for _ in range(attempts):
                record, really = trial.attempt()
                done += (1, really, record.success == really)
                on_attempt(seed, record, really)
    total, succeeded, judged = (int(n) for n in done)
    return total, succeeded, judged


def main() -> None:
    """Run the trials and print what came of them."""
    words = sys.argv[1:]
    seeds, attempts, level = int(words[0]), int(words[1]), words[2]

    def tell(seed: int, record: AttemptRecord, really: bool) -> None:
        verdict = f"lifted {1000 * record.rise_m:.0f} mm" if record.success else record.why
        print(f"seed {seed}, attempt {record.number}: {'held' if really else 'not held'}; seen: {verdict}", flush=True)

    total, succeeded, judged = trials(seeds, attempts, level, tell)
    print(f"{succeeded} of {total} succeeded; the depth camera judged {judged} of {total} right")


if __name__ == "__main__":
    main()
