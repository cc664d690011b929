"""The checks in the order in which they tell most: a run that is cut short has answered what matters first.

``python -m tests.gpu`` starts this in several processes, which share out the checks; most of the time goes to compiling
kernels, on the CPU. Each answer is written at once.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from tests import losses
from tests.gpu import checks
from tests.triton.common import KINDS

# A kind for each epilogue and way of the kernels; the other kinds come later.
EPILOGUES = (
    "logsumexp", "moments", "field", "fused", "divergence", "square", "soft_triple", "sub_center", "circle",
    "row_logsumexp", "row_circle", "row_sub_center", "moments_within", "logsumexp_labelled",
)  # fmt: skip
USED_MOST = (losses.PD, losses.SOFTMAX, losses.FIELD, losses.ANCHOR, losses.FUSED)
TO_COLUMNS = (losses.SOFTMAX, losses.PD, losses.ANCHOR, losses.ARCFACE, losses.COSFACE, losses.KL, losses.SOFT_TRIPLE)
BROKEN = 3  # exit status: the device takes no more work from this process


class Check(NamedTuple):
    name: str
    run: Callable[[], object]


def in_order() -> Iterator[Check]:
    """Every check once."""
    for dtype in (torch.bfloat16, torch.float32, torch.float16):
        yield from _accuracy(EPILOGUES, "small", dtype)
    run = partial(checks.closed_form_keeps_collapsed_variances, torch.float32, "high")
    yield Check("closed form", run)
    for loss in losses.LOSSES:
        yield Check(f"the reference there, {loss}", partial(checks.reference_is_the_same, loss))
    for loss in USED_MOST:
        yield Check(f"the host never waits, {loss}", partial(checks.host_never_waits, loss))
        yield Check(f"CUDA graph, {loss}", partial(checks.graph_capture_and_replay, loss))
    for loss in TO_COLUMNS:
        yield Check(f"autocast to bfloat16, {loss}", partial(checks.autocast, loss, torch.bfloat16))
    for kind in EPILOGUES:
        yield Check(f"tf32, {kind}", partial(checks.tf32, kind, "high"))
    yield Check("tf32 leaves no bias", checks.tf32_leaves_no_bias)
    for dtype, precision in ((torch.float32, "high"), (torch.float32, "highest"), (torch.float16, "highest")):
        for dim in (64, 128, 256):  # Hopper's tiles have other instructions where fewer than 64 rows are streamed
            run = partial(checks.scores_are_the_same_from_both_sides, dtype, precision, dim)
            yield Check(f"same scores, {str(dtype).removeprefix('torch.')} at {precision}, D = {dim}", run)
    yield Check("two million columns", partial(checks.two_million_columns, torch.bfloat16))
    for loss in USED_MOST:
        yield Check(f"one graph of torch.compile, {loss}", partial(checks.compiles_into_one_graph, loss))
    yield from _accuracy(EPILOGUES, "medium", torch.bfloat16)
    for kind in EPILOGUES:
        run = partial(checks.twenty_runs_give_the_same_bits, kind, "medium", torch.bfloat16)
        yield Check(f"twenty runs give the same bits, {kind}", run)
    yield from _accuracy([kind for kind in KINDS if kind not in EPILOGUES], "small", torch.bfloat16)
    for loss in (one for one in losses.LOSSES if one not in USED_MOST):
        yield Check(f"the host never waits, {loss}", partial(checks.host_never_waits, loss))
        yield Check(f"CUDA graph, {loss}", partial(checks.graph_capture_and_replay, loss))
        yield Check(f"one graph of torch.compile, {loss}", partial(checks.compiles_into_one_graph, loss))
    for dtype, size in ((torch.float16, "medium"), (torch.float32, "odd")):  # too long for both gradients at once
        yield from _accuracy(EPILOGUES, size, dtype)
    yield from _accuracy(EPILOGUES, "small", torch.float64)


def _accuracy(kinds: Iterable[str], size: str, dtype: torch.dtype) -> Iterator[Check]:
    name = str(dtype).removeprefix("torch.")
    return (Check(f"{name}, {size}, {kind}", partial(checks.accuracy, kind, size, dtype)) for kind in kinds)


def part_of(part: str, only: str = "") -> list[Check]:
    """Every nth check from the ith on of those with this in their name; ``part`` is i/n."""
    first, every = map(int, part.split("/"))
    return [check for check in in_order() if re.search(only, check.name)][first::every]


def run(asked: Iterable[Check], seconds: float, record: Path) -> int:
    """Answer in order until time is up or the device fails; a line of JSON for each answer, also for what was left.

    Returns:
        0 if all was well, 1 if a check failed, ``BROKEN`` if the device did.
    """
    deadline, status = time.monotonic() + seconds, 0
    with record.open("a", encoding="utf-8") as lines:
        for check in asked:
            started = time.monotonic()
            answer = "no time" if started > deadline else _answer(check)
            found = {"check": check.name, "answer": answer, "seconds": round(time.monotonic() - started, 2)}
            lines.write(json.dumps(found) + "\n")
            lines.flush()
            sys.stdout.write(f"{found['seconds']:7.2f} s  {check.name}: {answer}\n")
            sys.stdout.flush()
            if answer not in ("ok", "no time"):
                status = 1
            if "CUDA error" in answer or "Error [CUDA]" in answer:  # torch's words and Triton's
                return BROKEN
    return status


def _answer(check: Check) -> str:
    """Run a check; "ok", or what went wrong, in a line."""
    try:
        check.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    return "ok"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path, help="file to append answers to")
    parser.add_argument("--seconds", type=float, default=600.0, help="start no check after so long")
    parser.add_argument("--part", default="0/1", help="i/n: every nth check from the ith on")
    parser.add_argument("--skip", type=int, default=0, help="checks of the part that have an answer already")
    parser.add_argument("--only", default="", help="a regular expression: checks with this in their name")
    options = parser.parse_args()
    return run(part_of(options.part, options.only)[options.skip :], options.seconds, options.record)


if __name__ == "__main__":
    sys.exit(main())
