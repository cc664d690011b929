"""What a loss takes for given sizes, without computing it: ``python -m dmlkernels estimate``.

The loss runs on fake tensors, which have shapes and no values. So the bytes saved for backward are those that the
backends' own planning says, and the pair operations are those that would run.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from dmlkernels.backends import blocked
from dmlkernels.backends.blocked import plan
from dmlkernels.backends.pairs import Pairs
from dmlkernels.ops.pairs import PairArguments

ATOMS = 64  # of a background dictionary
_TEMPORARIES = {"torch": 4, "native": 2}  # tiles that live at once: scores, slopes and what makes them
_OVERHEAD = 2**20  # of a call: buffers of BLAS, small vectors


@dataclass(frozen=True)
class Sizes:
    """Sizes of a problem: B samples of C classes with several proxies each, in D dimensions."""

    batch: int
    classes: int
    dim: int
    per_class: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def proxies(self) -> int:
        return self.classes * self.per_class


@dataclass(frozen=True)
class Estimate:
    """Bytes, and floating-point operations, of one forward and backward pass."""

    inputs: int  # embeddings and proxies
    gradients: int  # of both
    saved: int  # for backward, beyond the inputs
    work: int  # in blocks and copies while a pass runs, about
    dense: int  # one float32 matrix of all pairs, of which plain PyTorch keeps several
    flops: int
    closed_form: bool

    @property
    def extra(self) -> int:
        """Beyond the inputs, at the peak, about."""
        return self.gradients + self.saved + self.work


def estimate(function: Callable[..., Any], sizes: Sizes, backend: str = "auto") -> Estimate:
    """What one call of a loss function and its backward take on a CPU.

    Args:
        function: a loss of this package, such as ``pd_loss``.
        sizes: of its inputs.
        backend: as the loss takes it.

    Example:
        >>> from dmlkernels import pd_loss
        >>> found = estimate(pd_loss, Sizes(batch=512, classes=100_000, dim=128))
        >>> found.inputs == (512 + 100_000) * 128 * 4, found.extra < found.dense
        (True, True)
    """
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with FakeTensorMode(), _Recorder() as recorder:
        arguments = _arguments(function, sizes)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = function(**arguments, backend=backend)
        value = value[0] if isinstance(value, tuple) else value
        learnt = [given for given in arguments.values() if isinstance(given, Tensor) and given.requires_grad]
        value.sum().backward()
        given = _storages(tensor for tensor in arguments.values() if isinstance(tensor, Tensor))
        kept = _storages(saved)
        return Estimate(
            inputs=_bytes(learnt),
            gradients=_bytes(tensor.grad for tensor in learnt if tensor.grad is not None),
            saved=sum(size for storage, size in kept.items() if storage not in given),
            work=max(working_bytes(pairs, chosen) for pairs, chosen in recorder.calls) + recorder.added,
            dense=sum(_pair_count(pairs) for pairs, _ in recorder.calls) * torch.float32.itemsize,
            flops=sum(flops(pairs) for pairs, _ in recorder.calls),
            closed_form=any(blocked.is_closed(pairs) for pairs, _ in recorder.calls),
        )


def flops(pairs: Pairs) -> int:
    """Count the operations of both passes: tiles are scored twice and multiplied for both gradients."""
    if blocked.is_closed(pairs):
        return 2 * (2 * pairs.num_columns + 3 * pairs.num_rows) * pairs.dim**2
    scored = _pair_count(pairs) // (2 if pairs.within and pairs.statistic.symmetric else 1)
    return 8 * scored * pairs.dim


def working_bytes(pairs: Pairs, backend: str) -> int:
    """Tiles and copies of vectors while a pass runs, about."""
    views = pairs.statistic.views
    if blocked.is_closed(pairs):
        block = min(pairs.num_columns * pairs.dim, plan.TILE_ELEMENTS // 2)
        elements = 3 * pairs.num_rows * pairs.dim + 4 * block + 3 * pairs.dim**2
        return _OVERHEAD + torch.float64.itemsize * elements
    copies = (3 if pairs.within else 1 if backend == "native" else 2) * views * pairs.num_rows * pairs.dim
    rows = min(pairs.num_rows, plan.row_block_length(pairs))
    columns = plan.scored_block_length(pairs) * pairs.statistic.group
    tile = rows**2 if pairs.within else views * rows * min(columns, pairs.num_columns)
    return _OVERHEAD + pairs.dtype.itemsize * (copies + views * _TEMPORARIES.get(backend, 4) * tile)


def _pair_count(pairs: Pairs) -> int:
    columns = pairs.num_columns + (pairs.num_rows if pairs.within else 0)
    return pairs.statistic.views * pairs.num_rows * columns


def _arguments(function: Callable[..., Any], sizes: Sizes) -> dict[str, Any]:
    """Tensors for the parameters that have no default, and proxies where they have one."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters

    def learnable(rows: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(rows, sizes.dim, dtype=dtype, requires_grad=True)

    made: dict[str, Any] = {}
    for name in parameters:
        if name in ("embeddings", "intervened"):
            made[name] = learnable(sizes.batch, sizes.dtype)
        elif name in ("proxies", "centers"):
            made[name] = learnable(sizes.proxies, torch.promote_types(sizes.dtype, torch.float32))
        elif name == "labels":
            made[name] = torch.empty(sizes.batch, dtype=torch.int64)
        elif name == "atoms":
            made[name] = torch.empty(ATOMS, sizes.dim)
        elif name == "centers_per_class":
            made[name] = sizes.per_class
        elif name == "proxy_labels" and sizes.per_class > 1:
            made[name] = torch.empty(sizes.proxies, dtype=torch.int64)
        elif name == "temperature" and parameters[name].default is inspect.Parameter.empty:
            made[name] = 0.1
        elif name in ("field_weight", "odba_weight"):
            made[name] = 1.0
    return made


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors)


def _storages(tensors: Any) -> dict[int, int]:
    """Bytes by storage, each once."""
    return {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}


class _Recorder(TorchDispatchMode):
    """Keeps what the pair operations were asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Pairs, str]] = []  # with the backend
        self.added = 0  # bytes of a gradient that is added to another of the same centres

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ops = torch.ops.dmlkernels
        if op in (ops.pair_forward.default, ops.pair_loss_forward.default):
            given = PairArguments(*args[: len(PairArguments._fields)])
            self.calls.append((given.pairs(), given.backend))
        found = op(*args, **(kwargs or {}))
        if op is ops.center_spread_backward.default:
            self.added = found.numel() * found.itemsize
        return found


def step_seconds(function: Callable[..., Any], sizes: Sizes, backend: str = "auto", repeats: int = 5) -> float:
    """Median time of a forward and backward pass on this machine's CPU, on random inputs, after one to warm up."""
    arguments = _arguments(function, sizes)
    with torch.no_grad():
        for tensor in arguments.values():
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                tensor.normal_()
    arguments["labels"] = torch.arange(sizes.batch) // 2 % sizes.classes  # in pairs
    arguments["proxy_labels"] = torch.arange(sizes.classes).repeat_interleave(sizes.per_class)
    taken = {name: value for name, value in arguments.items() if name in inspect.signature(function).parameters}
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        value = function(**taken, backend=backend)
        (value[0] if isinstance(value, tuple) else value).sum().backward()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])
