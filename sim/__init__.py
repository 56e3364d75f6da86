"""The same arm in PyBullet. Importing this registers the Gymnasium environments."""

from __future__ import annotations

import gymnasium

if "Tandem/Dofbot-Grasp-v0" not in gymnasium.registry:
    gymnasium.register("Tandem/Dofbot-Grasp-v0", entry_point="sim.env:ArmEnv", kwargs={"arm": "dofbot"})
