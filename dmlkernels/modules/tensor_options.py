"""Options of a module that are tensors: parameters where they are learnt, else buffers; both in the state dict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dmlkernels.functional.checks import check_flag, check_option
from dmlkernels.modules.extension import extend
from dmlkernels.modules.proxy_loss import ProxyLoss


class TensorOptions(ProxyLoss):
    """A proxy loss some of whose ``options`` may be tensors.

    Args:
        num_classes, embedding_size: shape of the proxies; ``ProxyLoss`` says what else may be given of them.
        learnable: names of the options that become parameters.
        options: as in ``ProxyLoss``; a tensor is () or, for some of them, (num_classes,). It becomes a buffer of that
            name, and an ``nn.Parameter`` stays the parameter that it is.
    """

    numbers: ClassVar[tuple[str, ...]] = ()  # options that may be 0-dimensional tensors
    of_classes: ClassVar[tuple[str, ...]] = ()  # options that may be (num_classes,) tensors

    def __init__(
        self, num_classes: int, embedding_size: int, *, learnable: tuple[str, ...] = (), **options: Any
    ) -> None:
        may_be = {*self.numbers, *self.of_classes}
        tensors = {name: value for name, value in options.items() if name in may_be and isinstance(value, Tensor)}
        super().__init__(num_classes, embedding_size, **{k: v for k, v in options.items() if k not in tensors})
        for name in (*tensors, *(name for name in learnable if name not in tensors)):
            value = tensors.get(name, self.options[name])
            del self.options[name]
            self._keep(name, value, name in learnable)

    def param_groups(self, lr: float, proxy_lr_factor: float = 100.0) -> list[dict[str, Any]]:
        """Return optimiser groups without weight decay: proxies at ``proxy_lr_factor`` times the base rate, learnable
        options at the base rate."""
        groups = super().param_groups(lr, proxy_lr_factor)
        learnt = [value for name, value in self._tensors().items() if isinstance(value, nn.Parameter)]
        return groups + ([{"params": learnt, "lr": lr, "weight_decay": 0.0}] if learnt else [])

    @torch.no_grad()
    def extend_classes(
        self,
        num_new: int,
        *,
        optimizer: Optimizer | Sequence[Optimizer] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        """Add classes as ``ProxyLoss`` does; an option of classes starts at its mean for them."""
        super().extend_classes(num_new, optimizer=optimizer, generator=generator)
        for value in self._tensors().values():
            if value.dim():
                extend(value, value.data.mean().expand(num_new), optimizer)

    def extra_repr(self) -> str:
        """Sizes and options."""
        tensors = (
            f"{name}={'learnable' if isinstance(value, nn.Parameter) else 'fixed'} {tuple(value.shape)}"
            for name, value in self._tensors().items()
        )
        return ", ".join((super().extra_repr(), *tensors))

    def _call_options(self) -> dict[str, Any]:
        """What ``function`` is given: what may be for samples too as (1, num_classes), clear in any batch."""
        tensors = self._tensors()
        unclear = {name: tensors[name][None] for name in self.numbers if name in tensors and tensors[name].dim()}
        return {**self.options, **tensors, **unclear}

    def _tensors(self) -> dict[str, Tensor]:
        names = dict.fromkeys((*self.numbers, *self.of_classes))
        return {name: getattr(self, name) for name in names if name not in self.options}

    def _keep(self, name: str, value: float | Tensor, learnable: bool) -> None:
        if not isinstance(value, Tensor):
            value = torch.tensor(value)
        check_option(name, value)
        shapes = ((),) * (name in self.numbers) + ((self.num_classes,),) * (name in self.of_classes)
        if value.shape not in shapes:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {' or '.join(map(str, shapes))}")
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
            return
        value = value.detach().to(self.proxies.device, self.proxies.dtype, copy=True)
        if learnable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)


def learnable_names(**flags: bool) -> tuple[str, ...]:
    """Return the options whose flag ``learnable_<option>`` is set."""
    for name, flag in flags.items():
        check_flag(f"learnable_{name}", flag)
    return tuple(name for name, flag in flags.items() if flag)
