"""A warning when the proxies of a loss get gradients but no optimiser has them: the classic bug of proxy losses."""

from __future__ import annotations

import gc
import warnings

import torch
from torch import Tensor
from torch.optim import Optimizer

from dmlkernels.distributed.group import local_tensor

PATIENCE = 10  # forward passes after a backward one that find no change, before an optimiser is looked for


class Watch:
    """Watch the proxies of one module at each forward pass until it is clear whether they are trained."""

    def __init__(self) -> None:
        self._passes = 0
        self._had_gradient = False  # since the last pass; whoever zeroes gradients before a pass leaves no other trace
        self._version = -1
        self._checksum: Tensor | None = None

    def settled(self, proxies: Tensor) -> bool:
        """Return whether watching may end; warn if no optimiser has the proxies.

        Reads values, which synchronises, at most once in the life of a module.
        """
        if not proxies.is_leaf or not self._had_gradient:  # no leaf: computed from others, as by weight_norm
            return False
        self._had_gradient = False
        if self._checksum is None:
            self._version, self._checksum = proxies._version, _checksum(proxies)
        self._passes += 1
        if proxies._version != self._version:
            return True
        if self._passes <= PATIENCE:
            return False
        # No change so far. Gradients may be accumulated for longer, which the optimiser that has the proxies tells; and
        # the version misses a change through .data, which the values tell.
        if not _has_optimiser(proxies) and torch.equal(self._checksum, _checksum(proxies)):
            warnings.warn(
                f"the proxies have received gradients for {PATIENCE} steps but never changed, and no optimiser has "
                "them: pass loss.parameters() or loss.param_groups(lr) to the optimiser",
                stacklevel=5,
            )
        return True

    def see_backward(self, loss: Tensor) -> None:
        """Take note when the loss of proxies that are to be trained is differentiated."""
        loss.register_hook(self._note)

    def _note(self, gradient: Tensor) -> None:
        self._had_gradient = True


def _has_optimiser(parameter: Tensor) -> bool:
    """Return whether an optimiser of this process has the parameter. Searches all objects, which takes milliseconds."""
    optimisers = (found for found in gc.get_objects() if issubclass(type(found), Optimizer))
    return any(
        parameter is held
        for optimiser in optimisers
        for group in getattr(optimiser, "param_groups", ())
        for held in group["params"]
    )


def _checksum(proxies: Tensor) -> Tensor:
    return local_tensor(proxies.detach()).sum(dtype=torch.promote_types(proxies.dtype, torch.float32))
