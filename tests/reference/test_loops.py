"""Each loss against explicit scalar loops."""

import math
from typing import Any

import pytest
import torch

from dmlkernels import reference
from dmlkernels.reference._common import cosines
from tests.reference import loops
from tests.reference.data import LABELS, UNORDERED, normal, optional, problem

proxies_of = pytest.mark.parametrize("q", [None, UNORDERED], ids=["one_each", "unordered"])


def close(actual: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@proxies_of
@pytest.mark.parametrize("form", ["neg_log", "neg", "inverse"])
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_pd_loss(q: list[int] | None, form: str, correction: int, seed: int) -> None:
    x, y, p = problem(seed, q)
    options: dict[str, Any] = {
        "form": form, "correction": correction, "temperature": 0.3, "min_gap": 0.02, "eps": 1e-3,
    }  # fmt: skip
    actual = reference.pd_loss(x, y, p, proxy_labels=optional(q), **options)
    close(actual, loops.pd_loss(x.tolist(), LABELS, p.tolist(), q or range(5), **options))


@pytest.mark.parametrize("form", ["neg_log", "neg", "inverse"])
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_decidability_loss(form: str, correction: int, seed: int) -> None:
    x, y, _ = problem(seed)
    options: dict[str, Any] = {"form": form, "correction": correction, "min_gap": 0.02, "eps": 1e-3}
    close(reference.decidability_loss(x, y, **options), loops.decidability_loss(x.tolist(), LABELS, **options))


@proxies_of
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("unit_depth", [True, False])
@pytest.mark.parametrize(("alpha", "delta_att", "delta_rep"), [(3.0, 0.2, 0.2), (1.5, 0.7, 1.2), (6.0, 1.3, 0.9)])
def test_potential_field_loss(
    q: list[int] | None, reduction: str, unit_depth: bool, alpha: float, delta_att: float, delta_rep: float
) -> None:
    x, y, p = problem(0, q)
    options: dict[str, Any] = {
        "alpha": alpha, "delta_att": delta_att, "delta_rep": delta_rep, "reduction": reduction,
        "unit_depth": unit_depth, "d_min": 0.5,
    }  # fmt: skip
    actual = reference.potential_field_loss(x, y, p, proxy_labels=optional(q), **options)
    close(actual, loops.potential_field_loss(x.tolist(), LABELS, p.tolist(), q or range(5), **options))
    alone = reference.potential_field_loss(x, y, **options)
    close(alone, loops.potential_field_loss(x.tolist(), LABELS, [], [], **options))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("unit_depth", [True, False])
@pytest.mark.parametrize("d_min", [1e-2, 0.8])
def test_potential_field(normalize: bool, unit_depth: bool, d_min: float) -> None:
    x, _, p = problem(1, UNORDERED, dim=3)
    y = [0, 2, 1, 1, 0, 3, 9]
    options: dict[str, Any] = {
        "alpha": 2.0, "delta_att": 0.9, "delta_rep": 1.3, "d_min": d_min,
        "unit_depth": unit_depth, "normalize": normalize,
    }  # fmt: skip
    potential, force = reference.potential_field(x, torch.tensor(y), p, torch.tensor(UNORDERED), **options)
    expected = loops.potential_field(x.tolist(), y, p.tolist(), UNORDERED, **options)
    close(potential, expected[0])
    close(force, expected[1])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("prior", [None, [0.5, 0.2, 0.2, 0.1]])
@pytest.mark.parametrize("active", [None, [True, False, True, True], [False] * 4])
def test_odba_penalty(reduction: str, prior: list[float] | None, active: list[bool] | None) -> None:
    x, atoms = normal(6, 5), normal(4, 5, seed=1)
    actual = reference.odba_penalty(
        x, atoms, reduction=reduction,
        prior=None if prior is None else torch.tensor(prior, dtype=torch.float64),
        active=None if active is None else torch.tensor(active),
    )  # fmt: skip
    if active is not None and not any(active):
        close(actual, 0.0)
    else:
        close(actual, loops.odba_penalty(x.tolist(), atoms.tolist(), prior=prior, active=active, reduction=reduction))


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_symmetric_kl_loss(temperature: float) -> None:
    x, v, p = normal(6, 5), normal(6, 5, seed=1), normal(7, 5, seed=2)
    expected = loops.symmetric_kl_loss(x.tolist(), v.tolist(), p.tolist(), temperature=temperature)
    close(reference.symmetric_kl_loss(x, v, p, temperature=temperature), expected)


_SOFTMAX: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "normalized": (reference.normalized_softmax_loss, {"scale": 20.0}, {"margin": lambda s: s}),
    "nca++": (reference.proxy_nca_loss, {"scale": 18.0}, {"margin": lambda s: s}),
    "nca": (
        reference.proxy_nca_loss, {"scale": 18.0, "include_positive": False},
        {"margin": lambda s: s, "include_positive": False},
    ),
    "cosface": (reference.cosface_loss, {"scale": 30.0, "margin": 0.35}, {"margin": lambda s: s - 0.35}),
    "arcface": (reference.arcface_loss, {"scale": 30.0, "margin": 0.5}, {"margin": loops.angular(0.5)}),
    "arcface_wide": (reference.arcface_loss, {"scale": 30.0, "margin": 1.5}, {"margin": loops.angular(1.5)}),
}  # fmt: skip


@proxies_of
@pytest.mark.parametrize("name", _SOFTMAX)
@pytest.mark.parametrize("seed", range(3))
def test_softmax_family(q: list[int] | None, name: str, seed: int) -> None:
    loss, options, expected_options = _SOFTMAX[name]
    x, y, p = problem(seed, q)
    rows = loops.softmax_rows(x.tolist(), LABELS, p.tolist(), q or range(5), scale=options["scale"], **expected_options)
    options = {**options, "proxy_labels": optional(q)}
    close(loss(x, y, p, reduction="none", **options), rows)
    close(loss(x, y, p, reduction="sum", **options), sum(rows))
    close(loss(x, y, p, **options), sum(rows) / 6)
    weight = [0.5, 2.0, 0.0, 7.0, 1.0, 3.0, 0.1]
    weighted = [w * row for w, row in zip(weight, rows, strict=True)]
    used = math.fsum(w for w, label in zip(weight, LABELS, strict=True) if label != -100)
    options["sample_weight"] = torch.tensor(weight, dtype=torch.float64)
    close(loss(x, y, p, reduction="none", **options), weighted)
    close(loss(x, y, p, reduction="sum", **options), sum(weighted))
    close(loss(x, y, p, **options), sum(weighted) / used)


def test_both_sides_of_the_arcface_margin_were_seen() -> None:
    x, y, p = problem(0)
    own = cosines(x, p)[torch.arange(7), y.clamp_min(0)][y >= 0]
    turn = math.cos(math.pi - 1.5)
    assert (own > turn).any() and (own < turn).any()


@proxies_of
def test_proxy_anchor_loss(q: list[int] | None) -> None:
    x, y, p = problem(0, q)
    actual = reference.proxy_anchor_loss(x, y, p, proxy_labels=optional(q), alpha=16.0, margin=0.2)
    close(actual, loops.proxy_anchor_loss(x.tolist(), LABELS, p.tolist(), q or range(5), alpha=16.0, margin=0.2))


@pytest.mark.parametrize("centers_per_class", [1, 3])
@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_soft_triple_loss(centers_per_class: int, tau: float) -> None:
    x, y, centers = normal(7, 4), torch.tensor(LABELS), normal(5 * centers_per_class, 4, seed=1)
    options: dict[str, Any] = {
        "centers_per_class": centers_per_class, "scale": 15.0, "gamma": 0.2, "tau": tau, "margin": 0.05,
    }  # fmt: skip
    actual = reference.soft_triple_loss(x, y, centers, **options)
    close(actual, loops.soft_triple_loss(x.tolist(), LABELS, centers.tolist(), **options))


def test_fused_objective() -> None:
    x, y, p = problem(0, UNORDERED)
    atoms = normal(3, 4, seed=9)
    total, parts = reference.fused_objective(
        x, y, p, atoms, pd_weight=0.5, field_weight=2.0, odba_weight=3.0, proxy_labels=torch.tensor(UNORDERED)
    )
    rows = (x.tolist(), LABELS, p.tolist(), UNORDERED)
    pd = loops.pd_loss(*rows, form="neg_log", temperature=1.0, correction=0, min_gap=0.01, eps=1e-6)
    field = loops.potential_field_loss(
        *rows, alpha=3.0, delta_att=0.2, delta_rep=0.2, reduction="mean", unit_depth=True, d_min=1e-2
    )
    odba = loops.odba_penalty(x[y >= 0].tolist(), atoms.tolist(), prior=None, active=None, reduction="mean")
    close(parts["pd"], pd)
    close(parts["field"], field)
    close(parts["odba"], odba)
    close(total, 0.5 * pd + 2 * field + 3 * odba)
