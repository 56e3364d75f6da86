"""From a trained torch network to a policy folder."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from policies.artifact import GoldenPairs, PolicyManifest, save_artifact
from policies.onnx_policy import OnnxPolicy
from policies.parts import Parts


def network_actions(network: torch.nn.Module, parts: Parts) -> NDArray[np.float32]:
    """Return the actions (n, a) of a network for the named parts of n observations."""
    with torch.inference_mode():
        return network({n: torch.from_numpy(np.ascontiguousarray(p)) for n, p in parts.items()}).numpy()


def onnx_bytes(network: torch.nn.Module, observation_size: int) -> bytes:
    """Return the ONNX file of a network that maps observations (n, d) to actions (n, a), for any n."""
    example = torch.zeros(2, observation_size)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["observation"],
                output_names=["action"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return program.model_proto.SerializeToString()


def export_policy(
    folder: Path, network: torch.nn.Module, manifest: PolicyManifest, observations: NDArray[np.float32]
) -> OnnxPolicy:
    """Write a policy folder, with golden pairs from the torch network on `observations`; return it loaded.

    Loading compares the ONNX network with the golden pairs: raises PolicyMismatch when exporting changed the policy.
    """
    network.eval()
    golden = GoldenPairs(observations.astype(np.float32), network_actions(network, observations.astype(np.float32)))
    save_artifact(folder, manifest, onnx_bytes(network, observations.shape[1]), golden)
    return OnnxPolicy(folder)
