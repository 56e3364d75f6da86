"""Gradient steps elsewhere, compiled and in half the precision: the same numbers, or nearly; and who has to refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from policies.acceleration import Computing
from policies.config import Algorithm
from policies.errors import BadConfig
from policies.learner_config import SacConfig
from policies.learners import make_learner
from policies.sac import Sac
from policies.workers import Stepper
from tests.fakes.point_env import PointEnv
from tests.policies.test_learners import DISTILL, TINY, Seen, run, weights, worlds_of
from tests.policies.test_sac import ACTIONS, PICTURES, VECTOR, batch_of

META = torch.device("meta")
EYES = ("depth", "joints")
#: What actor and critics see: a vector; pictures and something else; one encoder for both.
SEEN = pytest.mark.parametrize(
    ("space", "actor_sees", "critic_sees"),
    [(VECTOR, (), ()), (PICTURES, EYES, ("truth",)), (PICTURES, EYES, EYES)],
    ids=["state", "asymmetric", "shared"],
)


def learner(
    computing: Computing, space: gymnasium.Space[object], actor_sees: Sequence[str], critic_sees: Sequence[str]
) -> Sac:
    torch.manual_seed(0)
    config = SacConfig(hidden=(32, 32), learning_rate=1e-3, shift_px=2)
    return Sac(space, ACTIONS, config, torch.Generator().manual_seed(0), computing, actor_sees, critic_sees)


def rows(sac: Sac) -> list[Tensor]:
    return [sac.critic_adam.row, sac.actor_adam.row, sac.targets, sac.log_temperature]


def moments(sac: Sac) -> list[Tensor]:
    return [sac.critic_adam.mean, sac.critic_adam.square, sac.actor_adam.mean, sac.actor_adam.square]


def kept(sac: Sac) -> list[Tensor]:
    return [*rows(sac), *moments(sac)]


@pytest.mark.deep
@SEEN
def test_a_compiled_step_gives_the_numbers_of_a_plain_one(
    space: gymnasium.Space[object], actor_sees: Sequence[str], critic_sees: Sequence[str]
) -> None:
    ways = (Computing(), Computing(compiled=True))
    plain, compiled = (learner(how, space, actor_sees, critic_sees) for how in ways)
    for k in range(10):
        # From the same weights each time: where a gradient is nothing but rounding, Adam's step has its sign.
        for mine, other in zip(kept(compiled), kept(plain), strict=True):
            mine.copy_(other)
        batch = batch_of(space, 32, seed=k)
        for mine, other in zip(compiled.update(batch), plain.update(batch), strict=True):
            assert mine == pytest.approx(other, abs=1e-5)
        for mine, other in zip(moments(compiled), moments(plain), strict=True):
            torch.testing.assert_close(mine, other, rtol=0.0, atol=1e-5)


@SEEN
def test_in_mixed_precision_losses_and_weights_stay_float32_and_near_the_plain_ones(
    space: gymnasium.Space[object], actor_sees: Sequence[str], critic_sees: Sequence[str]
) -> None:
    ways = (Computing(), Computing(mixed_precision=True))
    plain, mixed = (learner(how, space, actor_sees, critic_sees) for how in ways)
    batch = batch_of(space, 32)
    exact, near = plain.update(batch), mixed.update(batch)
    # bfloat16 keeps 8 bits: 0.4 % of a value.
    assert near == pytest.approx(exact, rel=0.02, abs=0.01)
    assert (near.critic, near.mean_value) != (exact.critic, exact.mean_value), "nothing was reduced"
    for _ in range(20):
        assert np.isfinite(mixed.update(batch)).all()
    for row in (*rows(mixed), mixed.critic_adam.mean, mixed.critic_adam.square):
        assert row.dtype is torch.float32
        assert bool(row.isfinite().all())


@SEEN
def test_no_number_of_an_update_is_made_on_another_device(
    space: gymnasium.Space[object], actor_sees: Sequence[str], critic_sees: Sequence[str]
) -> None:
    sac = learner(Computing(META), space, actor_sees, critic_sees)
    # All of the update is gone through; the losses, its last line, are what a device without numbers cannot tell.
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        sac.update(batch_of(space, 8).to(META))
    assert sac.temperature_adam.steps == 1


@pytest.mark.deep
def test_in_mixed_precision_the_point_is_learnt() -> None:
    config = replace(TINY, sac=replace(TINY.sac, updates_per_decision=1.0), mixed_precision=True)
    worlds = worlds_of(PointEnv)
    trained = make_learner(config, worlds, 0)
    run(trained, Stepper(worlds), 400, seed=1)
    judge = Stepper(worlds)
    judge.reset(7)
    for _ in range(200):
        with torch.no_grad():
            seen = {name: torch.from_numpy(np.asarray(part)) for name, part in judge.observations.items()}
            judge.send(trained.policy(seen).numpy())
        judge.wait()
    assert np.mean([record.success for _, record in judge.finished]) >= 0.9


@pytest.mark.deep
@pytest.mark.parametrize("algo", ["sac", "distill"])
def test_a_compiled_run_goes_on_exactly_as_the_one_that_was_kept(algo: Algorithm) -> None:
    config = replace(DISTILL, algo=algo, compiled=True, mixed_precision=True)
    worlds = worlds_of(lambda: Seen(PointEnv()))
    kept = make_learner(config, worlds, 0)
    run(kept, Stepper(worlds), 50, seed=1)
    state = kept.capture()
    run(kept, Stepper(worlds), 30, seed=2)
    restored = make_learner(config, worlds, 5)
    restored.restore(state)
    run(restored, Stepper(worlds), 30, seed=2)
    assert restored.updates == kept.updates > 0
    assert all(torch.equal(a, b) for a, b in zip(weights(kept), weights(restored), strict=True))


@pytest.mark.parametrize("name", ["compiled", "mixed_precision"])
@pytest.mark.parametrize("algo", ["ppo", "bc", "sb3-sac", "sb3-ppo"])
def test_who_cannot_compute_so_refuses(algo: Algorithm, name: str) -> None:
    with pytest.raises(BadConfig, match=f"{name} is for sac and distill; {algo} learns without"):
        replace(TINY, algo=algo, **{name: True})


def test_compiling_without_a_compiler_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    worlds = worlds_of(PointEnv)
    with pytest.raises(BadConfig, match=r"no-such-compiler is not found: install it .*apt install g\+\+"):
        make_learner(replace(TINY, compiled=True), worlds, 0)
    assert make_learner(TINY, worlds, 0).updates == 0


@pytest.mark.parametrize("algo", ["sac", "ppo", "distill", "bc"])
def test_our_own_learners_may_be_asked_to_learn_on_a_gpu(algo: Algorithm) -> None:
    assert replace(DISTILL, algo=algo, device="cuda").device == "cuda"
