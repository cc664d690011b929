"""Optimisers, learning rates over time, clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from retrieval_lib.config import Train
from retrieval_lib.network import Embedder
from retrieval_lib.objective import Objective


def make_optimisers(network: Embedder, objective: Objective, train: Train) -> list[torch.optim.AdamW]:
    """One for the network, one for the proxies: at their own rate, without weight decay.

    Two, because a gradient scaler cannot take sharded and whole gradients of one optimiser.
    """
    decayed = {"lr": train.lr, "weight_decay": train.weight_decay}
    optimisers = [torch.optim.AdamW([{"params": list(network.parameters()), **decayed}])]
    if proxies := list(objective.parameters()):
        rate = train.lr * train.proxy_lr_factor
        optimisers.append(torch.optim.AdamW([{"params": proxies, "lr": rate, "weight_decay": 0.0}]))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


def set_learning_rates(optimisers: Sequence[torch.optim.Optimizer], train: Train, epoch: int) -> None:
    """Those of an epoch, computed from nothing but its number, so that resuming needs no state."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * rate_factor(train, epoch)


def rate_factor(train: Train, epoch: int) -> float:
    """Share of the base rate in an epoch; the schedule starts after warm-up."""
    since = max(0, epoch - train.warmup_epochs)
    if train.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * since / max(1, train.epochs - train.warmup_epochs))
    return train.step_factor ** (since // train.step_epochs) if train.schedule == "step" else 1.0


def clip(network: nn.Module, objective: nn.Module, train: Train) -> None:
    """Limit gradients, of the network and of the proxies apart: proxies may be sharded, and their scale differs."""
    for module in (network, objective):
        trained = [one for one in module.parameters() if one.grad is not None]
        if train.clip_value and trained:
            nn.utils.clip_grad_value_(trained, train.clip_value)
        if train.clip_norm and trained:
            nn.utils.clip_grad_norm_(trained, train.clip_norm)
