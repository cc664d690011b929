"""Margins that are wider for classes with fewer samples."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_number, check_tensor


def class_size_margins(
    class_counts: Tensor,  # (C,)
    *,
    largest: float = 0.5,
    offset: float = 0.0,
    power: float = 0.25,
) -> Tensor:  # (C,)
    """Compute a margin for each class from its number of training samples.

    ``offset + (largest - offset) (n_min / n_j)^power``: the smallest class has the margin ``largest``. With offset 0
    these are the margins of LDAM, to be given to ``cosface_loss``: Cao et al., Learning Imbalanced Datasets with
    Label-Distribution-Aware Margin Loss, NeurIPS 2019, arXiv 1906.07413. With another offset they are the dynamic
    margins ``a n^-power + b`` of Ha et al., Google Landmark Recognition 2020 Competition Third Place Solution, 2020,
    arXiv 2010.05350, for ``arcface_loss``.

    Args:
        class_counts: (C,) samples of each class, at least 1; integers or floats.
        largest: margin of the smallest class.
        offset: limit of the margin for large classes.
        power: how fast margins fall with the count, above 0.

    Returns:
        (C,) float32, or float64 for float64 counts: the ``margin`` of a loss.

    Raises:
        ValueError: a count below 1; a wrong shape or number. This reads the counts on the host.
        TypeError: a wrong type.

    Example:
        >>> import torch
        >>> from dmlkernels import class_size_margins
        >>> class_size_margins(torch.tensor([16, 256]))
        tensor([0.5000, 0.2500])
    """
    check_tensor("class_counts", class_counts)
    largest, offset = check_number("largest", largest), check_number("offset", offset)
    power = check_number("power", power, above=0)
    if class_counts.dtype.is_complex or class_counts.dtype == torch.bool:
        raise TypeError(f"class_counts: got {class_counts.dtype}, expected integers or floats")
    if class_counts.dim() != 1 or class_counts.shape[0] == 0:
        raise ValueError(f"class_counts: got shape {tuple(class_counts.shape)}, expected (C,): one for each class")
    counts = class_counts.to(torch.float64 if class_counts.dtype == torch.float64 else torch.float32)
    smallest = counts.min()
    if not smallest >= 1:
        raise ValueError(f"class_counts: got {smallest.item():g}, expected at least 1 sample of each class")
    return offset + (largest - offset) * (smallest / counts) ** power
