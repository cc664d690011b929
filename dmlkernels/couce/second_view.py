"""A second view of a batch by an intervention inside a backbone, through hooks that leave no trace."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from dmlkernels.couce.batch_norm import frozen_running_statistics
from dmlkernels.couce.mean_only import only_mean_matters
from dmlkernels.couce.replay import Output, called_beside, can_skip, patched, replayed

_inspected: WeakSet[nn.Module] = WeakSet()


def intervened_forward(
    backbone: nn.Module,
    images: Tensor,
    *,
    after: str,
    intervention: Callable[[Tensor], Tensor],
    reuse_trunk: bool = True,
) -> tuple[Tensor, Tensor]:
    """Embeddings of a batch, and of the same batch with an intervention on the output of a submodule (CouCE-style).

    The second pass runs ``backbone`` again, but the submodules that had finished by then hand out their outputs of the
    first pass. So both views share one trunk, forward and backward, and only what follows ``after`` costs time: 20% of
    a ResNet-50's forward pass at 224 pixels after its third stage, 56% after its second. With ``reuse_trunk=False``
    the second pass costs a whole forward pass, and submodules that are compiled, scripted, registered in several places
    or whose output was then written into in place run again anyway; the intervention is on the output of the first
    pass in any case.

    BatchNorm in training mode normalises the second view by its own batch statistics, and takes them into no running
    statistics. Random layers such as dropout draw anew. Hooks, patches and settings are gone afterwards, also after an
    error. Limits: a backbone compiled as a whole cannot be looked into; ``after`` and BatchNorm behind it must not be
    under activation checkpointing, which runs them again during backward; for DistributedDataParallel, wrap a module
    whose forward calls this function.

    CouCE-style: a reconstruction, see ``CouCE``.

    Args:
        backbone: any module, called as ``backbone(images)``; its other submodules may be called any number of times.
        images: the batch.
        after: name of the submodule whose output tensor to change, as in ``backbone.named_modules()``. It must run
            exactly once in a pass.
        intervention: say, a ``FourierIntervention``.
        reuse_trunk: see above. Switch it off for a backbone that calls its submodules in another order each time.

    Returns:
        What the backbone returns, for both views.

    Raises:
        TypeError: ``backbone`` is no module, or the output of ``after`` no tensor.
        ValueError: no submodule ``after``.
        RuntimeError: ``after`` did not run exactly once.

    Warns:
        UserWarning, once per submodule: what follows ``after`` is linear up to a global average pool, so that only the
        DC bin of an intervention survives. Found in the autograd graph; silent in doubt.

    Gradients: through both views, into the trunk once.

    Memory and determinism: the outputs of the trunk's submodules are kept until the second pass is done.

    Example:
        >>> from dmlkernels import FourierIntervention, intervened_forward
        >>> backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(1))
        >>> first, second = intervened_forward(
        ...     backbone, torch.randn(4, 3, 9, 9), after="1", intervention=FourierIntervention()
        ... )
        >>> first.shape == second.shape, torch.equal(first, second)
        (True, False)
    """
    target = _submodule("after", backbone, after)
    trunk = called_beside(backbone, after) if reuse_trunk else []
    calls: dict[nn.Module, list[Output]] = {module: [] for module in trunk}
    changed: list[Tensor] = []
    nodes: list[Any] = []

    def record(module: nn.Module, _: Any, output: Any) -> None:
        if not changed:
            calls[module].append(Output(output))

    def intervene(_: nn.Module, __: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(f"after: {after!r} returned {type(output).__name__}, expected a tensor")
        # Here and not later, because what follows may write into the output in place.
        result = intervention(output)
        changed.append(result.clone() if result is output else result)
        nodes.append(output.grad_fn)

    with ExitStack() as hooks:
        for module in trunk:
            hooks.enter_context(module.register_forward_hook(record))
        hooks.enter_context(target.register_forward_hook(intervene))
        embeddings = backbone(images)
    _check_ran_once(after, len(changed))
    _warn_if_pointless(embeddings, target, nodes[0], after)

    substituted: list[None] = []

    def substitute(*_: Any) -> Tensor:
        substituted.append(None)
        return changed[0]

    def skip(*_: Any, **__: Any) -> Tensor:
        return changed[0]

    with ExitStack() as patches:
        patches.enter_context(frozen_running_statistics(backbone))
        for module, outputs in calls.items():
            if outputs and can_skip(module):
                patches.enter_context(replayed(module, outputs, substituted))
        if reuse_trunk and can_skip(target):
            patches.enter_context(patched(target, skip))
        patches.enter_context(target.register_forward_hook(substitute))
        intervened = backbone(images)
    _check_ran_once(after, len(substituted))
    return embeddings, intervened


@contextmanager
def captured(backbone: nn.Module, name: str) -> Iterator[list[Any]]:
    """The outputs of a submodule for each time it runs within the block, for a dictionary update, say.

    Example:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> with captured(backbone, "0") as feature_maps:
        ...     embeddings = backbone(torch.randn(4, 3, 9, 9))
        >>> feature_maps[0].shape
        torch.Size([4, 8, 7, 7])
    """
    outputs: list[Any] = []
    with _submodule("name", backbone, name).register_forward_hook(lambda *call: outputs.append(call[-1])):
        yield outputs


def _submodule(argument: str, backbone: nn.Module, name: str) -> nn.Module:
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"backbone: got {type(backbone).__name__}, expected a torch.nn.Module")
    try:
        module = backbone.get_submodule(name)
    except AttributeError:
        module = backbone
    if module is backbone:
        names = ", ".join(child for child, _ in backbone.named_children())
        raise ValueError(f"{argument}: got {name!r}, expected a submodule, such as one of {names}")
    return module


def _check_ran_once(after: str, times: int) -> None:
    if times != 1:
        raise RuntimeError(
            f"after: {after!r} ran {times} times, expected once (a backbone compiled whole does not show its parts)"
        )


def _warn_if_pointless(embeddings: Any, target: nn.Module, feature_node: Any, after: str) -> None:
    if not torch.is_grad_enabled() or target in _inspected:
        return
    _inspected.add(target)
    if only_mean_matters(embeddings, feature_node):
        warnings.warn(
            f"after: what follows {after!r} is linear up to a global average pool, so that only the DC bin of an "
            "intervention reaches the embeddings; intervene earlier or pool non-linearly",
            stacklevel=3,
        )
