"""Measures peak extra memory, each time in a process of its own.

Started as ``python -m benchmarks.harness.zygote MODULE...``: imports the modules once and then, for every request that
comes in as a JSON line, forks a child that does the work and answers with a JSON line. A child starts from the same
clean state in a few milliseconds, where a new interpreter would spend seconds on importing torch.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.harness.peak import peak_extra_bytes

_POLL_SECONDS = 0.01


def serve() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        answer = _measure(request)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    killed = _watch(pid, request["limit_bytes"], request["limit_seconds"])
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    if killed:
        return {"status": killed}
    return json.loads(said) if said else {"status": "failed", "reason": "the child died; the system may have killed it"}


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    module, _, name = request["target"].partition(":")
    try:
        prepare = getattr(importlib.import_module(module), name)
        extra = peak_extra_bytes(prepare(**request["arguments"]), request["device"])
    except Exception as error:
        no_memory = isinstance(error, MemoryError) or "memory" in str(error).lower()
        return {
            "status": "does not fit" if no_memory else "failed",
            "reason": f"{type(error).__name__}: {error}".splitlines()[0][:300],
        }
    return {"status": "ok", "extra_bytes": extra}


def _watch(pid: int, limit_bytes: int, limit_seconds: float) -> str:
    """Wait for the child. Returns why it had to be killed, or an empty string."""
    deadline = time.monotonic() + limit_seconds
    reason = ""
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if _resident(pid) > limit_bytes:
            reason = "does not fit"
        elif time.monotonic() > deadline:
            reason = "too slow"
        if reason:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return reason
        time.sleep(_POLL_SECONDS)
    return reason


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123 - read a hundred times a second
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


if __name__ == "__main__":
    serve()
