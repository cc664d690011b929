"""Run a model again without running again what comes before one of its submodules."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import nn

from dmlkernels.couce.reusable import Output, signature


class Call(NamedTuple):
    """A call of a submodule in the first pass."""

    module: nn.Module
    arguments: Any  # their signature
    output: Output


@contextmanager
def recorded(modules: Iterable[nn.Module], done: Sized) -> Iterator[list[Call]]:
    """The calls of these modules, in order, until ``done`` has items; without those that one makes of another."""
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
                calls.append(Call(module, arguments, Output(output)))
            return output

        return recording

    with ExitStack() as patches:
        for module in modules:
            patches.enter_context(patched(module, record(module, module.forward)))
        yield calls


@contextmanager
def replayed(calls: list[Call], done: Sized) -> Iterator[None]:
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
            elif times[module] == 1 and call.output.intact:
                return call.output.value
            with inside:
                return forward(*args, **kwargs)

        return replaying

    with ExitStack() as patches:
        for module in times:
            patches.enter_context(patched(module, replay(module, module.forward)))
        yield


@contextmanager
def patched(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the forward of a module for calls by this thread."""
    original, thread = module.forward, threading.get_ident()

    def choose(*args: Any, **kwargs: Any) -> Any:
        return (forward if threading.get_ident() == thread else original)(*args, **kwargs)

    vars(module)["forward"] = choose
    try:
        yield
    finally:
        del vars(module)["forward"]


@contextmanager
def on_return(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """Change what calls of a module by this thread return, after all hooks of others."""
    thread = threading.get_ident()

    def chosen(output: Any) -> Any:
        return change(output) if threading.get_ident() == thread else output

    compiled = getattr(module, "_compiled_call_impl", None)
    if compiled is None:
        with module.register_forward_hook(lambda _, __, output: chosen(output)):
            yield
    else:  # around it: a hook would become part of what is compiled, anew for each batch
        module._compiled_call_impl = lambda *args, **kwargs: chosen(compiled(*args, **kwargs))
        try:
            yield
        finally:
            module._compiled_call_impl = compiled


class _Flag:
    """Up within a ``with`` block."""

    up = False

    def __bool__(self) -> bool:
        return self.up

    def __enter__(self) -> None:
        self.up = True

    def __exit__(self, *_: object) -> None:
        self.up = False
