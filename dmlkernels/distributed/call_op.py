"""A call of a loss on all ranks as one custom op, which torch.compile keeps in its graph.

What travels depends on what the ranks tell each other, such as how many samples each has, so a compiler cannot look
inside. The op runs the call as without a compiler, with its own autograd graph, and its derivative runs that graph
backward.
"""

from __future__ import annotations

import ast
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from dmlkernels.backends.autocast import has_autocast
from dmlkernels.distributed.agreement import WHOLE
from dmlkernels.distributed.calls import call_across_ranks
from dmlkernels.distributed.group import is_dtensor
from dmlkernels.ops.library import ReverseMode, first_order, register

FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""Losses by name, without ``across_ranks``."""

LAYOUTS: dict[str, tuple[Any, Any]] = {}
"""Mesh and placements of DTensors, by a name of both."""


class Call(NamedTuple):
    """What the compiler takes as constant; its ``repr`` is an argument of the op."""

    function: str
    group: str  # name of the process group, "" for None
    names: tuple[str, ...]  # of the tensors
    layouts: tuple[str, ...]  # of those that are the parts of a DTensor, "" for others
    numbers: tuple[str, ...]  # names of the options that are numbers
    constants: tuple[tuple[str, Any], ...]  # other options
    num_parts: int  # results beside the loss
    updates: tuple[str, ...]  # names of tensors that the call updates: their new values are results, too


class _Graph(bytearray):
    """The autograd graph of a call. A tensor made of these bytes keeps it, and is how backward finds it."""

    results: list[Tensor]
    leaves: list[Tensor]


_graphs: weakref.WeakValueDictionary[int, _Graph] = weakref.WeakValueDictionary()
_numbers = count()  # of the graphs


@lru_cache(maxsize=256)
def _parse(call: str) -> Call:
    return Call(*ast.literal_eval(call))


def _group_of(name: str) -> Any:
    resolve: Any = distributed.distributed_c10d._resolve_process_group  # type: ignore[attr-defined]
    return resolve(name) if name else None


def _flat(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    loss, parts = found
    return [loss, *parts.values()]


def _options(call: Call, integers: Sequence[int], floats: Sequence[float]) -> dict[str, Any]:
    numbers = (*map(int, integers), *map(float, floats))
    return dict(zip(call.numbers, numbers, strict=True)) | dict(call.constants)


def _forward(
    tensors: Sequence[Tensor], lengths: Sequence[int], wants: Sequence[bool], text: str, integers: Sequence[int],
    floats: Sequence[float], autocast: bool, dtype: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    call, graph = _parse(text), _Graph(8)
    with _autograd(any(wants)), _autocast(tensors[0].device.type, autocast, dtype):
        graph.leaves = [tensor.detach().requires_grad_(want) for tensor, want in zip(tensors, wants, strict=True)]
        given = {
            name: _placed(leaf, layout, length) if layout else leaf
            for name, leaf, layout, length in zip(call.names, graph.leaves, call.layouts, lengths, strict=True)
        }
        proxies = next((value for value in given.values() if is_dtensor(value)), None)
        options = {**given, **_options(call, integers, floats), "process_group": _group_of(call.group)}
        for name in call.updates:
            options[name] = options[name].clone()
        graph.results = _flat(call_across_ranks(FUNCTIONS[call.function], _group_of(call.group), proxies, (), options))
        graph.results += [options[name] for name in call.updates]
    number = next(_numbers)
    key = torch.frombuffer(graph, dtype=torch.int64)
    key.fill_(number)
    _graphs[number] = graph
    return [key, *(result.detach() for result in graph.results)]


def _placed(local: Tensor, layout: str, length: int) -> Any:
    from torch.distributed.tensor import DTensor

    mesh, placements = LAYOUTS[layout]
    shape = torch.Size((length, *local.shape[1:]))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=shape, stride=stride)


def _autograd(wanted: bool) -> AbstractContextManager[object]:
    """Context within an op, where there is no autograd, that has it again."""
    if not wanted:
        return torch.no_grad()
    return _Autograd()


class _Autograd:
    def __enter__(self) -> None:
        excluded = torch._C._dispatch_tls_local_exclude_set()
        for name in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor", "ADInplaceOrView"):
            excluded = excluded.remove(getattr(torch._C.DispatchKey, name))
        self._guard = torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)
        self._guard.__enter__()
        self._mode = torch.enable_grad()
        self._mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)
        self._guard.__exit__(*error)


def _autocast(device: str, enabled: bool, dtype: torch.dtype) -> AbstractContextManager[object]:
    """As it was where the op was called."""
    if has_autocast(device):
        return torch.autocast(device, dtype, enabled)
    return nullcontext()


def _fake_forward(
    tensors: Sequence[Tensor], lengths: Sequence[int], wants: Sequence[bool], text: str, integers: Sequence[int],
    floats: Sequence[float], autocast: bool, dtype: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    """The results have the shapes of those of one process.

    A fault is not raised here, where the other ranks would not hear of it, but by the call itself.
    """
    call, given = _parse(text), {}
    for name, tensor, layout, length in zip(call.names, tensors, call.layouts, lengths, strict=True):
        if layout:
            tensor = tensor.new_empty((length, *tensor.shape[1:]))
        elif name not in WHOLE and length == 0:  # an empty part, which one process does not take
            tensor = tensor.new_empty((1, *tensor.shape[1:])) if tensor.dim() else tensor
        given[name] = tensor
    try:
        found = _flat(FUNCTIONS[call.function](**given, **_options(call, integers, floats)))
    except (ValueError, TypeError):
        found = [tensors[0].new_empty((), dtype=torch.float32)] * (1 + call.num_parts)
    rows = lengths[0]
    results = (result.new_empty(result.shape and (rows, *result.shape[1:])) for result in found)
    updates = (torch.empty_like(given[name]) for name in call.updates)
    return [torch.empty(1, dtype=torch.int64), *results, *updates]


def _backward(graph: Tensor, gradient: Tensor, tensors: Sequence[Tensor], wants: Sequence[bool]) -> list[Tensor]:
    found = _graphs.get(int(graph))
    if found is None:
        raise RuntimeError(
            "a compiled loss across ranks has lost its graph: no hook around it may copy saved tensors, as save_on_cpu "
            "does"
        )
    leaves = [leaf for leaf, want in zip(found.leaves, wants, strict=True) if want]
    gradients = torch.autograd.grad(found.results[0], leaves, gradient, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if one is None else one for one, leaf in zip(gradients, leaves, strict=True)]


def _fake_backward(graph: Tensor, gradient: Tensor, tensors: Sequence[Tensor], wants: Sequence[bool]) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor, want in zip(tensors, wants, strict=True) if want]


class RanksLoss(ReverseMode):
    """ranks_forward, with ranks_backward as its derivative."""

    @classmethod
    def apply(cls, tensors: Sequence[Tensor], *options: Any) -> list[Tensor]:
        return list(super().apply(options, *tensors))

    @staticmethod
    def forward(ctx: Any, options: tuple[Any, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        graph, loss, *parts = ranks_forward(tensors, *options)
        ctx.mark_non_differentiable(graph, *parts)
        ctx.set_materialize_grads(False)
        ctx.wants = options[1]
        ctx.save_for_backward(graph, *tensors)
        return graph, loss, *parts

    @staticmethod
    def backward(ctx: Any, nothing: None, gradient: Tensor | None, *none: None) -> tuple[Tensor | None, ...]:
        graph, *tensors = ctx.saved_tensors
        if gradient is None:
            return (None,) * (1 + len(tensors))
        found = iter(ranks_backward(graph, gradient, tensors, ctx.wants))
        return None, *(next(found) if want else None for want in ctx.wants)


class _FirstOrder(first_order(lambda: ranks_backward)):  # type: ignore[misc]
    @classmethod
    def apply(cls, graph: Tensor, gradient: Tensor, *others: Any) -> list[Tensor]:
        return list(super().apply(graph, gradient, *others))


ranks_forward: Any = register(
    "ranks_forward",
    "(Tensor[] tensors, SymInt[] lengths, bool[] wants, str call, SymInt[] integers, float[] floats, bool autocast, "
    "ScalarType dtype) -> Tensor[]",
    _forward,
    _fake_forward,
    RanksLoss,
)
ranks_backward: Any = register(
    "ranks_backward",
    "(Tensor graph, Tensor gradient, Tensor[] tensors, bool[] wants) -> Tensor[]",
    _backward,
    _fake_backward,
    _FirstOrder,
)
