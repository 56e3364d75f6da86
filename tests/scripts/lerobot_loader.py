"""Reads a dataset with LeRobot's own loader and tells what it found; runs in an environment of LeRobot's, not in ours.

$TANDEM_LEROBOT_PYTHON -m tests.scripts.lerobot_loader FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Write one JSON object: every frame's numbers, and the mean of every picture, channel by channel."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    root = Path(sys.argv[1])
    dataset = LeRobotDataset("local/tandem", root=root, video_backend="pyav")
    ahead = [0.0, 1.0 / dataset.fps, 2.0 / dataset.fps]
    chunks = LeRobotDataset("local/tandem", root=root, video_backend="pyav", delta_timestamps={"action": ahead})
    frames = [dataset[k] for k in range(len(dataset))]
    numbers = ("observation.state", "observation.environment_state", "observation.wrist_depth", "action", "next.reward")
    pictures = ("observation.images.wrist_rgb", "observation.images.wrist_gray")
    found = {
        "episodes": dataset.num_episodes,
        "fps": dataset.fps,
        "robot": dataset.meta.robot_type,
        "tasks": list(dataset.meta.tasks.index),
        "task": frames[0]["task"],
        "episode_index": [int(frame["episode_index"]) for frame in frames],
        "success": [bool(frame["next.success"]) for frame in frames],
        "numbers": {key: [frame[key].tolist() for frame in frames] for key in numbers},
        "pictures": {key: [frame[key].tolist() for frame in frames] for key in pictures},
        "ahead": [chunks[k]["action"].tolist() for k in range(len(chunks))],
        "beyond": [chunks[k]["action_is_pad"].tolist() for k in range(len(chunks))],
        "mean": {key: dataset.meta.stats[key]["mean"].tolist() for key in ("action", *pictures)},
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
