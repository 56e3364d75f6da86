"""The tasks of the simulator: one file each."""

from __future__ import annotations

from bridge.ports import Kinematics
from sim.tasks.grasp import GraspTask
from sim.tasks.pick_place import PickPlaceTask
from sim.tasks.reach import ReachTask
from sim.tasks.task import Task, TaskMaker
from urdf.description import ArmDescription, Rig
from urdf.errors import UnknownName

TASKS: dict[str, TaskMaker] = {"reach": ReachTask, "grasp": GraspTask, "pick-place": PickPlaceTask}


def make_task(name: str, description: ArmDescription, rig: Rig, kinematics: Kinematics, period_s: float) -> Task:
    """Return a task by name; raises UnknownName with the valid ones."""
    if name not in TASKS:
        raise UnknownName("task", name, TASKS)
    return TASKS[name](description, rig, kinematics, period_s)
