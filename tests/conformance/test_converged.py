"""The end of training: samples nearly on their proxies, whose impostor scores hardly vary.

The closed form of the moments takes the positive score out of the sums over all scores, and with it nearly everything
that is in them. It must be as exact as the tiles, which never had it in.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.closed_form import choose_closed_form
from tests.conformance.evaluate import Errors, errors, ours, truth
from tests.losses import PD
from tests.problem import Problem, make_problem

NOISE = [1.0, 1e-1, 1e-2, 1e-3, 1e-4]
FACTOR = 2  # of the error of tiles, beside the rounding of the result
HALVES = [torch.float16, torch.bfloat16]
SEEDS = range(5)
MANY_SEEDS = range(20)  # where the rounding of a few numbers decides


def simplex(classes: int, dim: int) -> Tensor:  # (C, D) float64
    corners = torch.eye(classes, dim, dtype=torch.float64)
    return F.normalize(corners - corners.mean(0)) @ torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))[0]


def converged(
    seed: int, classes: int, dim: int, batch: int, noise: float, per_class: int = 1, spread: float = 1.0
) -> Problem:
    """Samples at a distance from proxies at equal angles, all within a cap of so much spread."""
    torch.manual_seed(seed)
    proxies = simplex(classes, dim)
    centre = F.normalize(torch.randn(1, dim, dtype=torch.float64)) * (1 - spread)
    labels = torch.randint(classes, (batch,))
    embeddings = proxies[labels] * spread + centre
    embeddings = embeddings + noise * spread * F.normalize(torch.randn(batch, dim, dtype=torch.float64))
    of_class = torch.arange(classes).repeat(per_class)
    several = proxies[of_class] * spread + centre
    if per_class > 1:
        several = several + noise * spread * F.normalize(torch.randn(several.shape, dtype=torch.float64))
    return replace(
        make_problem("plain", torch.float64), embeddings=embeddings.requires_grad_(), labels=labels,
        proxies=several.requires_grad_(), proxy_labels=of_class if per_class > 1 else None,
    )  # fmt: skip


def both_ways(problem: Problem, backend: str) -> tuple[Errors, Errors]:
    """Errors of the closed form and of tiles."""
    true, found = truth(PD, problem), []
    for closed_form in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            choose_closed_form(patch, closed_form)
            found.append(errors(ours(PD, problem, backend), true, problem))
    return found[0], found[1]


def assert_as_exact(problems: list[Problem], backend: str) -> None:
    """Root mean squares over several draws: either may be lucky in one."""
    pairs = [both_ways(problem, backend) for problem in problems]
    closed, tiles = (torch.tensor([pair[i].value for pair in pairs]).square().mean().sqrt() for i in (0, 1))
    assert closed <= FACTOR * tiles + 1e-7
    for name in pairs[0][0].gradients:
        eps = torch.finfo(getattr(problems[0], name).dtype).eps
        closed, tiles = (torch.tensor([p[i].gradients[name] for p in pairs]).square().mean().sqrt() for i in (0, 1))
        assert closed <= FACTOR * tiles + 4 * eps, name


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("shape", [(10, 16, 64), (100, 128, 512)], ids=str)
def test_float32(shape: tuple[int, int, int], noise: float, backend: str) -> None:
    problems = [converged(seed, *shape, noise).cast(torch.float32) for seed in SEEDS]
    assert_as_exact(problems, backend)
    for problem in problems:
        closed, _ = both_ways(problem, backend)
        assert closed.value <= 2e-7
        assert max(closed.gradients.values()) <= max(2e-6, 1e-8 / noise)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("noise", NOISE)
def test_half_embeddings(noise: float, dtype: torch.dtype, backend: str) -> None:
    wide = [converged(seed, 100, 128, 512, noise).cast(torch.float32) for seed in SEEDS]
    assert_as_exact([problem.cast(dtype, "embeddings") for problem in wide], backend)


@pytest.mark.parametrize("noise", NOISE)
def test_several_proxies_a_class(noise: float, backend: str) -> None:
    several = [converged(seed, 20, 32, 128, noise, per_class=3) for seed in SEEDS]
    assert_as_exact([problem.cast(torch.float32) for problem in several], backend)


@pytest.mark.parametrize("spread", [0.3, 0.03, 0.003])
@pytest.mark.parametrize("noise", [1.0, 1e-2])
def test_collapsed(noise: float, spread: float, backend: str) -> None:
    """All cosines near 1."""
    collapsed = [converged(seed, 10, 16, 64, noise, spread=spread) for seed in MANY_SEEDS]
    assert_as_exact([problem.cast(torch.float32) for problem in collapsed], backend)
