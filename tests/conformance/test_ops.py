"""The custom ops' contract, torch.compile, autocast, checkpointing, and what must not happen to inputs and hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.conformance.evaluate import ours
from tests.conformance.spy import Spy, watched
from tests.losses import (
    ANCHOR,
    BRANCHES,
    DECIDABILITY,
    EVERY,
    FIELD,
    FUSED,
    KL,
    LOSSES,
    ODBA,
    PD,
    SOFT_TRIPLE,
    SOFTMAX,
    Loss,
)
from tests.problem import Problem, make_problem

every_branch = pytest.mark.parametrize("loss", EVERY, ids=str)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
STATISTICS = (PD, DECIDABILITY, FIELD, ODBA, KL, FUSED, ANCHOR, SOFTMAX, SOFT_TRIPLE)  # of each kind one, and each op


def op_arguments(loss: Loss, case: str, backend: str) -> dict[str, list[Any]]:
    """Arguments of every custom op that forward and backward of a loss call."""
    problem = make_problem(case, torch.float32)
    spy = watched(lambda: loss(problem, backend))
    names = {func.name() for func, _ in spy.calls if func.name().startswith("dmlkernels::")}
    return {name: spy.of_op(name.removeprefix("dmlkernels::")) for name in names}


def laid_out(args: Sequence[Any], layout: Callable[[Tensor], Tensor], gradients: bool) -> tuple[Any, ...]:
    """The same arguments in other memory, floats with or without gradients."""

    def prepared(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return layout(value.detach()).requires_grad_(gradients and value.dtype.is_floating_point)

    return tuple(prepared(value) for value in args)


def permuted(x: Tensor) -> Tensor:
    """The same values, densely stored with the axes in reverse order."""
    axes = list(reversed(range(x.dim())))
    return x.permute(axes).contiguous().permute(axes)


@pytest.mark.parametrize("layout", [torch.clone, permuted], ids=["contiguous", "permuted"])
@pytest.mark.parametrize("loss", STATISTICS, ids=str)
def test_opcheck(loss: Loss, backend: str, layout: Callable[[Tensor], Tensor]) -> None:
    found = op_arguments(loss, "some_ignored", backend)
    for way in ("forward", "backward"):
        assert {f"dmlkernels::pair_{way}", f"dmlkernels::pair_loss_{way}"} & found.keys()
    checks = ("test_schema", "test_faketensor")
    if layout is torch.clone:
        checks += ("test_autograd_registration", "test_aot_dispatch_dynamic")
    for name, calls in found.items():
        op = getattr(torch.ops.dmlkernels, name.removeprefix("dmlkernels::")).default
        for args in calls:
            # The backward ops have no gradient, and say so when asked.
            given = laid_out(args, layout, gradients=not name.endswith("backward"))
            torch.library.opcheck(op, given, test_utils=checks)


class Watching(Tensor):
    """A tensor that notes the operations it meets."""

    met: ClassVar[list[str]] = []
    held: Tensor

    @staticmethod
    def __new__(cls: type[Watching], held: Tensor) -> Watching:
        made: Watching = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        cls.met.append(func.name())
        return func(*(arg.held if isinstance(arg, Watching) else arg for arg in args), **(kwargs or {}))


def op_names(call: Callable[[], Any]) -> set[str]:
    """Of this package, that PyTorch's dispatcher was asked for."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        call()
    return {event.key for event in profiled.key_averages() if event.key.startswith("dmlkernels::")}


def test_only_who_looks_sees_ops(backend: str) -> None:
    """Otherwise PyTorch's dispatcher is left out, for the same numbers."""
    problem = make_problem("some_ignored", torch.float32)
    expected = SOFTMAX(problem, backend)
    assert op_names(lambda: SOFTMAX(problem, backend).backward()) == set()
    with Spy() as spy:
        found = SOFTMAX(problem, backend)
    assert torch.equal(found, expected) and spy.pairs
    with torch.inference_mode():
        assert torch.equal(SOFTMAX(problem, backend), expected)


def test_a_tensor_subclass_sees_ops(backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    expected = SOFTMAX(problem, backend)
    Watching.met.clear()
    watching = Watching(problem.embeddings.detach())
    with torch.no_grad():
        found = SOFTMAX(replace(problem, embeddings=watching), backend)
    assert torch.equal(found, expected)
    assert {"dmlkernels::pair_forward", "dmlkernels::pair_loss_forward"} & {*Watching.met}


@pytest.mark.filterwarnings("ignore")
def test_a_trace_holds_ops_and_not_their_results(backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    problem = replace(problem, proxies=problem.proxies.detach())

    def call(embeddings: Tensor) -> Tensor:
        return SOFTMAX(replace(problem, embeddings=embeddings), backend)

    traced = torch.jit.trace(call, (problem.embeddings.detach(),))
    other = torch.randn_like(problem.embeddings)
    torch.testing.assert_close(traced(other), call(other))


def test_meta_tensors_have_results_without_values() -> None:
    meta = {
        name: value.detach().to("meta") if isinstance(value, Tensor) else value
        for name, value in vars(make_problem("plain", torch.float32)).items()
    }
    embeddings = meta["embeddings"].requires_grad_()
    value = SOFTMAX(Problem(**{**meta, "embeddings": embeddings}), "torch")
    value.backward()
    assert value.is_meta and embeddings.grad.is_meta and embeddings.grad.shape == embeddings.shape


@pytest.fixture
def fresh_compiler() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def equal(loss: Loss, problem: Problem, call: Callable[[Problem], Tensor], backend: str) -> None:
    expected = loss(problem, backend)
    leaves = [getattr(problem, name) for name in loss.leaves]
    gradients = torch.autograd.grad(expected, leaves, torch.ones_like(expected))
    found = call(problem)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    found_gradients = torch.autograd.grad(found, leaves, torch.ones_like(found))
    torch.testing.assert_close(found_gradients, gradients, rtol=1e-5, atol=1e-6)


def compiled(loss: Loss, backend: str, compiler: str, **options: Any) -> Callable[[Problem], Tensor]:
    names = [*loss.inputs, *loss.keywords.values()]

    @torch.compile(fullgraph=True, backend=compiler, **options)
    def call(given: dict[str, Tensor]) -> Tensor:
        return loss(Problem(**{**blank, **given}), backend)

    blank = dict.fromkeys(Problem.__dataclass_fields__)
    return lambda problem: call({name: getattr(problem, name) for name in names})


@every_loss
def test_compiles_into_one_graph(loss: Loss, backend: str, fresh_compiler: None) -> None:
    equal(loss, make_problem("some_ignored", torch.float32), compiled(loss, backend, "aot_eager"), backend)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("loss", BRANCHES, ids=str)
def test_branches_compile_into_one_graph(loss: Loss, fresh_compiler: None) -> None:
    equal(loss, make_problem("some_ignored", torch.float32), compiled(loss, "torch", "aot_eager"), "torch")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("loss", [PD, FIELD, FUSED, SOFT_TRIPLE], ids=str)
def test_compiles_for_any_batch_at_once(loss: Loss, backend: str, fresh_compiler: None) -> None:
    """More than torch compiles a function anew for."""
    call, problem = compiled(loss, backend, "aot_eager", dynamic=True), make_problem("large", torch.float32)
    for batch in range(20, 20 + 2 * torch._dynamo.config.recompile_limit, 2):
        rows = {name: getattr(problem, name)[:batch].detach() for name in ("embeddings", "intervened", "labels")}
        rows["embeddings"].requires_grad_()
        equal(loss, replace(problem, **rows), call, backend)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("loss", [PD, FUSED, SOFT_TRIPLE], ids=str)
def test_compiles_for_any_shape_at_once(loss: Loss, fresh_compiler: None) -> None:
    backend = "torch"  # the compiler sees the same ops with any
    call = compiled(loss, backend, "aot_eager", dynamic=True)
    for case in ("plain", "tiles_33_65_17", "large"):
        equal(loss, make_problem(case, torch.float32), call, backend)


def test_compiles_with_an_option_that_varies(backend: str, fresh_compiler: None) -> None:
    problem = make_problem("plain", torch.float32)
    call = torch.compile(
        lambda weight: FUSED(problem, backend, field_weight=weight), backend="aot_eager", fullgraph=True
    )
    for weight in (1.0, 0.5, 0.25, 0.125):
        torch.testing.assert_close(call(weight), FUSED(problem, backend, field_weight=weight))


def test_inductor(backend: str, fresh_compiler: None) -> None:
    equal(SOFTMAX, make_problem("plain", torch.float32), compiled(SOFTMAX, backend, "inductor"), backend)


@every_branch
def test_host_reads_nothing(loss: Loss, backend: str) -> None:
    for case in ("some_ignored", "unordered_proxies"):
        problem = make_problem(case)
        assert watched(lambda problem=problem: loss(problem, backend)).waits == []


def test_the_spy_sees_what_waits() -> None:
    x = torch.randn(3, requires_grad=True)
    with Spy() as spy:
        x.detach()[x > 0].sum().item()
        x.detach().nonzero()
    assert spy.waits == ["aten::index.Tensor", "aten::_local_scalar_dense", "aten::nonzero"]


@every_loss
def test_autocast_changes_nothing(loss: Loss, backend: str) -> None:
    """Distances, sums and proxies stay float32."""
    problem = make_problem("plain", torch.float32)
    expected = ours(loss, problem, backend)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(loss, problem, backend)
    assert torch.equal(found.value, expected.value) and found.value.dtype == torch.float32
    for name, gradient in expected.gradients.items():
        assert torch.equal(found.gradients[name], gradient) and gradient.dtype == torch.float32


@every_loss
def test_a_bfloat16_step_leaves_proxies_float32(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    layer = nn.Linear(problem.embeddings.shape[1], problem.embeddings.shape[1])
    with torch.autocast("cpu", torch.bfloat16):
        embeddings, intervened = layer(problem.embeddings), layer(problem.intervened)
        assert embeddings.dtype == torch.bfloat16
        value = loss(Problem(**{**vars(problem), "embeddings": embeddings, "intervened": intervened}), backend)
    assert value.dtype == torch.float32
    value.backward()
    assert layer.weight.grad is not None and layer.weight.grad.isfinite().all()
    for name in ("proxies", "centers"):
        proxies = getattr(problem, name)
        assert proxies.dtype == torch.float32
        if name in loss.leaves:
            assert proxies.grad.dtype == torch.float32


@pytest.mark.parametrize("use_reentrant", [True, False])
@every_loss
def test_checkpointing(loss: Loss, backend: str, use_reentrant: bool) -> None:
    problem = make_problem("plain", torch.float32)

    def call(problem: Problem) -> Tensor:
        def inner(*vectors: Tensor) -> Tensor:
            return loss(Problem(**{**vars(problem), **dict(zip(loss.leaves, vectors, strict=True))}), backend)

        return checkpoint(inner, *(getattr(problem, name) for name in loss.leaves), use_reentrant=use_reentrant)

    expected = ours(loss, problem, backend)
    value = call(problem)
    assert torch.equal(value, expected.value)
    value.backward()
    whole = loss(problem, backend)
    gradients = torch.autograd.grad(whole, [getattr(problem, name) for name in loss.leaves])
    for name, gradient in zip(loss.leaves, gradients, strict=True):
        assert torch.equal(getattr(problem, name).grad, gradient)


@every_branch
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_inputs_are_left_alone(loss: Loss, backend: str, dtype: torch.dtype) -> None:
    problem = make_problem("some_ignored", dtype)
    tensors = {name: value for name, value in vars(problem).items() if value is not None}
    before = {name: (value.detach().clone(), value._version, value.data_ptr()) for name, value in tensors.items()}
    ours(loss, problem, backend)
    for name, value in tensors.items():
        copy, version, address = before[name]
        assert value.dtype == copy.dtype and value._version == version and value.data_ptr() == address
        assert torch.equal(value, copy)
