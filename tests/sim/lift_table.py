"""`python -m tests.sim.lift_table` prints the table of docs/dofbot.md: what rotors and iterations do to a grip."""

from __future__ import annotations

import dataclasses
import math
import sys
import time

import numpy as np

from tests.sim.lifting import ARM, Lifter
from urdf.description import ArmDescription

LIFTS = 100
VARIANTS: dict[str, dict[str, float]] = {
    "no rotors, 300 iterations gripping, 50 free": {
        "arm_armature": 0.0, "gripper_armature": 0.0, "grip_iterations": 300, "free_iterations": 50
    },
    "no rotors, 75 and 11": {"arm_armature": 0.0, "gripper_armature": 0.0},
    "rotors, 51 and 11": {"grip_iterations": 51},
    "rotors, 75 and 11 (default)": {},
    "rotors, 101 and 11": {"grip_iterations": 101},
}  # fmt: skip


def sag_deg(lifter: Lifter) -> float:
    """Return how far the joint that sags most hangs below its target, at rest at home."""
    home = lifter.rig.home_rad
    lifter.world.reset(home, None)
    lifter.world.step(240)
    return math.degrees(float(np.abs(lifter.world.joint_states()[0] - home).max()))


def lift_all(lifter: Lifter) -> tuple[int, float, float, float]:
    """Return lifts that both jaws still hold after 2 s, largest slip [mm] and tilt [deg], seconds taken."""
    rng = np.random.default_rng(1)
    held, slips_m, tilts_rad = 0, [], []
    began = time.process_time()
    for _ in range(LIFTS):
        lifter.grip((rng.uniform(-0.011, 0.011), rng.uniform(-0.009, 0.009)), math.radians(rng.uniform(-45.0, 45.0)))
        slip_m, tilt_rad = lifter.hold_up()
        held += lifter.world.jaws_touching() == 2
        slips_m.append(slip_m)
        tilts_rad.append(tilt_rad)
    return held, 1e3 * max(slips_m), math.degrees(max(tilts_rad)), time.process_time() - began


def variant(tuning: dict[str, float]) -> ArmDescription:
    """Return the Dofbot with another tuning."""
    return dataclasses.replace(ARM, physics=dataclasses.replace(ARM.physics, **tuning))  # pyright: ignore


def tell(*cells: str) -> None:
    """Print a row of the table."""
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    tell("physics", "rig", "held", "largest slip in 2 s", "largest tilt", "sag at home", "time")
    tell(*["---"] * 7)
    first_s: dict[str, float] = {}
    for name, tuning in VARIANTS.items():
        for rig in ("table", "hanging"):
            lifter = Lifter(rig, variant(tuning))
            sag = sag_deg(lifter)
            held, slip_mm, tilt_deg, spent_s = lift_all(lifter)
            lifter.close()
            share = spent_s / first_s.setdefault(rig, spent_s)
            figures = (f"{slip_mm:.1f} mm", f"{tilt_deg:.1f}°", f"{sag:.2f}°", f"{share:.2f}")
            tell(name, rig, f"{held} of {LIFTS}", *figures)


if __name__ == "__main__":
    main()
