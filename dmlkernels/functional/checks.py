"""Checks of arguments. Every message names the argument, what was given and what is expected."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
LARGEST_NUMBER, SMALLEST_NUMBER = 1e15, 1e-15  # of options: their squares and reciprocals, too, are float32 numbers


def check_tensor(name: str, value: object, of: str = "") -> None:
    """Require an ordinary dense tensor outside of any torch.func transform."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: got {type(value).__name__}, expected a tensor{of}")
    if value.is_nested or value.layout != torch.strided:
        kind = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        raise TypeError(f"{name}: got a tensor of {kind} layout, expected a dense (strided) tensor{of}")
    if type(value).__name__ == "DTensor":
        raise TypeError(f"{name}: got a DTensor, expected a plain tensor{of}, such as its full_tensor()")
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            f"{name}: is inside a torch.func transform (grad, vmap, jvp, ...), which these losses do not support; "
            "call the loss outside, and torch.autograd.grad for its gradient"
        )


def check_vectors(name: str, value: Tensor, *, allow_empty: bool = False) -> None:
    """Require an (N, D) tensor of floats."""
    check_tensor(name, value)
    if value.dim() != 2:
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected 2 dimensions (N, D)")
    if value.dtype not in FLOATS:
        raise TypeError(f"{name}: got {value.dtype}, expected float16, bfloat16, float32 or float64")
    if value.shape[1] == 0 or (value.shape[0] == 0 and not allow_empty):
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected at least one row and one column")


def check_same_space(
    name: str, value: Tensor, embeddings: Tensor, other: str = "embeddings", *, allow_empty: bool = False
) -> None:
    """Require (N, D) with the D and the device of the embeddings."""
    check_vectors(name, value, allow_empty=allow_empty)
    if value.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"{name}: got {value.shape[1]} dimensions, expected {embeddings.shape[1]} as in {other} "
            f"{tuple(embeddings.shape)}"
        )
    check_device(name, value, embeddings, other)


def check_device(name: str, value: Tensor, embeddings: Tensor, other: str = "embeddings") -> None:
    """Require the device of the embeddings."""
    if value.device != embeddings.device:
        raise ValueError(f"{name}: is on {value.device}, expected {embeddings.device} where {other} are")


def check_labels(name: str, labels: Tensor, vectors: Tensor, of: str) -> None:
    """Require one integer for each of the vectors."""
    check_tensor(name, labels, " of integers")
    if labels.dtype not in INTEGERS:
        raise TypeError(f"{name}: got {labels.dtype}, expected int64, int32, int16, int8 or uint8")
    if labels.shape != vectors.shape[:1]:
        raise ValueError(
            f"{name}: got shape {tuple(labels.shape)}, expected ({vectors.shape[0]},): one for each row of {of}"
        )
    check_device(name, labels, vectors, of)


def check_per_row(name: str, value: Tensor | None, vectors: Tensor, of: str, *, boolean: bool = False) -> None:
    """Require one float (or one boolean) for each of the vectors; None passes."""
    if value is None:
        return
    check_tensor(name, value)
    if (value.dtype == torch.bool) != boolean or not (boolean or value.dtype.is_floating_point):
        raise TypeError(f"{name}: got {value.dtype}, expected {'bool' if boolean else 'a floating type'}")
    if value.shape != vectors.shape[:1]:
        raise ValueError(
            f"{name}: got shape {tuple(value.shape)}, expected ({vectors.shape[0]},): one for each row of {of}"
        )
    check_device(name, value, vectors, of)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """Return ``value`` as a float; require it to be finite, in bounds, and of a size that float32 squares."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        raise TypeError(f"{name}: got {type(value).__name__}, expected a number")
    if not isinstance(value, (int, float)):
        value = float(value)  # of numpy's types, some of which overflow in the comparisons below
    if not -math.inf < value < math.inf:  # torch.compile follows this, and not math.isfinite, for a float that varies
        raise ValueError(f"{name}: got {value}, expected a finite number")
    if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise ValueError(f"{name}: got {_brief(value)}, expected a magnitude of at most {LARGEST_NUMBER:g}")
    if above is not None and not value > above:
        raise ValueError(f"{name}: got {value}, expected a number above {above}")
    if above == 0 and value < SMALLEST_NUMBER:
        raise ValueError(f"{name}: got {value}, expected a number of at least {SMALLEST_NUMBER}")
    if at_least is not None and not value >= at_least:
        raise ValueError(f"{name}: got {value}, expected a number of at least {at_least}")
    if at_most is not None and not value <= at_most:
        raise ValueError(f"{name}: got {value}, expected a number of at most {at_most}")
    if below is not None and not value < below:
        raise ValueError(f"{name}: got {value}, expected a number below {below}")
    return float(value)


def check_option(name: str, value: Any, **bounds: float) -> Any:
    """A float within its bounds, as in ``check_number``, or a tensor of floats, whose values nobody looks at."""
    if not isinstance(value, Tensor):
        return check_number(name, value, **bounds)
    check_tensor(name, value)
    if not value.dtype.is_floating_point:
        raise TypeError(f"{name}: got {value.dtype}, expected a floating type")
    return value


def check_scalar(name: str, value: Any, **bounds: float) -> Any:
    """A float within its bounds, as in ``check_number``, or a () tensor of floats, whose value nobody looks at."""
    value = check_option(name, value, **bounds)
    if isinstance(value, Tensor) and value.dim():
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected a number or a () tensor")
    return value


def _brief(value: Any) -> str:
    """Format a number for a message. A huge int is described by its size, since Python may refuse to print it."""
    return f"an int of {value.bit_length()} bits" if isinstance(value, int) and abs(value) >= 2**64 else str(value)


def check_integer(name: str, value: Any, *, at_least: int | None = None) -> None:
    """Require an integer that fits int64, within its bound."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: got {type(value).__name__}, expected an int")
    if not -(2**63) <= int(value) < 2**63:
        raise ValueError(f"{name}: got {_brief(value)}, expected a number that fits int64")
    if at_least is not None and value < at_least:
        raise ValueError(f"{name}: got {value}, expected a number of at least {at_least}")


def check_flag(name: str, value: object) -> None:
    """Require a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: got {type(value).__name__}, expected True or False")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Require one of the choices."""
    choices = tuple(choices)
    if value not in choices or isinstance(value, bool):
        raise ValueError(f"{name}: got {value!r}, expected one of {choices}")
