"""What torch.compile sees of a call on all ranks: its arguments taken apart, and one op that takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dmlkernels.distributed.call_op import FUNCTIONS, LAYOUTS, ranks_forward
from dmlkernels.distributed.group import is_dtensor
from dmlkernels.ops.running import set_running

CONSTANTS = (str, bool, type(None))
NUMBERS = (int, float)


def is_capturable(names: Sequence[str], args: Sequence[Any], options: dict[str, Any]) -> bool:
    """Whether each argument is a tensor or a constant, and has a name of its own."""
    if len(args) > len(names) or any(name in options for name in names[: len(args)]):
        return False
    others = [value for name, value in options.items() if name != "process_group"]
    return all(isinstance(value, (Tensor, *CONSTANTS, *NUMBERS)) for value in (*args, *others))


def capture(
    function: Callable[..., Any],
    names: Sequence[str],
    effects: tuple[Sequence[str], Sequence[str]],
    group: Any,
    args: Any,
    options: Any,
) -> Any:
    """Call ``function`` on all ranks; torch.compile traces this into one op.

    Args:
        names: of the positional arguments of ``function``.
        effects: ``parts`` and ``updates`` as ``across_ranks`` has them.
        args, options: as they were given.
    """
    parts, updates = effects
    updates = [name for name in updates if options.get("momentum") is not None]
    tensors, lengths, wants, integers, floats = [], [], [], [], []
    of_tensors, layouts, of_integers, of_floats, constants = [], [], [], [], []
    for name, value in (*zip(names, args, strict=False), *options.items()):
        if name == "process_group":
            continue
        if isinstance(value, Tensor):
            of_tensors.append(name)
            wants.append(value.requires_grad and torch.is_grad_enabled())
            lengths.append(value.shape[0] if value.dim() else 0)
            dtensor: Any = value if is_dtensor(value) else None
            layouts.append("" if dtensor is None else _layout_name(dtensor.device_mesh, dtensor.placements))
            local = value if dtensor is None else dtensor.to_local()
            tensors.append(local.clone() if name in updates else local)  # backward wants what there was before
        elif isinstance(value, CONSTANTS):
            constants.append((name, value))
        elif isinstance(value, int):
            of_integers.append(name)
            integers.append(value)
        else:
            of_floats.append(name)
            floats.append(value)
    call = (
        _function_name(function), "" if group is None else _group_name(group),
        tuple(of_tensors), tuple(layouts), (*of_integers, *of_floats), tuple(constants), len(parts), tuple(updates),
    )  # fmt: skip
    device = tensors[0].device.type
    autocast = torch.is_autocast_enabled(device)
    _, *found = ranks_forward(
        tensors, lengths, wants, repr(call), integers, floats, autocast, torch.get_autocast_dtype(device)
    )
    with torch.no_grad():
        for name, value in zip(updates, found[1 + len(parts) :], strict=True):
            set_running(options[name], value)
    return (found[0], dict(zip(parts, found[1 : 1 + len(parts)], strict=True))) if parts else found[0]


@torch._dynamo.assume_constant_result
def _function_name(function: Any) -> str:
    FUNCTIONS[function.__name__] = function
    return str(function.__name__)


@torch._dynamo.assume_constant_result
def _group_name(group: Any) -> str:
    return str(_actual(group).group_name)


@torch._dynamo.assume_constant_result
def _layout_name(mesh: Any, placements: Any) -> str:
    mesh = _actual(mesh)
    groups = [mesh.get_group(dimension).group_name for dimension in range(mesh.ndim)]
    name = repr((mesh.device_type, mesh.mesh.tolist(), groups, placements))
    LAYOUTS[name] = mesh, placements
    return name


def _actual(value: Any) -> Any:
    """What stands behind the compiler's stand-in."""
    return getattr(value, "real_obj", value)
