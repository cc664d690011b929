"""Run a model again without running again what comes before one of its submodules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from dmlkernels.couce.reusable import Output, signature


class Call(NamedTuple):
    """A call of a submodule in the first pass."""

    module: nn.Module
    arguments: Any  # their signature
    output: Output | None  # if it may be used again


@contextmanager
def recorded(modules: Mapping[nn.Module, bool], done: Sized) -> Iterator[list[Call]]:
    """The calls of these modules, in order, until ``done`` has items; without those that one makes of another.

    Args:
        modules: all that are to be called in the same order again, and whether to keep their outputs for a second use.
    """
    calls: list[Call] = []
    inside = _Flag()

    def record(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def recording(*args: Any, **kwargs: Any) -> Any:
            if done or inside:
                return forward(*args, **kwargs)
            arguments = signature((args, kwargs))
            with inside:
                output = forward(*args, **kwargs)
            if not done:
                calls.append(Call(module, arguments, Output(output) if modules[module] else None))
            return output

        return recording

    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(patched(module, partial(record, module)))
        yield calls


@contextmanager
def replayed(modules: Iterable[nn.Module], calls: list[Call], done: Sized) -> Iterator[None]:
    """Hand out the recorded outputs, until ``done`` has items.

    Only while modules are called in the recorded order, with arguments of the recorded kinds, and only to a module that
    was called once: which of several outputs belongs to a call could depend on the values of its arguments. An output
    that was written into since is not what the module returned. In all other cases the module runs again.
    """
    remaining = iter(calls)
    times = Counter(call.module for call in calls)
    inside, differs = _Flag(), _Flag()

    def replay(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def replaying(*args: Any, **kwargs: Any) -> Any:
            if done or inside or differs:
                return forward(*args, **kwargs)
            call = next(remaining, None)
            if call is None or call.module is not module or call.arguments != signature((args, kwargs)):
                differs.up = True
            elif times[module] == 1 and call.output is not None and call.output.intact:
                return call.output.value
            with inside:
                return forward(*args, **kwargs)

        return replaying

    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(patched(module, partial(replay, module)))
        yield


@contextmanager
def patched(module: nn.Module, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Wrap the forward of a module, or what its forward was compiled to, for calls by this thread."""
    name = "forward" if getattr(module, "_compiled_call_impl", None) is None else "_compiled_call_impl"
    original, thread, own = getattr(module, name), threading.get_ident(), name in vars(module)
    wrapped = wrap(original)

    def choose(*args: Any, **kwargs: Any) -> Any:
        return (wrapped if threading.get_ident() == thread else original)(*args, **kwargs)

    vars(module)[name] = choose
    try:
        yield
    finally:
        if own:
            vars(module)[name] = original
        else:
            del vars(module)[name]


@contextmanager
def on_return(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """Change what calls of a module by this thread return, after all hooks of others."""
    if getattr(module, "_compiled_call_impl", None) is not None:
        # A hook would become part of what is compiled, anew for each batch.
        with patched(module, lambda compiled: lambda *args, **kwargs: change(compiled(*args, **kwargs))):
            yield
        return
    thread = threading.get_ident()

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        return change(output) if threading.get_ident() == thread else output

    with module.register_forward_hook(hook):
        yield


class _Flag:
    """Up within a ``with`` block."""

    up = False

    def __bool__(self) -> bool:
        return self.up

    def __enter__(self) -> None:
        self.up = True

    def __exit__(self, *_: object) -> None:
        self.up = False
