"""The same arm in PyBullet. Importing this registers the Gymnasium environments."""

from __future__ import annotations

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
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


_import_pybullet_quietly()

if "Tandem/Dofbot-Grasp-v0" not in gymnasium.registry:
    gymnasium.register("Tandem/Dofbot-Grasp-v0", entry_point="sim.env:ArmEnv", kwargs={"arm": "dofbot"})
