"""Options that are one number, one for each class or one for each sample: margins and scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_device, check_tensor
from dmlkernels.functional.validation import should_check
from dmlkernels.ops import class_index

if TYPE_CHECKING:
    from dmlkernels.functional.inputs import ProxyInputs


def check_class_weights(class_weights: Any) -> None:
    """One number for each class."""
    check_tensor("class_weights", class_weights)
    if not class_weights.dtype.is_floating_point:
        raise TypeError(f"class_weights: got {class_weights.dtype}, expected a floating type")
    if class_weights.dim() != 1 or class_weights.shape[0] == 0:
        raise ValueError(f"class_weights: got shape {tuple(class_weights.shape)}, expected (C,): one for each class")


def per_sample(name: str, value: Tensor, inputs: ProxyInputs, group: int = 1) -> Tensor:
    """The option as a 0-dimensional tensor or (B,) values, differentiable in the tensor given.

    A tensor is () for all samples; (B,) or (B, 1) for each sample; (C,) or (1, C) for each class, C being the number
    of proxies over ``group``, or with ``proxy_labels`` any number above all labels. One dimension that may be either is
    an error.
    """
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
