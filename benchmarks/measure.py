"""Measures the variants of a case: does it fit, how much memory, is it right, how fast. In this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.harness.clocks import clock_for, device_seconds, host_seconds
from benchmarks.harness.correctness import complaint
from benchmarks.harness.memory import Memory, Probe, usable_bytes
from benchmarks.harness.peak import peak_extra_bytes
from benchmarks.harness.records import SAMPLES, Record, provenance
from benchmarks.harness.steps import BOTH, Step
from benchmarks.harness.timing import Timing, time_interleaved
from benchmarks.problems import flops
from benchmarks.problems.fit import least_bytes
from benchmarks.problems.inputs import Case, make_inputs
from benchmarks.problems.losses import TOLERANCES
from benchmarks.problems.truth import truth
from benchmarks.problems.variants import COMPILED, is_ours, make_step, ours, variant_names
from benchmarks.problems.work import counted
from dmlkernels.backends import resolve

PRELOAD = ("benchmarks.problems.variants",)


@dataclass
class Plan:
    """``budget`` seconds go to the timed rounds of a case and mode; memory is measured in the modes listed."""

    budget: float = 2.0
    min_rounds: int = 5
    max_rounds: int = 200
    memory_modes: tuple[str, ...] = (BOTH,)
    memory_of_compiled: bool = False
    limit_seconds: float = 300.0


@dataclass
class _Result:
    status: str = "ok"
    reason: str = ""
    memory: Memory | None = None
    step: Step | None = None
    host_seconds: float | None = None
    device_seconds: float | None = None
    flops: float = 0.0  # of the kernels that ran, 0 where they were not counted
    timing: Timing | None = None


def measure(case: Case, mode: str, probe: Probe, plan: Plan | None = None, names: Sequence[str] = ()) -> list[Record]:
    """Make a record for every variant, in their order."""
    plan = Plan() if plan is None else plan
    results = {name: _Result() for name in names or variant_names(case)}
    for name, result in results.items():
        _fit(case, name, mode, probe, plan, result)
    expected = truth(case) if any(result.status == "ok" for result in results.values()) else []
    inputs = make_inputs(case)
    for name, result in results.items():
        if result.status == "ok":
            result.step = make_step(case, name, inputs)
            _verify(case, mode, expected, result)
            if result.status == "ok" and _on_gpu(case) and mode in plan.memory_modes:
                # torch counts what it allocates there, so this needs no process of its own.
                result.memory = Memory("ok", peak_extra_bytes(_Run(result.step, mode), case.device))
    expected.clear()
    right = {name: result.step for name, result in results.items() if result.step and result.status == "ok"}
    timings = time_interleaved(
        {name: _Run(step, mode) for name, step in right.items()},
        budget=plan.budget,
        min_rounds=plan.min_rounds,
        max_rounds=plan.max_rounds,
        clock=clock_for(case.device),
    )
    for name, timing in timings.items():
        results[name].timing = timing
        if _on_gpu(case):
            results[name].host_seconds = host_seconds(_Run(right[name], mode))
            results[name].device_seconds = device_seconds(_Run(right[name], mode))
        results[name].step = None
    return [_record(case, name, mode, result) for name, result in results.items()]


@dataclass
class _Run:
    step: Step
    mode: str

    def __call__(self) -> None:
        self.step.run(self.mode)


def _fit(case: Case, name: str, mode: str, probe: Probe, plan: Plan, result: _Result) -> None:
    usable, least = usable_bytes(case.device), least_bytes(case, name)
    if least > usable:
        result.status = "does not fit"
        result.reason = f"needs over {least / 2**30:.1f} GiB, {usable / 2**30:.1f} GiB may be used"
    elif mode in plan.memory_modes and (name != COMPILED or plan.memory_of_compiled) and not _on_gpu(case):
        asked = {"case": case.to_json(), "name": name, "mode": mode}
        memory = probe.peak(
            "benchmarks.problems.variants:probe", asked, case.device, usable_bytes("cpu"), plan.limit_seconds
        )
        result.memory, result.status = memory, memory.status
        result.reason = memory.reason or (f"over {usable / 2**30:.1f} GiB" if memory.status == "does not fit" else "")


def _verify(case: Case, mode: str, expected: list[Tensor], result: _Result) -> None:
    assert result.step is not None
    try:
        with counted() as work:
            actual = result.step.outcome(mode)
        result.flops = work.flops
    except torch.OutOfMemoryError as error:
        result.status, result.reason = "does not fit", f"{error}".splitlines()[0][:300]
        return
    except Exception as error:  # another library's, on a size or device that it does not take
        result.status, result.reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return
    wrong = complaint(actual, expected[: len(actual)], TOLERANCES[case.dtypes[0]])
    if wrong:
        result.status, result.reason = "wrong", wrong


def _on_gpu(case: Case) -> bool:
    return torch.device(case.device).type == "cuda"


def _record(case: Case, name: str, mode: str, result: _Result) -> Record:
    record: Record = {
        "kind": "time",
        "loss": case.loss,
        "variant": name,
        "mode": mode,
        "shape": asdict(case.shape),
        "pattern": case.pattern,
        "dtype": case.dtype,
        "seed": case.seed,
        "status": result.status,
        "reason": result.reason,
        "extra_bytes": result.memory.extra_bytes if result.memory else None,
        "default": is_ours(name) and name == ours(resolve("auto", torch.device(case.device).type)),
        "flops_exact": flops.exact(case.loss, case.shape, mode),
    }
    if is_ours(name):
        expected = flops.executed(case.loss, case.shape, mode, 2 if _on_gpu(case) else 1)
        record["flops_executed"] = result.flops or expected
    if result.timing is not None:
        timing = result.timing
        record |= {
            "median_s": timing.median,
            "host_s": result.host_seconds,
            "device_s": result.device_seconds,
            "iqr_s": timing.spread,
            "quartiles_s": timing.quartiles,
            "rounds": len(timing.seconds),
            SAMPLES: [round(s, 9) for s in timing.seconds],
            "exact_flops_per_s": record["flops_exact"] / timing.median,
        }
    return record | provenance(case.device)
