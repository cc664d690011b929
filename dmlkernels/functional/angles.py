"""Angular margins: the cosine of an angle and a margin together."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from dmlkernels.functional.checks import check_option


def check_angle(name: str, value: Any) -> Any:
    """Radians from 0 to pi, or a tensor of floats, whose values nobody looks at. Warns where degrees may be meant."""
    value = check_option(name, value, at_least=0)
    if isinstance(value, Tensor):
        return value
    if value > math.pi:
        raise ValueError(f"{name}: got {value}, expected radians from 0 to pi; in degrees: math.radians({value})")
    if value > math.pi / 2 and not torch.compiler.is_compiling():
        warnings.warn(
            f"{name}: got {value} radians, which is {math.degrees(value):.0f} degrees; "
            f"if degrees were meant, pass math.radians({value})",
            stacklevel=3,
        )
    return value


def sine_of(cosine: Tensor) -> Tensor:
    """Sine of an angle from 0 to pi; its gradient stays finite at the ends."""
    squared = ((1 - cosine) * (1 + cosine)).clamp_min(0)
    return squared * squared.clamp_min(torch.finfo(cosine.dtype).eps).rsqrt()


def add_angle(cosine: Tensor, margin: float | Tensor) -> Tensor:
    """cos(theta + margin) up to theta = pi - margin, and beyond it the straight line that goes on falling."""
    cosine_of, sine_of_margin, offset = angle_numbers(margin)
    turned = cosine * cosine_of - sine_of(cosine) * sine_of_margin
    return torch.where(cosine > -cosine_of, turned, cosine - offset)


def angle_numbers(margin: Any) -> tuple[Any, Any, Any]:
    """Cosine and sine of the margin, and what the line takes off: the paper's, or above 2.33 radians, where that would
    begin above -1, what makes it begin there."""
    if isinstance(margin, Tensor):
        cosine, sine = margin.cos(), margin.sin()
        return cosine, sine, torch.maximum(margin * sine, 1 - cosine)
    x, y = math.cos(margin), math.sin(margin)
    return x, y, max(margin * y, 1 - x)
