"""The variants of a loss: ours on every backend, the references, the libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import dmlkernels
from benchmarks.harness.steps import Step
from benchmarks.problems import libraries
from benchmarks.problems.baselines import ONE_PROXY_PER_CLASS, PLAIN
from benchmarks.problems.inputs import Case, Inputs, make_inputs
from benchmarks.problems.losses import LOSSES

REFERENCE, COMPILED, PLAIN_TORCH = "reference", "reference, compiled", "plain PyTorch"
PML, CHUNKED = "pytorch-metric-learning", "linear_cross_entropy, chunked"
LIGER, CUT = "liger-kernel", "cut-cross-entropy"


def ours(backend: str) -> str:
    return f"ours, {backend}"


def is_ours(name: str) -> bool:
    return name.startswith("ours")


def variant_names(case: Case) -> list[str]:
    """What there is to compare on this case, ours first."""
    on_gpu = torch.device(case.device).type == "cuda"
    names = [ours(backend) for backend in our_backends(case.device)]
    names += [REFERENCE, COMPILED]
    single = case.shape.group == 1
    if case.loss in PLAIN and (single or case.loss not in ONE_PROXY_PER_CLASS):
        names.append(PLAIN_TORCH)
    if case.loss in libraries.PML_LOSSES and (single or case.loss == "soft_triple"):
        names.append(PML)
    if case.loss == "normalized_softmax" and single:
        names += [CHUNKED] if libraries.has_linear_cross_entropy() else []
        names += [LIGER] if on_gpu and libraries.has("liger_kernel") else []
        half = case.dtypes[0].itemsize == 2  # it rounds both operands
        names += [CUT] if on_gpu and half and libraries.has("cut_cross_entropy") else []
    return names


def our_backends(device: str) -> list[str]:
    """List the backends that can run, and that ``auto`` could choose on this device."""
    kind = {"triton": "cuda", "native": "cpu"}
    here = torch.device(device).type
    return [name for name, able in dmlkernels.available_backends().items() if able and kind.get(name, here) == here]


def make_step(case: Case, name: str, inputs: Inputs | None = None) -> Step:
    """The step of a variant, on inputs of its own or given ones."""
    loss = LOSSES[case.loss]
    inputs = make_inputs(case) if inputs is None else inputs
    leaves = [getattr(inputs, leaf).requires_grad_() for leaf in loss.leaves]
    if name == PML:
        return libraries.pytorch_metric_learning(case.loss, inputs)
    return Step(_forward(case, name, inputs), leaves)


def _forward(case: Case, name: str, inputs: Inputs) -> Callable[[], Tensor]:
    loss = LOSSES[case.loss]
    if is_ours(name):
        return loss.ours(inputs, name.removeprefix("ours, "))
    others: dict[str, Callable[[], Callable[[], Tensor]]] = {
        REFERENCE: lambda: loss.reference(inputs),
        COMPILED: lambda: loss.reference(inputs, torch.compile),
        PLAIN_TORCH: lambda: lambda: PLAIN[case.loss](inputs),
        CHUNKED: lambda: libraries.linear_cross_entropy(inputs),
        LIGER: lambda: libraries.liger(inputs),
        CUT: lambda: libraries.cut_cross_entropy(inputs),
    }
    return others[name]()


def probe(case: dict[str, Any], name: str, mode: str) -> Callable[[], Tensor]:
    """For the memory probe: the inputs are there and the code is warm when the measured call begins."""
    problem = Case.from_json(case)
    shape = problem.shape
    if name == COMPILED:
        step = make_step(problem, name)
        step.run(mode)
        step.clear()
    else:
        small = replace(shape, batch=min(shape.batch, 8), proxies=min(shape.proxies, 4 * shape.group))
        make_step(replace(problem, shape=small), name).run(mode)
        step = make_step(problem, name)
    return lambda: step.run(mode)
