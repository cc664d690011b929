"""Which dimension of a feature map holds the channels."""

from __future__ import annotations

import torch
from torch import Tensor

from dmlkernels.functional.checks import FLOATS, check_choice, check_tensor

LAYOUTS = (None, "NCHW", "NHWC")
_SMALLEST_SIDE = 7  # of the maps that vision models end in


def check_layout(layout: str | None) -> None:
    """``layout`` names an order of dimensions, or leaves it to ``channels_first``."""
    check_choice("layout", layout, LAYOUTS)


def channels_first(name: str, feature_map: Tensor, layout: str | None) -> Tensor:  # (B, C, H, W)
    """Check a feature map, and view it as (B, C, H, W).

    With ``layout=None`` it is taken for NCHW, unless its shape says otherwise: then a ValueError asks for the layout.
    What counts is the order of the dimensions; ``torch.channels_last`` is an NCHW tensor in another memory format.
    """
    check_layout(layout)
    check_tensor(name, feature_map)
    if feature_map.dim() != 4:
        dimensions = "(B, H, W, C)" if layout == "NHWC" else "(B, C, H, W)"
        raise ValueError(f"{name}: got shape {tuple(feature_map.shape)}, expected 4 dimensions {dimensions}")
    if feature_map.dtype not in FLOATS:
        raise TypeError(f"{name}: got {feature_map.dtype}, expected float16, bfloat16, float32 or float64")
    if layout is None and _looks_channels_last(feature_map.shape):
        raise ValueError(
            f"{name}: got shape {tuple(feature_map.shape)}, which looks like (B, H, W, C); pass layout='NHWC', or "
            "layout='NCHW' if it is (B, C, H, W)"
        )
    return feature_map.movedim(3, 1) if layout == "NHWC" else feature_map


def as_given(changed: Tensor, layout: str | None) -> Tensor:
    """Undo the view of ``channels_first``."""
    return changed.movedim(1, 3) if layout == "NHWC" else changed


def _looks_channels_last(shape: torch.Size) -> bool:
    """Square maps with many channels behind, or images: as NCHW their channels would be as many as their rows."""
    _, first, second, last = shape
    return first == second >= _SMALLEST_SIDE and (2 * last >= 3 * first or last <= 4)
