"""Every variant of every loss agrees with the truth on a small problem, and the problems are what they say."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmarks.cases import cases
from benchmarks.harness.correctness import complaint
from benchmarks.harness.steps import BOTH, FORWARD
from benchmarks.problems import flops, truth
from benchmarks.problems.inputs import Case, make_inputs
from benchmarks.problems.losses import LOSSES, TOLERANCES
from benchmarks.problems.shapes import SHAPES, Shape
from benchmarks.problems.variants import COMPILED, make_step, probe, variant_names

PAIRS = Shape("pairs", 16, 0, 8, "a test")
ONE = Shape("one", 16, 12, 8, "a test")
GROUPS = Shape("groups", 16, 12, 8, "a test", group=3)
SMALL = [
    Case(loss, shape, pattern)
    for loss in LOSSES
    for shape in ([PAIRS] if loss == "decidability" else [GROUPS] if loss.startswith("soft_triple") else [ONE, GROUPS])
    for pattern in ("random", "clustered")
]
IDS = [f"{case.loss}-{case.shape.name}-{case.pattern}" for case in SMALL]


@pytest.mark.parametrize("case", SMALL, ids=IDS)
def test_variants_agree(case: Case) -> None:
    expected = truth.truth(case)
    names = [name for name in variant_names(case) if name != COMPILED]
    assert len(names) >= 2
    for name in names:
        wrong = complaint(make_step(case, name).outcome(BOTH), expected, TOLERANCES[torch.float32])
        assert not wrong, f"{name}: {wrong}"


@pytest.mark.parametrize("case", SMALL[:6], ids=IDS[:6])
def test_the_truth_is_the_same_where_the_reference_does_not_fit(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    dense = truth.truth(case)
    monkeypatch.setattr(truth, "_DENSE_SCORES", 0)
    assert complaint(truth.truth(case), dense, TOLERANCES[torch.float64]) == ""


def test_cases_survive_the_way_to_the_child() -> None:
    case = Case("pd", SHAPES["cub"], "clustered", seed=5)
    assert Case.from_json(case.to_json()) == case


def test_the_probe_runs_what_is_timed() -> None:
    case = Case("pd", ONE)
    value = probe(case.to_json(), "ours, torch", FORWARD)()
    torch.testing.assert_close(value, make_step(case, "ours, torch").run(FORWARD))


def test_clustered_embeddings_are_near_their_proxy_and_collapsed_ones_near_everything() -> None:
    shape = Shape("s", 64, 50, 128, "a test")
    for pattern, own, other in (("random", 0.0, 0.0), ("clustered", 0.55, 0.0), ("collapsed", 0.99, 0.99)):
        inputs = make_inputs(Case("pd", shape, pattern))
        scores = F.normalize(inputs.embeddings) @ F.normalize(inputs.proxies).T
        mean = scores.gather(1, inputs.labels[:, None]).mean()
        assert mean == pytest.approx(own, abs=0.08)
        assert scores.mean() == pytest.approx(other, abs=0.08)


def test_every_loss_has_cases_and_every_case_a_shape_with_a_reason() -> None:
    assert {case.loss for case in cases(full=False)} == set(LOSSES)
    assert all(case.shape.reason for case in cases(full=True))
    assert set(cases(full=False)) < set(cases(full=True))


def test_operations() -> None:
    shape = Shape("s", 10, 20, 4, "a test")
    assert flops.exact("normalized_softmax", shape, FORWARD) == 2 * 10 * 20 * 4
    assert flops.exact("normalized_softmax", shape, BOTH) == 6 * 10 * 20 * 4
    assert flops.executed("normalized_softmax", shape, BOTH, 1) == 8 * 10 * 20 * 4
    assert flops.executed("normalized_softmax", shape, BOTH, 2) == 10 * 10 * 20 * 4
    # In closed form the product of B and C does not appear.
    assert flops.executed("pd", shape, BOTH, 1) == (4 * 20 + 6 * 10) * 4**2
    assert flops.pairs("field", shape) == 30 * 29 // 2


def test_half_samples_stand_beside_float32_proxies_unless_both_are_named() -> None:
    for dtype, proxies in (("bfloat16", torch.float32), ("bfloat16 x bfloat16", torch.bfloat16)):
        inputs = make_inputs(replace(Case("pd", ONE), dtype=dtype))
        assert inputs.embeddings.dtype == torch.bfloat16
        assert inputs.proxies.dtype == proxies
