"""From a trained torch network to a policy folder."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from policies.artifact import GoldenPairs, InputRecord, PolicyManifest, save_artifact
from policies.errors import ArtifactError
from policies.onnx_policy import OnnxPolicy, check_agreement
from policies.parts import ALONE, Parts, as_tensors

#: Any number but 0 and 1, which torch.export takes for constants.
_EXAMPLES = 2
_GOLDEN_PAIRS = 64


@contextmanager
def _exact() -> Iterator[None]:
    """Keep matrix products in full float32: what is computed is what every other machine must compute again."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def network_actions(network: torch.nn.Module, observations: Parts) -> NDArray[np.float32]:
    """Return the actions (n, a) of a network for observations by part, each (n, ...)."""
    with _exact():
        return network(as_tensors(observations, observations)).numpy()


class _Positional(torch.nn.Module):
    """A network of named parts as ONNX calls it: one argument for each part."""

    def __init__(self, network: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self._names = network, tuple(names)

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        """Return the actions."""
        return self.network(dict(zip(self._names, parts, strict=True)))


def onnx_bytes(network: torch.nn.Module, inputs: Mapping[str, InputRecord], output: str = "action") -> bytes:
    """Return the ONNX file of a network that maps named parts (n, ...) to actions (n, a), for any n.

    `output`: what it calls what comes out.

    `inputs`: what each part that the network reads is called and looks like outside, in the order of the ONNX inputs.
    Raises ArtifactError where the network works for one n alone.
    """
    examples = tuple(torch.zeros(_EXAMPLES, *i.shape, dtype=getattr(torch, i.dtype)) for i in inputs.values())
    batch = torch.export.Dim("batch")
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Positional(network, tuple(inputs)),
                examples,
                input_names=[item.name for item in inputs.values()],
                output_names=[output],
                dynamic_shapes=(tuple({0: batch} for _ in examples),),
                dynamo=True,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    for value in program.model.graph.inputs:
        if value.shape is None or value.shape.is_static(0):
            raise ArtifactError(
                f"the exported network takes {value.name} of shape {value.shape} alone, not any number of them: its "
                "forward must take the number from `tensor.shape[0]`; len(tensor) fixes it"
            )
    return without_traces(program.model_proto)


def without_traces(model: onnx.ModelProto) -> bytes:
    """Return an ONNX file without what torch notes beside each node: where its source lies on the machine that trained.

    In a small file that is a quarter.
    """
    for noted in (model.graph, *model.graph.node):
        del noted.metadata_props[:]
    return model.SerializeToString()


def export_policy(folder: Path, network: torch.nn.Module, manifest: PolicyManifest, observations: Parts) -> OnnxPolicy:
    """Write a policy folder, with golden pairs from the torch network on the first `observations`; return it loaded.

    `observations` are those parts, each (n, ...), that the network reads; `policies.parts.ALONE` gets the name of the
    only part of what the manifest says is read. The manifest's inputs and hashes are filled in.
    Raises ArtifactError where the parts are others than the manifest's, and PolicyMismatch when exporting changed the
    policy on any of the observations; who loads it compares the golden pairs again.
    """
    network = copy.deepcopy(network).cpu().eval()
    inputs = _inputs(manifest, observations)
    actions = network_actions(network, observations)
    seen = {inputs[name].name: part for name, part in observations.items()}
    golden = GoldenPairs({name: part[:_GOLDEN_PAIRS] for name, part in seen.items()}, actions[:_GOLDEN_PAIRS])
    manifest = msgspec.structs.replace(manifest, inputs=tuple(inputs.values()))
    save_artifact(folder, manifest, onnx_bytes(network, inputs), golden)
    policy = OnnxPolicy(folder)
    check_agreement(policy, GoldenPairs(seen, actions))
    return policy


def _inputs(manifest: PolicyManifest, observations: Parts) -> dict[str, InputRecord]:
    """Return the input for each part that the network reads."""
    expected = {item.name: item for item in manifest.expected_inputs()}
    (first, *others) = expected
    outside = {name: first if name == ALONE and not others else name for name in observations}
    found = {outside[name]: f"{part.dtype} {part.shape[1:]}" for name, part in observations.items()}
    if found != {name: f"{item.dtype} {item.shape}" for name, item in expected.items()}:
        raise ArtifactError(
            f"the manifest says that the policy reads {', '.join(map(str, expected.values()))}; the network reads "
            f"{', '.join(f'{name} {what}' for name, what in found.items())}"
        )
    return {name: expected[outside[name]] for name in observations}
