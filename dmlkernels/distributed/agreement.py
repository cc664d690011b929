"""The one small collective that comes before all others of a call: have all ranks the same call, and no error?

Nobody may wait in a collective that another rank never enters. So each rank makes its checks first, and then tells the
others in a few integers how they went: a status, a digest of what must be equal everywhere, and its sizes. Only when
something is wrong are messages sent too, and every rank raises. The integers are exchanged between hosts; no GPU is
waited for.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, distributed

from dmlkernels.distributed.collectives import all_gather
from dmlkernels.distributed.group import Ranks, host_group, is_dtensor

P = ParamSpec("P")
T = TypeVar("T")

# Parts of all else may differ in length.
WHOLE = ("proxies", "centers", "proxy_labels", "atoms", "prior", "active", "class_weights")
MAY_DIFFER = ("process_group", "backend", "validate", "sample_generator")
SHARDABLE = ("proxies", "centers")
READ = ("scale", "margin", "class_weights", "proxy_labels", "prior", "active")  # the first two may be for samples, too


class Numbers(NamedTuple):
    """What each rank tells the others, int64."""

    failed: int = 0
    digest: int = 0
    rows: int = 0  # samples of this rank's part
    valid: int = 0  # those that are not ignored, where the host knows
    genuine: int = 0  # genuine scores, where the host knows and a loss asks
    columns: int = 0  # proxies of this rank's shard
    seed: int = 0  # of random draws; that of the first rank counts


class Step:
    """One call of a loss on all ranks. A function gets it in place of its ``process_group``.

    As a context it raises on every rank what is raised in it on one, before the agreement.
    """

    def __init__(self, name: str, ranks: Ranks) -> None:
        self.name, self.ranks = name, ranks
        self.described: dict[str, str] = {}
        self.everyone: list[Numbers] = []  # after ``agree``, in rank order
        self._told = False

    def describe(self, arguments: dict[str, Any]) -> None:
        """Note what must be equal on all ranks."""
        labels = arguments.get("labels")
        batch = labels.shape[0] if isinstance(labels, Tensor) and labels.dim() else 0
        self.described = {
            name: text for name, value in arguments.items() if (text := _describe(name, value, batch)) is not None
        }

    def agree(self, numbers: Numbers) -> list[Numbers]:
        """Tell and hear; raises on every rank if one of them failed, or has another call.

        The numbers of all ranks, in rank order.
        """
        mine = numbers._replace(digest=_digest(self.name, self.described))
        self.everyone = [Numbers(*row) for row in self._tell(mine)]
        if any(told.failed for told in self.everyone):
            self._raise_failures(None)
        if any(told.digest != mine.digest for told in self.everyone):
            self._raise_difference()
        return self.everyone

    def __enter__(self) -> Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Tell the others of an error, unless they are past the exchange: raise it with this rank's number."""
        if isinstance(error, Exception) and not self._told:
            self._tell(Numbers(failed=1))
            self._raise_failures(error)

    def _tell(self, numbers: Numbers) -> list[list[int]]:
        self._told = True
        group = host_group(self.ranks.group)
        mine = torch.tensor([numbers], dtype=torch.int64, device="cpu")
        return all_gather(mine, group, [1] * self.ranks.size).tolist()

    def _raise_failures(self, error: Exception | None) -> None:
        messages = self._share(None if error is None else str(error) or type(error).__name__)
        failures = [f"rank {rank}: {text}" for rank, text in zip(self.ranks.names, messages, strict=True) if text]
        kind = next((kind for kind in (ValueError, TypeError) if isinstance(error, kind)), RuntimeError)
        raise kind("; ".join(failures)) from error

    def _raise_difference(self) -> None:
        everyone = self._share({"function": self.name, **self.described})
        first, names = everyone[0], self.ranks.names
        for rank, told in zip(names, everyone, strict=True):
            for name in {**first, **told}:
                if told.get(name) != first.get(name):
                    raise RuntimeError(
                        f"{name}: rank {rank} has {told.get(name, 'none')}, rank {names[0]} has "
                        f"{first.get(name, 'none')}; expected the same on all ranks"
                    )
        raise RuntimeError("the ranks do not make the same call")

    def _share(self, value: Any) -> list[Any]:
        everyone: list[Any] = [None] * self.ranks.size
        distributed.all_gather_object(everyone, value, group=host_group(self.ranks.group))
        return everyone


def step_of(process_group: object) -> Step | None:
    """The call across ranks that a decorated function is part of, from the ``process_group`` that it was given."""
    return process_group if isinstance(process_group, Step) else None


def across_ranks(function: Callable[P, T], parts: Sequence[str] = (), updates: Sequence[str] = ()) -> Callable[P, T]:
    """Decorate a loss: with a process group or a DTensor it is called with a ``Step`` in place of the group.

    The function makes its checks and then calls ``Step.agree``. Whatever it raises before is raised on all ranks.

    Args:
        parts: names of what the function returns in a dict beside the loss; none if it returns the loss alone.
        updates: names of the tensors that the function updates in place if it is given a ``momentum``.
    """
    parameters = inspect.signature(function).parameters.values()
    names = tuple(parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY)

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        # One process comes by here at every call: it should cost nothing.
        group = options.get("process_group")
        proxies = None
        for value in args if len(args) > 2 else (*args, *(options.get(name) for name in SHARDABLE)):
            if type(value).__name__ == "DTensor":
                proxies = value
        if group is None and proxies is None:
            return function(*args, **options)
        # Imported when needed: both import the compiler.
        if torch.compiler.is_compiling():
            from dmlkernels.distributed.compiled import capture, is_capturable

            if is_capturable(names, args, options):
                return capture(function, names, (parts, updates), group, args, options)
        from dmlkernels.distributed.calls import call_across_ranks

        return call_across_ranks(function, group, proxies, args, options)

    return call


def _describe(name: str, value: Any, batch: int) -> str | None:
    if name in MAY_DIFFER:
        return None
    if not isinstance(value, Tensor):
        return repr(value) if value is None or isinstance(value, str | Number) else type(value).__name__
    shape = tuple(value.shape if name in WHOLE else value.shape[1:])
    text = f"{value.dtype if value.dtype.is_floating_point else 'integers'} of shape {shape}"
    if is_dtensor(value):
        text += f" placed {value.placements} on {value.device_mesh.shape}"  # type: ignore[attr-defined]
    if value.requires_grad and torch.is_grad_enabled():
        text += " with gradient"
    return text + _describe_values(name, value, batch)


def _describe_values(name: str, value: Tensor, batch: int) -> str:
    """Of an option that is one number, or one for each class or atom: nothing on a GPU, which reading would wait for,
    and nothing of shards."""
    if value.device.type != "cpu" or value.layout != torch.strided:
        return ""
    if value.dim() == 0:
        return f" and value {value.item()}"
    of_samples = name not in WHOLE and tuple(value.shape) in ((batch,), (batch, 1))
    if name not in READ or of_samples or is_dtensor(value):
        return ""
    number = value if value.dtype.is_floating_point else value.long()  # of any type of integers
    data = number.detach().contiguous().view(torch.uint8).numpy().tobytes()
    return f" and checksum {hashlib.blake2b(data, digest_size=4).hexdigest()}"


def _digest(name: str, described: dict[str, str]) -> int:
    text = repr((name, sorted(described.items())))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "little")
