"""Sharded proxies in checkpoints: every rank keeps its own part."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def local_parts(tree: Any) -> Any:
    """The same nest of dictionaries and lists with each sharded tensor replaced by this rank's part."""
    if isinstance(tree, DTensor):
        return tree.to_local()
    if isinstance(tree, dict):
        return {key: local_parts(value) for key, value in tree.items()}
    return [local_parts(value) for value in tree] if isinstance(tree, list) else tree


def load_local_module(module: nn.Module, state: dict[str, Any]) -> None:
    """Load a module from ``local_parts`` of its state dict."""
    like = module.state_dict()
    module.load_state_dict({key: _sharded_like(value, like.get(key)) for key, value in state.items()})


def load_local_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser from ``local_parts`` of its state dict."""
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    moments = {
        index: {
            key: _sharded_like(value, parameters[index]) if isinstance(value, Tensor) and value.dim() else value
            for key, value in entries.items()
        }
        for index, entries in state["state"].items()
    }
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})


def _sharded_like(part: Any, whole: Any) -> Any:
    if not isinstance(whole, DTensor) or not isinstance(part, Tensor):
        return part
    part = part.to(whole.device)
    return DTensor.from_local(part, whole.device_mesh, whole.placements, shape=whole.shape, stride=whole.stride())
