"""What is asked of the kernels on a device, as plain functions: each raises AssertionError where it does not hold."""

from __future__ import annotations

import torch
from torch import Tensor

import dmlkernels as dml
from benchmarks.harness.precision import matmul_precision
from dmlkernels import reference
from dmlkernels.backends.gpu import closed
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import LogSumExp, Moments
from tests.conformance.evaluate import Outcome, assert_close, errors, factor_like, truth
from tests.gpu.common import made, worst_errors
from tests.losses import Loss
from tests.problem import Problem, make_problem
from tests.triton.common import Maker, outcome, upstream

# Statistics, gradients. The field's slope goes as a power of a distance that a tf32 score does not resolve, which is
# why its scores never are.
TOLERANCE = {
    torch.float64: (1e-10, 1e-10),
    torch.float32: (2e-5, 1e-4),
    torch.float16: (1e-4, 4e-3),
    torch.bfloat16: (1e-4, 2e-2),
}


def accuracy(kind: str, size: str, dtype: torch.dtype, backend: str = "triton") -> None:
    """Against float64 of the same inputs."""
    statistics, *gradients = worst_errors(made(kind, size, dtype), backend)
    assert statistics <= TOLERANCE[dtype][0], f"statistics: error {statistics:.1e}"
    assert max(gradients) <= TOLERANCE[dtype][1], f"gradients: error {max(gradients):.1e}"


def tf32(kind: str, precision: str) -> None:
    """Products of float32 on tensor cores, where torch allows it."""
    with matmul_precision(precision):
        statistics, *gradients = worst_errors(made(kind, "medium", torch.float32))
    exact = kind.startswith(("field", "fused"))
    assert statistics <= (1e-4 if exact else 2e-2), f"statistics: error {statistics:.1e}"
    assert max(gradients) <= (1e-3 if exact else 5e-2), f"gradients: error {max(gradients):.1e}"


def tf32_leaves_no_bias() -> None:
    """A softmax of cosines that are far from zero, whose mean error would show one: it was 2e-3 before units were
    rounded and norms taken of what tensor cores leave of the proxies."""
    generator = torch.Generator().manual_seed(0)
    proxies = torch.randn(20_000, 128, generator=generator)
    embeddings = proxies[:1024] + 1.5 * torch.randn(1024, 128, generator=generator)
    labels = torch.arange(1024, device="cuda")
    true = reference.normalized_softmax_loss(embeddings.double().cuda(), labels, proxies.double().cuda()).item()
    with matmul_precision("high"):
        found = dml.normalized_softmax_loss(embeddings.cuda(), labels, proxies.cuda(), backend="triton").item()
    assert abs(found - true) <= 5e-4 * true, f"loss {found:.6f}, in float64 {true:.6f}"


def closed_form_keeps_collapsed_variances(dtype: torch.dtype, precision: str) -> None:
    """Cosines near 0.95 of embeddings of this type and float32 proxies, and their variance, in float64 whatever
    precision products have elsewhere."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(64, generator=generator)
    rows = (4.4 * common + torch.randn(2000, 64, generator=generator)).to("cuda", dtype)
    columns = (4.4 * common + torch.randn(3000, 64, generator=generator)).cuda()
    pairs = Pairs(Moments(), rows, columns, torch.arange(2000, device="cuda"))
    with matmul_precision(precision):
        assert closed.applies(pairs)
        statistics, *gradients = worst_errors(pairs)
    assert statistics <= 1e-4, f"statistics: error {statistics:.1e}"
    assert max(gradients) <= (1e-3 if dtype == torch.float32 else 2e-2), f"gradients: error {max(gradients):.1e}"


def autocast(loss: Loss, half: torch.dtype) -> None:
    """Three-way: ours and the dense reference under autocast, both against float64 of the same inputs."""
    problem = make_problem("clustered", torch.float32).cast(half, "embeddings", "intervened")
    true = truth(loss, problem)
    there = on_device(loss, problem)
    with torch.autocast("cuda", half):
        found, dense = (
            errors(_brought_back(evaluate_there(call, loss, there)), true, problem)
            for call in (lambda p: loss(p, "triton"), loss.truth)
        )
    eps = torch.finfo(half).eps
    assert found.value <= dense.value + eps / 4, f"value: error {found.value:.1e}, dense {dense.value:.1e}"
    for name, error in found.gradients.items():
        assert error <= dense.gradients[name] + eps, f"{name}: error {error:.1e}, dense {dense.gradients[name]:.1e}"


def reference_is_the_same(loss: Loss) -> None:
    """What everything is compared with can itself be asked on the device."""
    problem = make_problem("clustered", torch.float64)
    found, true = _brought_back(evaluate_there(loss.truth, loss, on_device(loss, problem))), truth(loss, problem)
    assert_close(found, true, problem, 1e-9)


def twenty_runs_give_the_same_bits(kind: str, size: str, dtype: torch.dtype, backend: str = "triton") -> None:
    pairs = made(kind, size, dtype)
    first = outcome(backend, pairs, upstream(pairs))
    for _ in range(19):
        for one, other in zip(outcome(backend, pairs, upstream(pairs)), first, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)


def scores_are_the_same_from_both_sides(dtype: torch.dtype, precision: str, dim: int, rows: int = 1000) -> None:
    """To the last bit, where a statistic asks for it: else the column that a row's gradient is from would not know that
    it has that row's highest score."""
    from tests.triton.highest import highest_statistic

    maker = Maker(rows, 3 * rows, dim, dtype)
    x, w = maker.normal(rows, dim), maker.normal(3 * rows, dim)
    with highest_statistic() as statistic, matmul_precision(precision):
        found = outcome("triton", Pairs(statistic, x, w), torch.ones(rows, 1, dtype=torch.float64, device=x.device))
    assert found.rows is not None and found.columns is not None
    x, w = x.double(), w.double()
    x_norm, w_norm = (torch.linalg.vector_norm(vectors, dim=1, keepdim=True) for vectors in (x, w))
    x, w = x / x_norm, w / w_norm
    of_x, of_w = found.rows.double() * x_norm, found.columns.double() * w_norm
    highest = (of_x @ w.T).argmax(1)  # a gradient is its column but for a part along the row
    score = (x * w[highest]).sum(1, keepdim=True)
    expected = torch.zeros_like(w).index_add_(0, highest, x - score * w[highest])
    error = (of_w - expected).abs().max().item()
    assert error <= 2e-2, f"columns: error {error:.1e}"


def on_device(loss: Loss, problem: Problem) -> Problem:
    moved = {name: value.detach().cuda() for name, value in vars(problem).items() if isinstance(value, Tensor)}
    for name in loss.leaves:
        moved[name].requires_grad_()
    return Problem(**{**vars(problem), **moved})


def step(loss: Loss, problem: Problem, backend: str = "triton") -> tuple[Tensor, ...]:
    """The loss and its gradients."""
    value = loss(problem, backend)
    return value, *torch.autograd.grad(value, [getattr(problem, name) for name in loss.leaves])


def exact_tiles(loss: Loss) -> Problem:
    return on_device(loss, make_problem("exact_tiles", torch.float32))


def graph_capture_and_replay(loss: Loss, backend: str = "triton") -> None:
    """A replay on changed inputs gives what a step on them gives."""
    problem = exact_tiles(loss)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager = step(loss, problem, backend)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(loss, problem, backend)
    with torch.no_grad():
        problem.embeddings.mul_(-1)
    graph.replay()
    torch.cuda.synchronize()
    again = step(loss, problem, backend)
    assert all(map(torch.equal, captured, again))
    assert not torch.equal(eager[1], again[1])


def host_never_waits(loss: Loss, backend: str = "triton") -> None:
    problem = exact_tiles(loss)
    step(loss, problem, backend)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(loss, problem, backend)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def compiles_into_one_graph(loss: Loss) -> None:
    problem = exact_tiles(loss)
    compiled = torch.compile(lambda: loss(problem, "triton"), fullgraph=True)
    value = compiled()
    found = (value, *torch.autograd.grad(value, [getattr(problem, name) for name in loss.leaves]))
    torch.testing.assert_close(found, step(loss, problem), rtol=1e-5, atol=1e-6)


def two_million_columns(dtype: torch.dtype, rows: int = 512, backend: str = "triton") -> None:
    """More than 2^31 elements of columns, a score matrix of 4 GiB that never is, and memory that shows it."""
    columns, dim = 2_000_000, 1088
    x, w = torch.randn(rows, dim, device="cuda", dtype=dtype), torch.randn(columns, dim, device="cuda", dtype=dtype)
    labels = torch.randint(0, columns, (rows,), device="cuda")
    labels[-1] = columns - 1
    pairs = Pairs(LogSumExp(18.0, 18.0), x, w, labels)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    found = outcome(backend, pairs, torch.ones(rows, 2, device="cuda"))
    peak = torch.cuda.max_memory_allocated() - before
    gradients = w.numel() * w.element_size() + x.numel() * x.element_size()
    assert peak <= 1.1 * gradients + 4 * (rows + columns) * 16 + 2**26, f"{peak / 2**20:.0f} MiB"
    unit = torch.nn.functional.normalize(x.float(), dim=1)
    positive = (unit * torch.nn.functional.normalize(w[labels].float(), dim=1)).sum(1)
    torch.testing.assert_close(found.statistics[:, 0], 18 * positive, rtol=1e-4, atol=1e-3)
    assert found.columns is not None and found.columns[-1].any()


def evaluate_there(call: object, loss: Loss, problem: Problem) -> Outcome:
    """As ``evaluate``, for a problem on the device."""
    value = call(problem)  # type: ignore[operator]
    leaves = [getattr(problem, name) for name in loss.leaves]
    found = torch.autograd.grad(value, leaves, factor_like(value.detach().cpu()).to(value.device))
    return Outcome(value.detach(), dict(zip(loss.leaves, found, strict=True)))


def _brought_back(found: Outcome) -> Outcome:
    return Outcome(found.value.cpu(), {name: gradient.cpu() for name, gradient in found.gradients.items()})
