"""How many times a step launches work on a GPU, counted without one.

The step runs on tensors of the meta device through the code that a GPU would take: custom ops run their
implementation, and Triton's launches are recorded instead of compiled. What is counted:

- each launch of a kernel of this package: one;
- each aten operation that computes or copies, as it is dispatched below autograd: one, or what ``SEVERAL`` says;
- nothing for views, for memory that is allocated without being written, and for results on the CPU.

That is a lower bound of what a profiler shows where an operation of PyTorch launches several kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.jit import JITFunction

from dmlkernels.backends import registry
from dmlkernels.backends.blocked import host
from dmlkernels.backends.registry import Availability
from dmlkernels.backends.triton import launcher, run
from dmlkernels.backends.triton.plan import Architecture
from dmlkernels.ops import labels, labels_at_once, margins, pair_losses, pairs, spread

# Copy, indices and the sort itself; linear indices (3), their sort (3), and the sums.
SEVERAL = {"sort": 3, "index_put": 7, "index_put_": 7}
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_"}
_METADATA = {"_unsafe_view", "detach", "alias", "is_same_size", "lift_fresh", "device"}
_IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {
    "resolve_labels": labels._resolve_labels,
    "resolve_pair_labels": labels._resolve_pair_labels,
    "labels_at_once": labels_at_once._resolve,
    "pair_forward": pairs._forward,
    "pair_backward": pairs._backward,
    "pair_loss_forward": pair_losses._forward,
    "pair_loss_backward": pair_losses._backward,
    "center_spread": spread._forward,
    "center_spread_backward": spread._backward,
    "row_norms": margins.margins.row_norms,
    "row_norms_backward": margins.margins.row_norms_backward,
    "positive_cosines": margins.margins.positive_cosines,
    "norm_quality": margins._quality,
    "curricular_values": margins._curricular,
}


class Launches(NamedTuple):
    """Names of what was launched, in order, forward and backward."""

    forward: list[str]
    backward: list[str]

    @property
    def total(self) -> int:
        return len(self.forward) + len(self.backward)

    def __str__(self) -> str:
        parts = (", ".join(f"{count} {name}" for name, count in Counter(part).items()) for part in self)
        return "; ".join(parts)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.launched: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        namespace, name = func.name().split(".")[0].split("::")
        if namespace == "dmlkernels":
            with self:
                return _IMPLEMENTATIONS[name](*args, **(kwargs or {}))
        found = func(*args, **(kwargs or {}))
        on_device = any(isinstance(leaf, Tensor) and leaf.device.type == "meta" for leaf in tree_leaves(found))
        free = name in _ALLOCATIONS or name in _METADATA or (func.is_view and _shares_memory(found, args))
        if on_device and not free:
            self.launched += [name] * SEVERAL.get(name, 1)
        return found


def _shares_memory(found: Any, args: Sequence[Any]) -> bool:
    """Whether views are views: ``contiguous`` and ``reshape`` copy where they must."""

    def storages(tree: Any) -> set[int]:
        return {leaf.untyped_storage()._cdata for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}

    return storages(found) <= storages(args)


@contextmanager
def pretended_gpu(launched: Callable[[str], None], arch: Architecture | None = None) -> Iterator[None]:
    """Meta tensors are a GPU's, of compute capability 9.0 by default; kernels that Triton would launch are named."""
    with ExitStack() as stack:

        def replace(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        replace(launcher, "_remembers", False)
        replace(JITFunction, "run", lambda self, *args, grid, warmup, **options: launched(self.__name__))
        replace(registry, "_availability", lambda name, device_type=None: Availability(name == "triton"))
        replace(registry, "_preferred", lambda device_type: iter(["triton"]))
        replace(run, "architecture", lambda device: arch or Architecture("cuda", 90))
        replace(host, "has_float64", lambda tensor: True)
        yield


def count(step: Callable[[], Tensor]) -> Launches:
    """Of one step: the loss, a scalar, and its backward pass."""
    recorder = _Recorder()
    with pretended_gpu(recorder.launched.append), recorder:
        loss = step()
        forward, recorder.launched[:] = list(recorder.launched), []
        loss.backward()
    return Launches(forward, recorder.launched)
