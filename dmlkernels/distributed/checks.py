"""Checks that a module makes before its call across ranks, as a part of what the ranks agree on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from dmlkernels.distributed.agreement import Numbers, Step
from dmlkernels.distributed.group import Ranks

P = ParamSpec("P")
T = TypeVar("T")


class Spread(Protocol):
    """A module that may have a part of a batch on each of several ranks."""

    def _ranks(self) -> Ranks | None:
        """The ranks of a call; None for this process alone."""


S = TypeVar("S", bound=Spread)


def before_agreement(check: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Decorate a method that makes a module's checks: what it raises on one rank is raised on all.

    The rank at fault tells the others in the agreement that they come to next, so there is no collective without a
    fault. Whoever passes the check must come to an agreement of ``_ranks()``.
    """

    @functools.wraps(check)
    def call(self: S, /, *args: P.args, **options: P.kwargs) -> T:
        try:
            return check(self, *args, **options)
        except Exception as error:
            ranks = self._ranks()
            if ranks is None:
                raise
            with Step(type(self).__name__, ranks):
                raise error

    return call


def check_same(name: str, ranks: Ranks, arguments: dict[str, Any]) -> None:
    """Let the ranks of a call agree that all make it, and with the same arguments."""
    with Step(name, ranks) as step:
        step.describe(arguments)
        step.agree(Numbers())
