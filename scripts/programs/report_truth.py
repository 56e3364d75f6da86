"""The report's last page but one: what was hidden about the lab, beside what the training world took for granted."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from calibration.actuator import NOMINAL_DEAD_TIME_S
from scripts.programs import report_page as html
from scripts.programs.report_page import Cell
from sim.lab_truth import LabTruth
from urdf.description import ArmDescription, urdf_folder


def hidden_section(truth: LabTruth, description: ArmDescription, trained_zero_deg: float) -> str:
    """Return the section that reveals a lab's truth.

    `trained_zero_deg` is how far the servo zeros of the training world were off at most.
    """
    zeros = f"up to ±{trained_zero_deg:g}°" if trained_zero_deg else "0°"
    mass_kg, friction = _block_of_training()
    head = [Cell("what"), Cell("training world", "number"), Cell("this lab", "number"), Cell("meaning")]
    rows = [
        _row(f"servo zero, {name}", zeros, f"{math.degrees(zero):+.2f}°", "joint angle less what its servo says")
        for name, zero in zip(description.joint_names, truth.servo_zero_rad, strict=True)
    ]
    shift = ", ".join(f"{1000 * v:+.1f}" for v in truth.camera_shift_m)
    turn = math.degrees(math.hypot(*truth.camera_turn_rad))
    rows += [
        _row(
            "lag",
            f"{1000 * NOMINAL_DEAD_TIME_S:.0f} ms",
            f"{1000 * truth.dead_time_s:.0f} ms",
            "command to first motion",
        ),
        _row("camera shift x, y, z", "0, 0, 0 mm", f"{shift} mm", "against where it is drawn to hang"),
        _row("camera turn", "0°", f"{turn:.2f}°", "about some axis"),
        _row("block mass", f"{1000 * mass_kg:.0f} g", f"{1000 * truth.block_mass_kg:.0f} g", ""),
        _row("block friction", f"{friction:.2f}", f"{truth.block_friction:.2f}", ""),
    ]
    return html.section(
        "What was hidden",
        html.paragraph(
            "The lab is another world than the one the policy was trained in. How it differs was drawn from the seed "
            "and written to a file that neither the policy nor the loop nor the camera's judge reads; it was opened "
            "when the last attempt was over."
        ),
        html.table(head, rows),
    )


def _row(what: str, training: str, lab: str, meaning: str) -> list[Cell]:
    return [Cell(what), Cell(training, "number"), Cell(lab, "number"), Cell(meaning)]


def _block_of_training() -> tuple[float, float]:
    """Return mass [kg] and lateral friction of the training world's block."""
    tree = ElementTree.parse(urdf_folder() / "objects" / "block.urdf")
    mass, friction = tree.find("link/inertial/mass"), tree.find("link/contact/lateral_friction")
    assert mass is not None
    assert friction is not None
    return float(mass.attrib["value"]), float(friction.attrib["value"])
