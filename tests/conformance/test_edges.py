"""Corners of single losses: NaN where few sums meet it, variances of one score, mixed dtypes, large margins."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import dmlkernels as dml
from dmlkernels.functional.angles import add_angle
from tests.conformance.evaluate import assert_close, ours, truth
from tests.losses import ANCHOR, ARCFACE, DECIDABILITY, EVERY, FUSED, ODBA, PD, Loss
from tests.problem import make_problem


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_proxy_anchor_of_one_class_with_a_nan_proxy(backend: str, dtype: torch.dtype) -> None:
    """There are no negatives, so only the positives meet the NaN."""
    embeddings, labels = torch.randn(4, 8, dtype=dtype), torch.zeros(4, dtype=torch.int64)
    proxies = torch.full((1, 8), torch.nan, dtype=dtype)
    assert dml.proxy_anchor_loss(embeddings, labels, proxies, backend=backend).isnan()
    several = torch.stack((torch.randn(8, dtype=dtype), proxies[0]))
    loss = dml.proxy_anchor_loss(embeddings, labels, several, proxy_labels=torch.tensor([0, 0]), backend=backend)
    assert loss.isnan()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["odba_prior", "odba_sum", "fused_wide"])
def test_inactive_atoms_may_hold_anything(backend: str, name: str, bad: float) -> None:
    (loss,) = (loss for loss in EVERY if loss.name == name)
    problem = make_problem("plain", torch.float32)
    inactive = ~problem.active
    spoilt = replace(
        problem,
        atoms=torch.where(inactive[:, None], bad, problem.atoms),
        prior=torch.where(inactive, bad, problem.prior),
    )
    expected, found = ours(loss, problem, backend), ours(loss, spoilt, backend)
    torch.testing.assert_close(found.value, expected.value)
    for leaf in loss.leaves:
        torch.testing.assert_close(found.gradients[leaf], expected.gradients[leaf])
    spoilt = replace(problem, atoms=torch.where(problem.active[:, None], bad, problem.atoms))
    assert loss(spoilt, backend).isnan()


@pytest.mark.parametrize("loss", [PD, FUSED], ids=str)
def test_an_unbiased_variance_of_one_score(loss: Loss, backend: str) -> None:
    one = make_problem("one_sample", torch.float32)
    with pytest.raises(ValueError, match=r"^correction: got 1, expected 0 for a batch with 1 genuine score"):
        loss(one, backend, correction=1)
    assert loss(one, backend, correction=0).isfinite()
    several = replace(one, proxy_labels=torch.tensor([0, 4, 4, 4, 4]))
    with pytest.raises(ValueError, match=r"^correction: got 1, expected 0 for a batch with 1 impostor score"):
        loss(several, backend, correction=1)
    assert loss(replace(one, proxy_labels=torch.tensor([0, 1, 2, 4, 4])), backend, correction=1).isfinite()


def test_an_unbiased_variance_of_one_pair(backend: str) -> None:
    problem = replace(make_problem("plain", torch.float32), labels=torch.tensor([0, 0, *range(1, 11)]))
    with pytest.raises(ValueError, match=r"^correction: got 1, expected 0 for a batch with 1 genuine score"):
        DECIDABILITY(problem, backend, correction=1)
    assert DECIDABILITY(problem, backend).isfinite()


@pytest.mark.parametrize("wide", ["embeddings", "others"])
@pytest.mark.parametrize("loss", [loss for loss in EVERY if len(loss.inputs) > 2 or "atoms" in loss.inputs], ids=str)
def test_float64_beside_float32_is_float64(loss: Loss, wide: str, backend: str) -> None:
    vectors = {"embeddings", "intervened", "proxies", "centers", "atoms"} & set(loss.inputs)
    narrow = vectors - {"embeddings", "intervened"} if wide == "embeddings" else {"embeddings", "intervened"} & vectors
    problem = make_problem("clustered", torch.float64).cast(torch.float32, *narrow)
    found, true = ours(loss, problem, backend), truth(loss, problem)
    assert found.value.dtype == torch.float64
    torch.testing.assert_close(found.value, true.value, rtol=1e-9, atol=1e-9)
    for name in loss.leaves:
        eps = torch.finfo(getattr(problem, name).dtype).eps
        scale = true.gradients[name].abs().max()
        assert (found.gradients[name] - true.gradients[name]).abs().max() <= max(eps, 1e-7) * scale, name


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.5, 2.3, 2.4, 2.5, 3.0, math.pi])
def test_arcface_keeps_falling(margin: float) -> None:
    cosine = torch.linspace(1, -1, 100_001, dtype=torch.float64)
    assert (add_angle(cosine, margin).diff() <= 1e-12).all()
    if margin <= 2.33:  # as the paper has it
        beyond = cosine <= -math.cos(margin)
        torch.testing.assert_close(add_angle(cosine, margin)[beyond], cosine[beyond] - margin * math.sin(margin))


@pytest.mark.parametrize("margin", [2.5, 3.0])
def test_a_margin_in_degrees_is_suspected(margin: float, backend: str) -> None:
    problem = make_problem("plain", torch.float64)
    loss = ARCFACE.branch("wide", margin=margin, scale=8.0)
    with pytest.warns(UserWarning, match=r"^margin: got .* if degrees were meant, pass math.radians"):
        found = ours(loss, problem, backend)
    assert_close(found, truth(loss, problem), problem, 1e-9)
    with pytest.raises(ValueError, match=r"^margin: got 28.6, expected radians .* math.radians\(28.6\)"):
        loss(problem, backend, margin=28.6)


def test_nan_of_an_unused_class_spoils_proxy_anchor(backend: str) -> None:
    problem = make_problem("all_distinct", torch.float32)
    spoilt = problem.map(lambda x: x.index_fill(0, torch.tensor([1]), torch.nan), "proxies")
    assert ANCHOR(spoilt, backend).isnan() and not ODBA(spoilt, backend).isnan()
