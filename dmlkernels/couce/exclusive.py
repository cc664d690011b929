"""Let one thread at a time change the settings of a module."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import nn

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_registration = threading.Lock()


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Wait until no other thread holds the model or any part of it, then hold all of it."""
    with _registration:
        locks = {id(module): _locks.setdefault(module, threading.RLock()) for module in model.modules()}
    with ExitStack() as stack:
        for _, lock in sorted(locks.items()):  # in one order for everybody: no deadlock
            stack.enter_context(lock)
        yield
