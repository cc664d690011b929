"""Modules with a running state, against their authors' formulas written out sample by sample."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import dmlkernels as dml
from tests.problem import make_problem

C, D = 5, 8
RUNNING = (dml.AdaFaceLoss, dml.CurricularFaceLoss, dml.AdaCosLoss)
every_running = pytest.mark.parametrize("build", RUNNING, ids=lambda build: build.__name__)


def given(case: str = "some_ignored") -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of varied norms, labels and five proxies."""
    problem = make_problem(case)
    x = problem.embeddings.detach() * torch.linspace(0.5, 40, len(problem.labels), dtype=torch.float64)[:, None]
    proxies = torch.cat((problem.proxies.detach(), -problem.proxies.detach()))[:C]
    return x, problem.labels, proxies


def kept(x: Tensor, labels: Tensor) -> list[tuple[Tensor, int]]:
    return [(row, int(label)) for row, label in zip(x, labels, strict=True) if label != -100]


def cosines(row: Tensor, proxies: Tensor) -> list[float]:
    return [float(F.cosine_similarity(row, proxy, dim=0)) for proxy in proxies]


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(logit - logits[label]) for logit in logits))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_adaface() -> None:
    x, labels, proxies = given()
    module = dml.AdaFaceLoss(C, D, proxy_init=proxies, dtype=torch.float64, scale=8.0, margin=0.4)
    norms = [min(max(float(row.norm()), 1e-3), 100.0) for row, _ in kept(x, labels)]
    deviation = math.sqrt(sum((norm - mean(norms)) ** 2 for norm in norms) / (len(norms) - 1))
    norm_mean, norm_std = 0.99 * 20 + 0.01 * mean(norms), 0.99 * 100 + 0.01 * deviation
    losses = []
    for (row, label), norm in zip(kept(x, labels), norms, strict=True):
        scores = cosines(row, proxies)
        q = min(max((norm - norm_mean) / (norm_std + 1e-3) * 0.333, -1.0), 1.0)
        theta = min(max(math.acos(scores[label]) - 0.4 * q, 1e-3), math.pi - 1e-3)
        scores[label] = math.cos(theta) - (0.4 + 0.4 * q)
        losses.append(cross_entropy([8 * score for score in scores], label))
    assert module(x, labels).item() == pytest.approx(mean(losses), rel=1e-7)
    assert module.norm_mean.item() == pytest.approx(norm_mean) and module.norm_std.item() == pytest.approx(norm_std)


def test_curricularface() -> None:
    x, labels, proxies = given()
    module = dml.CurricularFaceLoss(C, D, proxy_init=proxies, dtype=torch.float64, scale=8.0, hardness=0.2)
    own = [cosines(row, proxies)[label] for row, label in kept(x, labels)]
    t = 0.99 * 0.2 + 0.01 * mean(own)
    losses, hard = [], 0
    for row, label in kept(x, labels):
        scores = cosines(row, proxies)
        target = math.cos(math.acos(scores[label]) + 0.5)
        hard += sum(score > target for score in scores) - (scores[label] > target)
        counted = [score * (t + score) if score > target else score for score in scores]
        passed = scores[label] <= math.cos(math.pi - 0.5)
        counted[label] = scores[label] - 0.5 * math.sin(0.5) if passed else target
        losses.append(cross_entropy([8 * score for score in counted], label))
    assert hard > 2
    assert module(x, labels).item() == pytest.approx(mean(losses), rel=1e-7)
    assert module.hardness.item() == pytest.approx(t)


def test_adacos() -> None:
    x, labels, proxies = given()
    module = dml.AdaCosLoss(C, D, proxy_init=proxies, dtype=torch.float64)
    scale = math.sqrt(2) * math.log(C - 1)
    assert module.scale.item() == pytest.approx(scale)
    for _ in range(2):
        sums, angles = [], []
        for row, label in kept(x, labels):
            scores = cosines(row, proxies)
            sums.append(sum(math.exp(scale * score) for j, score in enumerate(scores) if j != label))
            angles.append(math.acos(scores[label]))
        median = sorted(angles)[(len(angles) - 1) // 2]
        scale = max(math.log(mean(sums)) / math.cos(min(math.pi / 4, median)), 1.0)
        losses = [
            cross_entropy([scale * score for score in cosines(row, proxies)], label) for row, label in kept(x, labels)
        ]
        assert module(x, labels).item() == pytest.approx(mean(losses), rel=1e-7)
        assert module.scale.item() == pytest.approx(scale)


def test_magface() -> None:
    x, labels, proxies = given()
    module = dml.MagFaceLoss(C, D, proxy_init=proxies, dtype=torch.float64, scale=8.0)
    losses = []
    for row, label in kept(x, labels):
        scores, a = cosines(row, proxies), min(max(float(row.norm()), 10.0), 110.0)
        m = (0.8 - 0.45) / (110 - 10) * (a - 10) + 0.45
        passed = scores[label] <= math.cos(math.pi - m)
        scores[label] = scores[label] - m * math.sin(m) if passed else math.cos(math.acos(scores[label]) + m)
        losses.append(cross_entropy([8 * score for score in scores], label) + 35 * (a / 110**2 + 1 / a))
    assert module(x, labels).item() == pytest.approx(mean(losses), rel=1e-7)


@every_running
def test_evaluation_changes_nothing(build: Any, backend: str) -> None:
    x, labels, proxies = given()
    module = build(C, D, proxy_init=proxies, dtype=torch.float64).eval()
    before = copy.deepcopy(module.state_dict())
    assert module(x, labels).isfinite() and len(before) > 1
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


@every_running
def test_state_survives(build: Any) -> None:
    x, labels, proxies = given()
    module = build(C, D, proxy_init=proxies, dtype=torch.float64)
    module(x, labels).backward()
    other = build(C, D, dtype=torch.float64)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x, labels), module(x, labels))
    assert module.proxies.grad.isfinite().all() and len(list(module.parameters())) == 1


@every_running
def test_one_bad_batch_is_not_remembered(build: Any) -> None:
    x, labels, proxies = given()
    module = build(C, D, proxy_init=proxies, dtype=torch.float64)
    assert module(x * torch.nan, labels).isnan()
    assert all(value.isfinite().all() for value in module.state_dict().values())
    with pytest.raises(ValueError, match=r"^labels: "):
        module(x, torch.full_like(labels, -100))
    assert all(value.isfinite().all() for value in module.state_dict().values())
    assert module(x, labels).isfinite()


@every_running
def test_two_calls_before_backward(build: Any) -> None:
    x, labels, proxies = given()
    module = build(C, D, proxy_init=proxies, dtype=torch.float64)
    (module(x, labels) + module(x.flip(0), labels.flip(0))).backward()
    assert module.proxies.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every_running
def test_compiles_into_one_graph(build: Any, dtype: torch.dtype) -> None:
    torch._dynamo.reset()
    x, labels, proxies = given()
    x = x.to(dtype)
    module = build(C, D, proxy_init=proxies).to(dtype)
    twin = copy.deepcopy(module)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(x, labels), module(x, labels))
    torch.testing.assert_close(twin.state_dict(), module.state_dict())
    assert all(value.dtype == dtype for value in twin.state_dict().values())
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (dml.AdaFaceLoss, {"momentum": 1.5}, ValueError, "^momentum: got 1.5, expected a number of at most 1"),
        (dml.AdaFaceLoss, {"norm_mean": 0.0}, ValueError, "^norm_mean: got 0.0, expected a number above 0"),
        (dml.AdaFaceLoss, {"margin": 2.0}, ValueError, "^margin: got 2.0, expected radians from 0 to pi / 2"),
        (dml.CurricularFaceLoss, {"hardness": math.nan}, ValueError, "^hardness: got nan, expected a finite number"),
        (dml.AdaCosLoss, {"scale": 30.0}, TypeError, "^scale: not an option of AdaCosLoss"),
        (dml.MagFaceLoss, {"upper_norm": 5.0}, ValueError, "^upper_norm: got 5.0, expected a number above lower_norm"),
        (dml.MagFaceLoss, {"upper_margin": 0.1}, ValueError, "^upper_margin: got 0.1, expected radians from"),
        (dml.CircleLoss, {"margin": 1.5}, ValueError, "^margin: got 1.5, expected a number of at most 1"),
        (dml.SubCenterArcFaceLoss, {"centers_per_class": 0}, ValueError, "^centers_per_class: got 0"),
    ],
)
def test_wrong_options_raise_at_construction(
    build: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(C, D, **options)


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (
            dml.adaface_loss,
            {"norm_mean": torch.ones(())},
            TypeError,
            r"^norm_std: got NoneType, expected a \(\) tensor",
        ),
        (dml.curricularface_loss, {}, TypeError, r"^hardness: got float, expected a \(\) tensor"),
        (dml.curricularface_loss, {"momentum": -1.0}, ValueError, "^momentum: got -1.0"),
    ],
)
def test_what_is_updated_is_one_tensor(
    function: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(torch.eye(3), torch.arange(3), torch.eye(3), **{"momentum": 0.9, **options})


@pytest.mark.parametrize(
    ("function", "name", "others"),
    [
        (dml.adaface_loss, "norm_mean", {"norm_std": torch.ones(())}),
        (dml.adaface_loss, "norm_std", {"norm_mean": torch.ones(())}),
        (dml.curricularface_loss, "hardness", {}),
        (dml.adacos_scale, "scale", {}),
    ],
)
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_running_state_of_another_shape_raises_and_stays(
    function: Any, name: str, others: dict[str, Tensor], momentum: float | None
) -> None:
    if momentum is not None and function is not dml.adacos_scale:
        others = {**others, "momentum": momentum}
    wrong = torch.ones(3)  # as many as samples and as classes
    before = {key: value.clone() for key, value in others.items() if isinstance(value, Tensor)}
    with pytest.raises(ValueError, match=rf"^{name}: got shape \(3,\), expected a number or a \(\) tensor"):
        function(torch.eye(3), torch.arange(3), torch.eye(3), **{name: wrong}, **others)
    assert (wrong == 1).all() and all(others[key].equal(value) for key, value in before.items())


def test_adacos_needs_three_classes() -> None:
    with pytest.raises(ValueError, match=r"^num_classes: got 2, expected at least 3"):
        dml.AdaCosLoss(2, D)


def test_class_size_margins() -> None:
    counts = torch.tensor([1000, 10, 1, 250])
    ldam = dml.class_size_margins(counts)
    torch.testing.assert_close(ldam, 0.5 / counts.float() ** 0.25)  # the authors': 0.5 / largest of n^-1/4
    found = dml.class_size_margins(counts, largest=0.55, offset=0.05, power=0.5)
    torch.testing.assert_close(found, 0.5 * counts.float() ** -0.5 + 0.05)
    assert dml.CosFaceLoss(4, D, margin=ldam)(torch.randn(6, D), torch.tensor([0, 1, 2, 3, 3, 0])).isfinite()
    for counts, error in (
        (torch.tensor([0, 3]), ValueError), (torch.tensor([[1]]), ValueError), (torch.tensor([]), ValueError),
        (torch.tensor([math.nan, 1]), ValueError), (torch.tensor([True]), TypeError), ([1, 2], TypeError),
    ):  # fmt: skip
        with pytest.raises(error, match=r"^class_counts: got "):
            dml.class_size_margins(counts)


def test_adacos_takes_numpys_integers() -> None:
    """What labels.max() + 1 is there."""
    module = dml.AdaCosLoss(np.int64(1001), D)
    assert torch.equal(module.scale, dml.AdaCosLoss(1001, D).scale) and module.scale > 9


@every_running
def test_a_running_state_is_not_recomputed(build: Any) -> None:
    """torch.utils.checkpoint would update it twice, and differentiate something else than it returned."""
    x, labels, _ = given()
    module = build(C, D).double()
    loss = checkpoint(module, x.requires_grad_(), labels, use_reentrant=False)
    with pytest.raises(RuntimeError, match=r"torch\.utils\.checkpoint would call twice"):
        loss.backward()
    checkpoint(module.eval(), x, labels, use_reentrant=False).backward()


@pytest.mark.parametrize("scale", [1.0, 64.0, 150.0, 300.0, 1000.0])
def test_adacos_scale_at_any_scale(scale: float, backend: str) -> None:
    """The sum of negatives is far below its bound where they are many and far: it must not underflow."""
    generator = torch.Generator().manual_seed(0)
    x, proxies = (torch.randn(count, 128, generator=generator) for count in (64, 1000))
    labels = torch.arange(64)
    wide = scale * F.normalize(x.double()) @ F.normalize(proxies.double()).T
    positive = wide.gather(1, labels[:, None])[:, 0] / scale
    average = wide.scatter(1, labels[:, None], -math.inf).logsumexp(1).logsumexp(0) - math.log(64)
    expected = (average / max(math.cos(math.pi / 4), -float((-positive).median()))).clamp_min(1)
    found = dml.adacos_scale(x, labels, proxies, scale, backend=backend)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
