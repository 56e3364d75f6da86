"""The same arm in PyBullet. Importing this registers the Gymnasium environments."""

from __future__ import annotations

import ctypes
import os

import gymnasium


def _import_pybullet_quietly() -> None:
    """PyBullet prints its build time from C whenever it is imported: once per process and worker, into every output."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        import pybullet  # noqa: F401

        # Into a pipe or a file C writes at the end of the process: now, while it goes nowhere.
        ctypes.CDLL(None).fflush(None)
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


_import_pybullet_quietly()

#: The arms' names in environment ids, and the tasks'.
_ARM_IDS = {"Dofbot": "dofbot", "UR5": "ur5", "Kuka": "kuka_iiwa"}
_TASK_IDS = {"Reach": "reach", "Grasp": "grasp", "PickPlace": "pick-place"}


def environment_id(arm: str, task: str) -> str:
    """Return the Gymnasium id of a registered arm and task, such as Tandem/Dofbot-Grasp-v0."""
    arm_id = next(key for key, name in _ARM_IDS.items() if name == arm)
    return f"Tandem/{arm_id}-{next(key for key, name in _TASK_IDS.items() if name == task)}-v0"


for _arm_id, _arm in _ARM_IDS.items():
    for _task_id, _task in _TASK_IDS.items():
        if f"Tandem/{_arm_id}-{_task_id}-v0" not in gymnasium.registry:
            gymnasium.register(
                f"Tandem/{_arm_id}-{_task_id}-v0", entry_point="sim.env:ArmEnv", kwargs={"arm": _arm, "task": _task}
            )
