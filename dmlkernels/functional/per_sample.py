"""Options that are one number, one for each class or one for each sample: margins and scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_device, check_number, check_tensor
from dmlkernels.functional.inputs import ProxyInputs
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import class_index


def check_option(name: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> Any:
    """A float within its bounds, or a tensor of floats, whose values nobody looks at."""
    if not isinstance(value, Tensor):
        return check_number(name, value, above=above, at_least=at_least)
    check_tensor(name, value)
    if not value.dtype.is_floating_point:
        raise TypeError(f"{name}: got {value.dtype}, expected a floating type")
    return value


def check_class_weights(class_weights: Any) -> None:
    """None, or one number for each class."""
    if class_weights is None:
        return
    check_tensor("class_weights", class_weights)
    if not class_weights.dtype.is_floating_point:
        raise TypeError(f"class_weights: got {class_weights.dtype}, expected a floating type")
    if class_weights.dim() != 1 or class_weights.shape[0] == 0:
        raise ValueError(f"class_weights: got shape {tuple(class_weights.shape)}, expected (C,): one for each class")


def per_sample(name: str, value: float | Tensor, inputs: ProxyInputs, group: int = 1) -> float | Tensor:
    """The option as a float, a 0-dimensional tensor, or (B,) values, differentiable in the tensor given.

    A tensor is () for all samples; (B,) or (B, 1) for each sample; (C,) or (1, C) for each class, C being the number
    of proxies over ``group``, or with ``proxy_labels`` any number above all labels. One dimension that may be either is
    an error.
    """
    if not isinstance(value, Tensor):
        return value
    check_device(name, value, inputs.embeddings)
    shape, batch, value = tuple(value.shape), inputs.labels.shape[0], value.to(inputs.dtype)
    if shape == ():
        return value
    fits_classes = shape[-1] > 0 if inputs.proxy_labels is not None else shape[-1] == inputs.num_proxies // group
    if shape == (batch, 1) or (shape == (batch,) and (batch == 1 or not fits_classes)):
        return value.reshape(batch)
    if fits_classes and (shape[:-1] == (1,) or (value.dim() == 1 and shape != (batch,))):
        return _of_classes(name, value.reshape(-1), inputs)
    if shape == (batch,):
        raise ValueError(
            f"{name}: got shape {shape}, which may be for samples or for classes; "
            f"expected ({batch}, 1) for samples or (1, {batch}) for classes"
        )
    classes = inputs.num_proxies // group if inputs.proxy_labels is None else "C"
    raise ValueError(
        f"{name}: got shape {shape}, expected () for all, ({batch},) for samples or (1, {classes}) for classes"
    )


def _of_classes(name: str, values: Tensor, inputs: ProxyInputs) -> Tensor:  # (C,) -> (B,)
    """The value of each sample's class; NaN if there is none and the host may not look."""
    check = inputs.proxy_labels is not None and should_check(values.device.type, False)
    index, unknown = class_index(inputs.labels, values.shape[0], name, check)
    return torch.where(unknown, torch.nan, values[index])
