"""Stop between two steps when SIGINT or SIGTERM asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedError(Exception):
    """Training was interrupted, and its state is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """The number of the signal that asked to stop, 0 before."""

    number = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note the first signal; a second one of the same kind does what it always does, for the impatient."""
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        request.number = number
        signal.signal(number, before[number])

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
