"""Random shapes, dtypes, strides, labels and tile sizes against the reference, and what must not change a loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dmlkernels.backends.blocked import plan
from dmlkernels.backends.triton.availability import interpreted
from tests.cases import IGNORED, Case
from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import Outcome, assert_close, errors, ours, truth
from tests.conformance.strategies import cases, field_options
from tests.losses import FIELD, FIELD_ALONE, FUSED, LOSSES, Loss
from tests.problem import Problem, make_problem

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
bounded = settings(
    max_examples=15, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)  # fmt: skip
seeds = st.integers(0, 2**16)


@contextmanager
def cut(rows: int, elements: int, closed_form: bool) -> Iterator[None]:
    """Other tile sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK_ROWS", rows)
        patch.setattr(plan, "SQUARE_BLOCK", rows)
        patch.setattr(plan, "TILE_ELEMENTS", elements)
        choose_closed_form(patch, closed_form)
        yield


@pytest.mark.sampled(2)
@every_loss
@bounded
@given(cases(vast=True), seeds, st.integers(1, 30), st.integers(1, 400), st.booleans())
def test_equals_the_reference(
    loss: Loss, backend: str, case: Case, seed: int, rows: int, elements: int, closed_form: bool
) -> None:
    assume(loss.applies(case))
    problem = make_problem(case, torch.float64, seed)
    with cut(rows, elements, closed_form):
        assert_close(ours(loss, problem, backend), truth(loss, problem), problem, tolerance_of(loss, problem))


@pytest.mark.parametrize("loss", [FIELD, FIELD_ALONE, FUSED], ids=str)
@bounded
@given(cases(), seeds, field_options())
def test_fields_of_any_decay(loss: Loss, backend: str, case: Case, seed: int, options: dict[str, float | bool]) -> None:
    problem = make_problem(case, torch.float64, seed)
    drawn = loss.branch("drawn", **options)
    # The distance of the nearest pair that counts is off by eps / d_min^2, and its energy alpha times as much.
    tolerance = 1e-7 * max(1.0, float(options["alpha"]))
    assert_close(ours(drawn, problem, backend), truth(drawn, problem), problem, tolerance)


@pytest.mark.sampled(2)
@every_loss
@bounded
@given(cases(), seeds, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]), st.booleans())
def test_equals_the_reference_in_lower_precision(
    loss: Loss, backend: str, case: Case, seed: int, dtype: torch.dtype, float32_proxies: bool
) -> None:
    assume(loss.applies(case) and not (dtype == torch.bfloat16 and backend == "triton" and interpreted()))
    problem = make_problem(case, dtype, seed)
    if float32_proxies:
        problem = problem.cast(torch.float32, "proxies", "centers", "atoms")
    found, true = ours(loss, problem, backend), truth(loss, problem)
    assert found.value.dtype == torch.float32
    # The energy of the nearest pair counted, at d_min = 0.01, is off by 1.5 / d_min^2 times the rounding of 2 - 2s.
    assert errors(found, true, problem).value < (1e-2 if "field" in loss.function or loss is FUSED else 1e-3)
    for name, gradient in found.gradients.items():
        assert gradient.dtype == getattr(problem, name).dtype
        representable = true.gradients[name].abs() < torch.finfo(gradient.dtype).max / 2
        assert gradient[representable].isfinite().all()


def tolerance_of(loss: Loss, problem: Problem) -> float:
    """ArcFace's slope is a cosine over a sine, which a rounded cosine gives with an error of eps / sine^2."""
    if not loss.angular:
        return loss.tolerance
    proxies = problem.centers if "centers" in loss.inputs else problem.proxies
    cosines = F.normalize(problem.embeddings.detach()) @ F.normalize(proxies.detach()).T
    return max(loss.tolerance, 1e-14 / (1 - cosines.square()).min().clamp_min(1e-14).item())


def same(loss: Loss, problem: Problem, backend: str, changed: Problem) -> tuple[Outcome, Outcome]:
    """Outcomes whose values must be equal."""
    before, after = ours(loss, problem, backend), ours(loss, changed, backend)
    torch.testing.assert_close(after.value, before.value, rtol=tolerance_of(loss, problem), atol=loss.tolerance)
    return before, after


@pytest.mark.sampled(2)
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if not loss.reads_norms], ids=str)
@bounded
@given(cases(), seeds)
def test_length_of_rows_does_not_matter(loss: Loss, backend: str, case: Case, seed: int) -> None:
    assume(loss.applies(case))
    problem = make_problem(case, torch.float64, seed)

    def stretch(x: Tensor) -> Tensor:
        return x * (torch.arange(len(x), dtype=x.dtype)[:, None] % 5 + 0.5)

    before, after = same(loss, problem, backend, problem.map(stretch, *loss.leaves, "atoms"))
    rescaled = {name: stretch(gradient) for name, gradient in after.gradients.items()}
    assert_close(after._replace(gradients=rescaled), before, problem, tolerance_of(loss, problem))


@pytest.mark.sampled(2)
@every_loss
@bounded
@given(cases(), seeds)
def test_order_does_not_matter(loss: Loss, backend: str, case: Case, seed: int) -> None:
    assume(loss.applies(case))
    problem = make_problem(case, torch.float64, seed)
    i = torch.randperm(case.batch, generator=torch.Generator().manual_seed(seed))
    changed = problem.map(lambda x: x[i], "embeddings", "intervened")
    changed = replace(changed, labels=problem.labels[i])
    order = {"embeddings": i, "intervened": i}
    if case.proxy_labels is not None and problem.proxy_labels is not None:
        j = torch.randperm(case.num_proxies, generator=torch.Generator().manual_seed(seed))
        changed = replace(changed.map(lambda x: x[j], "proxies", "atoms"), proxy_labels=problem.proxy_labels[j])
        order["proxies"] = j
    before, after = same(loss, problem, backend, changed)
    moved = {name: gradient[order[name]] if name in order else gradient for name, gradient in before.gradients.items()}
    assert_close(after, before._replace(gradients=moved), changed, tolerance_of(loss, problem))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "proxy_labels" in loss.keywords], ids=str)
@bounded
@given(cases(), seeds)
def test_names_of_classes_do_not_matter(loss: Loss, backend: str, case: Case, seed: int) -> None:
    assume(loss.applies(case))
    problem = make_problem(case, torch.float64, seed)
    classes = torch.arange(case.num_proxies) if problem.proxy_labels is None else problem.proxy_labels.long()
    labels = torch.where(problem.labels.long() == IGNORED, IGNORED, 1000 - 3 * problem.labels.long())
    before, after = same(loss, problem, backend, replace(problem, labels=labels, proxy_labels=1000 - 3 * classes))
    assert_close(after, before, problem, tolerance_of(loss, problem))
