"""Background descriptors of a batch of feature maps, for the dictionary of CouCE-style training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dmlkernels.couce.layout import channels_first
from dmlkernels.functional.cosines import unit_rows


def variance_gate(feature_map: Tensor, *, layout: str | None = None) -> Tensor:  # (B, C, H, W) -> (B, H, W)
    """How much each position counts as background: much where the channels hardly vary, little where they do.

    With v the variance over channels at each position, and its mean and deviation over the positions of a sample::

        gate = sigmoid((mean(v) - v) / (0.5 std(v) + 1e-6))

    Population variances and deviations (ours), in float32 or wider. CouCE-style: a reconstruction, see
    ``BackgroundDictionary``.

    Args:
        feature_map: (B, C, H, W), or (B, H, W, C) with ``layout="NHWC"``; float16, bfloat16, float32 or float64.
        layout: as in ``fourier_intervention``.

    Raises:
        TypeError: ``feature_map`` is no tensor of floats.
        ValueError: ``feature_map`` is not 4-D, looks like another layout, or has no channel or position.

    Example:
        >>> features = torch.zeros(1, 2, 1, 2)
        >>> features[0, :, 0, 1] = torch.tensor([-1.0, 1.0])
        >>> variance_gate(features)
        tensor([[[0.8808, 0.1192]]])
    """
    feature_map = channels_first("feature_map", feature_map, layout)
    if 0 in feature_map.shape[1:]:
        raise ValueError(f"feature_map: got shape {tuple(feature_map.shape)}, expected C, H and W of at least 1")
    wide = feature_map.to(torch.promote_types(feature_map.dtype, torch.float32))
    largest = wide.flatten(1).abs().amax(1, keepdim=True)
    unit = torch.where(largest > 2**20, largest, 1)  # fourth powers of more might overflow
    variance = (wide / unit[:, :, None, None]).var(1, correction=0).flatten(1)  # (B, H W)
    spread, middle = torch.std_mean(variance, 1, correction=0, keepdim=True)
    floor = (1e-6 / unit / unit).clamp_min(torch.finfo(unit.dtype).tiny)
    return torch.sigmoid((middle - variance) / (0.5 * spread + floor)).unflatten(1, feature_map.shape[2:])


def background_descriptors(
    feature_map: Tensor,  # (B, C, H, W)
    head: Callable[[Tensor], Tensor] | None = None,
    *,
    layout: str | None = None,
) -> Tensor:  # (B, D)
    """Mean feature of each sample's background, embedded by ``head`` and normalised; without gradient.

    The mean is weighted by ``variance_gate``. CouCE-style: a reconstruction, see ``BackgroundDictionary``.

    Args:
        feature_map: (B, C, H, W), or (B, H, W, C) with ``layout="NHWC"``; float16, bfloat16, float32 or float64.
        head: maps pooled features (B, C), in the dtype of ``feature_map``, to embeddings (B, D). It runs once, in the
            mode it is in. Default: none, so D = C.
        layout: as in ``fourier_intervention``.

    Returns:
        (B, D) unit rows (zero rows stay zero), float32 or wider.

    Raises:
        TypeError: ``feature_map`` is no tensor of floats.
        ValueError: ``feature_map`` is not 4-D, looks like another layout, or has no channel or position.

    Example:
        >>> background_descriptors(torch.randn(2, 8, 7, 7), torch.nn.Linear(8, 4)).shape
        torch.Size([2, 4])
    """
    with torch.no_grad():
        feature_map = channels_first("feature_map", feature_map, layout)
        gate = variance_gate(feature_map, layout="NCHW").unsqueeze(1)
        pooled = (feature_map * (gate / gate.sum((2, 3), keepdim=True))).sum((2, 3))
        embedded = pooled if head is None else head(pooled.to(feature_map.dtype))
        return unit_rows(embedded)
