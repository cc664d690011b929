"""Errors against the noise of training's end, for every loss and backend here: ``python -m benchmarks.accuracy``.

Samples lie at a distance from the proxies of their classes, which stand at equal angles: at noise 1 training has hardly
begun, at 1e-4 it has converged, and what PD-Loss takes the variance of hardly varies. Everything is float32, and beside
ours stands the dense formula in float32; the truth is that formula in float64. Half a minute on a CPU.

Writes the table between the markers of docs/accuracy.md, and docs/images/accuracy.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.records import provenance
from benchmarks.harness.steps import BOTH, Step
from benchmarks.problems.inputs import Inputs
from benchmarks.problems.losses import ADAPTIVE, LOSSES, Loss
from benchmarks.problems.variants import our_backends
from benchmarks.report import between_markers
from benchmarks.reporting.pictures import accuracy
from dmlkernels.backends.blocked import closed_form

ROOT = Path(__file__).resolve().parents[1]
NOISE = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
DENSE, CLOSED_FORM = "dense, float32", ", closed form"
FLOOR = (
    1e-3  # of values that are compared, 1; gradients of a row smaller than this are compared as if they were so large
)
QUADRATIC = ("pd", "odba")


class Size(NamedTuple):
    """Sizes of the problem. There must be no more classes than dimensions."""

    batch: int = 512
    classes: int = 100
    dim: int = 128
    atoms: int = 64
    seeds: int = 3


class Errors(NamedTuple):
    """Largest errors of all draws: of the value relative to it or 1, of a gradient relative to its largest entry."""

    value: float
    gradient: float


Results = dict[str, dict[str, list[Errors]]]  # loss -> variant -> one for each noise


def converged(size: Size, noise: float, seed: int, group: int = 1) -> Inputs:
    """Make the inputs, in float64. Of several proxies of a class all but the first are as far off as samples."""
    generator = torch.Generator().manual_seed(seed)

    def directions(rows: int) -> Tensor:
        drawn = torch.randn(rows, size.dim, dtype=torch.float64, generator=generator)
        return F.normalize(drawn)

    corners = torch.eye(size.classes, size.dim, dtype=torch.float64)
    classes = F.normalize(corners - corners.mean(0)) @ torch.linalg.qr(directions(size.dim))[0]
    labels = torch.arange(size.batch) % size.classes
    proxy_labels = torch.arange(size.classes).repeat_interleave(group)
    aside = directions(len(proxy_labels)) * (torch.arange(len(proxy_labels)) % group > 0)[:, None]
    first, second = (classes[labels] + noise * directions(size.batch) for _ in range(2))
    return Inputs(first, labels, classes[proxy_labels] + noise * aside, proxy_labels, directions(size.atoms), second)


def measure(loss: Loss, size: Size, noise: float, device: str) -> dict[str, Errors]:
    """Measure the errors of every variant that can run."""
    variants = [DENSE, *(f"ours, {backend}" for backend in our_backends(device))]
    if loss.name in QUADRATIC and device == "cpu":
        variants += [variant + CLOSED_FORM for variant in variants[1:]]
    found: dict[str, list[Errors]] = {variant: [] for variant in variants}
    for seed in range(size.seeds):
        wide = converged(size, noise, seed, 2 if loss.several_proxies == "centers_per_class" else 1)
        given = Inputs(*(x.to(device, torch.float32 if x.is_floating_point() else x.dtype) for x in wide))
        true = _outcome(loss, DENSE, Inputs(*(x.double() if x.is_floating_point() else x for x in given)))
        for variant in variants:
            with _form(variant):
                found[variant].append(_errors(_outcome(loss, variant, given), true, size.batch))
    return {variant: Errors(*map(max, zip(*errors, strict=True))) for variant, errors in found.items()}


def _form(variant: str) -> AbstractContextManager[object]:
    """Force tiles or the closed form, as the variant says."""
    if variant == DENSE:
        return nullcontext()
    return mock.patch.object(closed_form, "is_cheaper", return_value=variant.endswith(CLOSED_FORM))


def _outcome(loss: Loss, variant: str, inputs: Inputs) -> list[Tensor]:
    given = Inputs(*(x.detach().clone() for x in inputs))
    leaves = [getattr(given, name).requires_grad_() for name in loss.leaves]
    backend = variant.removeprefix("ours, ").removesuffix(CLOSED_FORM)
    return Step(loss.reference(given) if variant == DENSE else loss.ours(given, backend), leaves).outcome(BOTH)


def _errors(found: Sequence[Tensor], true: Sequence[Tensor], batch: int) -> Errors:
    """Compute the errors, each gradient by itself; a mean over the batch makes those of its rows small, not inexact."""

    def relative(a: Tensor, b: Tensor, floor: float) -> float:
        error = (a.double() - b).abs().max() / b.abs().max().clamp_min(floor)
        return float(error.nan_to_num(torch.inf))

    gradients = [relative(a, b, FLOOR / batch) for a, b in zip(found[1:], true[1:], strict=True)]
    return Errors(relative(found[0], true[0], 1.0), max(gradients))


def table(results: Results) -> Iterator[str]:
    """Make the table, with value and gradients in a cell."""
    yield f"| loss | | {' | '.join(f'{noise:g}' for noise in NOISE)} |"
    yield f"| --- | --- |{' --- |' * len(NOISE)}"
    for name, variants in results.items():
        for variant, errors in variants.items():
            cells = " | ".join(f"{error.value:.0e}, {error.gradient:.0e}" for error in errors)
            shown = name.replace("_", " ") if variant == DENSE else ""
            yield f"| {shown} | {variant} | {cells} |"


def page(results: Results, size: Size, origin: dict[str, Any]) -> Iterator[str]:
    """Write what stands between the markers."""
    yield "![errors against noise](images/accuracy.png)\n"
    yield (
        f"B {size.batch}, {size.classes} classes, D {size.dim}, the largest error of {size.seeds} draws. In each cell: "
        "of the value, of the gradients.\n"
    )
    yield from table(results)
    yield (
        f"\n{origin['device']}; torch {origin['versions']['torch']}; commit {origin['commit']}"
        f"{' with changes not committed' if origin['modified'] else ''}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "accuracy.md", help="the picture goes beside it")
    options = parser.parse_args()
    size, results = Size(), Results()
    for name, loss in (LOSSES | ADAPTIVE).items():
        by_noise = [measure(loss, size, noise, options.device) for noise in NOISE]
        results[name] = {variant: [errors[variant] for errors in by_noise] for variant in by_noise[0]}
        print(*table({name: results[name]}), sep="\n", flush=True)
    lines = page(results, size, provenance(options.device))
    options.page.write_text(
        between_markers(options.page.read_text(encoding="utf-8"), "\n".join(lines)), encoding="utf-8"
    )
    accuracy(results, NOISE, options.page.parent / "images" / "accuracy.png")


if __name__ == "__main__":
    main()
