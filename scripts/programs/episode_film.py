"""Episode film: a small film of one episode of the environment that policies are judged in, for a training run."""

from __future__ import annotations

from io import BytesIO
from types import TracebackType
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bridge.loop import LoopStep
from policies.films import Act, EncodedPicture, Film
from policies.parts import ALONE, Parts, as_parts
from scripts.programs.footage import Image
from scripts.programs.gif import gif_bytes
from scripts.programs.scene_eye import SceneEye
from scripts.programs.view_tiles import ViewPainter
from scripts.simulation import SimulatedTask
from sim.env import ArmEnv

_SIZE_PX = (160, 120)
#: At first a picture every other control period; of a long episode only every second is kept, then every fourth: a
#: film must not take more than three seconds from the training.
_EVERY, _MOST_FRAMES = 2, 80
#: How long the end stays, with a bar that says how it ended.
_TAIL_S, _BAR_PX = 1.2, 4
_SUCCESS_RGB, _FAILURE_RGB = (47, 133, 90), (200, 85, 61)


class EpisodeFilmer:
    """A context that films episodes. Its environment is its own, built when the first film is made.

    Implements `policies.films.Filmer` and the recorder of a control loop. A policy sees here what the judges would show
    it, and an episode with the seed of a judge's is that very episode.
    """

    def __init__(self, task: SimulatedTask) -> None:
        self._task = task
        self._env: ArmEnv | None = None
        self._frames: list[Image] = []
        self._periods, self._every = 0, _EVERY

    def __enter__(self) -> EpisodeFilmer:
        """Build nothing yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the environment."""
        self._close()

    def __call__(self, act: Act, seed: int) -> Film:
        """Play one episode with this seed; return the film."""
        try:
            return self._play(self._env or self._open(), act, seed)
        except BaseException:
            self._close()  # whatever broke must not break the next film as well
            raise

    def record(self, step: LoopStep) -> None:
        """Take a picture every few control periods, before the arm moves."""
        if self._periods % self._every == 0:
            self._frames.append(self._eye.picture())
        self._periods += 1
        if len(self._frames) > _MOST_FRAMES:
            self._frames = self._frames[::2]
            self._every *= 2

    def _open(self) -> ArmEnv:
        self._env = env = cast(ArmEnv, self._task.build(recorder=self).unwrapped)
        self._eye = SceneEye(env, _SIZE_PX)
        # One painter for all films: colours of depth keep their meaning from one to the next.
        views = env.observer.spec.views
        self._painter = ViewPainter(views[0], env.description, env.rig) if views else None
        return env

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _play(self, env: ArmEnv, act: Act, seed: int) -> Film:
        self._frames, self._periods, self._every = [], 0, _EVERY
        parts = as_parts(env.reset(seed=seed)[0])
        seen = self._first_picture(parts)
        over = success = False
        while not over:
            (action,) = act({name: part[None] for name, part in parts.items()})
            observation, _, terminated, truncated, info = env.step(action)
            parts, over, success = as_parts(observation), terminated or truncated, bool(info.get("is_success"))
        frames_per_s = env.control_rate_hz / self._every
        self._frames += [self._last_picture(success)] * round(_TAIL_S * frames_per_s)
        return Film(EncodedPicture("episode", gif_bytes(self._frames, frames_per_s), *_SIZE_PX), seen)

    def _last_picture(self, success: bool) -> Image:
        picture = self._eye.picture(success)
        picture[-_BAR_PX:] = _SUCCESS_RGB if success else _FAILURE_RGB
        return picture

    def _first_picture(self, parts: Parts) -> EncodedPicture | None:
        """Return the newest picture of the first view, as colours; what is near is bright."""
        painter = self._painter
        if painter is None:
            return None
        stack = cast("NDArray[np.uint8] | NDArray[np.float16]", parts.get(painter.view.key, parts.get(ALONE)))
        picture = painter.paint(stack[-painter.view.kind.channels :]).picture
        data = BytesIO()
        Pillow.fromarray(picture).save(data, format="PNG")
        return EncodedPicture(painter.view.key, data.getvalue(), picture.shape[1], picture.shape[0])
