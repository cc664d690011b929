"""Keep the running statistics of normalisation layers while something other than the training batch passes through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def frozen_running_statistics(model: nn.Module) -> Iterator[None]:
    """Within the block, layers in training mode still normalise by the batch but leave their running statistics alone.

    Concerns BatchNorm, SyncBatchNorm, InstanceNorm and their subclasses. Layers in evaluation mode are not touched:
    they go on normalising by their running statistics. Restored when the block ends, by an exception too.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> with frozen_running_statistics(norm):
        ...     normalised = norm(torch.randn(8, 2) + 5)
        >>> norm.running_mean, norm.num_batches_tracked
        (tensor([0., 0.]), tensor(0))
    """
    # Not by copying them back afterwards: autograd may have saved them and would refuse the backward pass.
    layers = [layer for layer in model.modules() if isinstance(layer, _NormBase)]
    tracking = [layer for layer in layers if layer.training and layer.track_running_stats]
    held = [{name: layer._buffers[name] for name in ("running_mean", "running_var")} for layer in tracking]
    for layer in tracking:
        layer.track_running_stats = False
        layer._buffers.update(running_mean=None, running_var=None)  # InstanceNorm would update them all the same
    try:
        yield
    finally:
        for layer, buffers in zip(tracking, held, strict=True):
            layer.track_running_stats = True
            layer._buffers.update(buffers)


@contextmanager
def frozen_running_statistics_of_calls() -> Iterator[None]:
    """Within the block, the same for every module that this thread calls, however it comes by it.

    A function, a bound method or a lambda does not tell which modules it is going to call. Scripted modules run no
    hooks.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> with frozen_running_statistics_of_calls():
        ...     normalised = (lambda x: norm(x))(torch.randn(8, 2) + 5)
        >>> norm.running_mean
        tensor([0., 0.])
    """
    thread, frozen = threading.get_ident(), set[nn.Module]()
    with ExitStack() as contexts:

        def freeze(module: nn.Module, _: Any) -> None:
            if threading.get_ident() == thread and module not in frozen:
                frozen.update(module.modules())
                contexts.enter_context(frozen_running_statistics(module))

        with register_module_forward_pre_hook(freeze):
            yield
