"""The CouCE-style objective around any base loss."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize

import dmlkernels as dml
from dmlkernels.couce.criterion import CouCE, gaussian_ramp
from dmlkernels.couce.dictionary import BackgroundDictionary
from dmlkernels.functional.decidability import pd_loss

NUM_CLASSES, SIZE = 5, 16


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class PlainLoss(nn.Module):
    """A proxy loss like those of this package: pd_loss with its own proxies."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(NUM_CLASSES, SIZE, dtype=dtype, generator=seeded(1)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return pd_loss(embeddings, labels, self.proxies)


class Columns(nn.Module):
    """A proxy loss that keeps its proxies as the columns of a parameter of some name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(PlainLoss().proxies.detach().T.clone()))
        self.column_name = name

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(embeddings @ getattr(self, self.column_name), labels)


class Opaque(nn.Module):
    """A loss whose proxies nobody can guess."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = PlainLoss()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.plain(embeddings, labels)


def batch(num_samples: int = 10, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    views = torch.randn(2, num_samples, SIZE, dtype=dtype, generator=seeded(2))
    return views[0].requires_grad_(), torch.arange(num_samples) % NUM_CLASSES, views[1].requires_grad_()


def trained_dictionary(dtype: torch.dtype = torch.float64) -> BackgroundDictionary:
    dictionary = BackgroundDictionary(4, SIZE, dtype=dtype, backend="torch")
    dictionary.update(torch.randn(12, SIZE, dtype=dtype, generator=seeded(3)))
    return dictionary


def dense_invariance(first: Tensor, second: Tensor, proxies: Tensor, temperature: float) -> Tensor:
    p, q = (log_softmax(normalize(view) @ normalize(proxies).T / temperature, 1) for view in (first, second))
    total = kl_div(q, p.detach(), reduction="sum", log_target=True)
    return (total + kl_div(p, q.detach(), reduction="sum", log_target=True)) / (2 * len(first))


def dense_odba(embeddings: Tensor, dictionary: BackgroundDictionary) -> Tensor:
    return (normalize(embeddings) @ dictionary.atoms[dictionary.active].T).square().mean()


def test_ramp() -> None:
    assert gaussian_ramp(0, ramp_epochs=5) == pytest.approx(math.exp(-5))
    assert gaussian_ramp(2.5, ramp_epochs=5) == pytest.approx(math.exp(-1.25))
    assert gaussian_ramp(5, ramp_epochs=5) == 1 and gaussian_ramp(80, ramp_epochs=5) == 1
    assert gaussian_ramp(2.9, ramp_epochs=5, warmup_epochs=3) == 0
    assert gaussian_ramp(3, ramp_epochs=5, warmup_epochs=3) == pytest.approx(math.exp(-5))
    assert gaussian_ramp(0, ramp_epochs=0) == 1
    values = [gaussian_ramp(step / 10, ramp_epochs=5, warmup_epochs=1) for step in range(80)]
    assert values == sorted(values)


@pytest.mark.parametrize("epoch", [None, 2.5, 7.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0), (3.0, 0.0)])
def test_objective_and_gradients_are_those_of_the_sum(epoch: float | None, weights: tuple[float, float]) -> None:
    base, dictionary = PlainLoss(), trained_dictionary()
    embeddings, labels, intervened = batch()
    loss = CouCE(base, dictionary=dictionary, odba_weight=weights[0], invariance_weight=weights[1], temperature=0.2)
    ramp = 1.0
    if epoch is not None:
        loss.set_epoch(epoch)
        ramp = gaussian_ramp(epoch, ramp_epochs=5)
    value = loss(embeddings, labels, intervened)
    parts = {
        "base": base(embeddings, labels),
        "odba": dense_odba(embeddings, dictionary),
        "invariance": dense_invariance(embeddings, intervened, base.proxies.detach(), 0.2),
    }
    expected = parts["base"] + ramp * (weights[0] * parts["odba"] + weights[1] * parts["invariance"])
    inputs = [embeddings, intervened, base.proxies]
    grads = torch.autograd.grad(value, inputs, allow_unused=True)
    expected_grads = torch.autograd.grad(expected, inputs, allow_unused=True)
    assert torch.allclose(value, expected, rtol=1e-7)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        if grad is None:
            assert expected_grad is None or not expected_grad.any()
        else:
            assert torch.allclose(grad, expected_grad, rtol=1e-6, atol=1e-9)
    computed = {"base"} | {name for name, weight in zip(("odba", "invariance"), weights, strict=True) if weight}
    assert set(loss.parts) == computed | {"ramp"}
    for name in computed:
        assert torch.allclose(loss.parts[name], parts[name], rtol=1e-9)
        assert not loss.parts[name].requires_grad
    assert loss.parts["ramp"].item() == pytest.approx(ramp)


def test_proxies_get_a_gradient_from_the_invariance_only_on_request() -> None:
    embeddings, labels, intervened = batch()
    base = PlainLoss()
    (plain,) = torch.autograd.grad(base(embeddings, labels), base.proxies)
    (detached,) = torch.autograd.grad(CouCE(base)(embeddings, labels, intervened), base.proxies)
    attached_loss = CouCE(base, detach_proxies=False)(embeddings, labels, intervened)
    (attached,) = torch.autograd.grad(attached_loss, base.proxies)
    assert torch.equal(plain, detached) and not torch.allclose(plain, attached)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ["zero weights", "warm-up", "no inputs"])
def test_base_loss_bit_for_bit_and_no_other_work(
    dtype: torch.dtype, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("computed for nothing")

    monkeypatch.setattr("dmlkernels.couce.criterion.symmetric_kl_loss", unwanted)
    monkeypatch.setattr(BackgroundDictionary, "forward", unwanted)
    base, dictionary = PlainLoss(dtype), trained_dictionary(dtype)
    embeddings, labels, intervened = batch(dtype=dtype)
    if case == "zero weights":
        loss = CouCE(base, dictionary=dictionary, odba_weight=0.0, invariance_weight=0.0)
    elif case == "warm-up":
        loss = CouCE(base, dictionary=dictionary, warmup_epochs=3)
        loss.set_epoch(2.9)
    else:
        loss = CouCE(base)
    value = loss(embeddings, labels, None if case == "no inputs" else intervened)
    expected = base(embeddings, labels)
    assert torch.equal(value, expected) and value.dtype == expected.dtype
    grads = torch.autograd.grad(value, [embeddings, base.proxies])
    assert all(map(torch.equal, grads, torch.autograd.grad(expected, [embeddings, base.proxies])))
    assert list(loss.parts) == ["base"]


def test_the_schedule_comes_back_from_warm_up() -> None:
    embeddings, labels, intervened = batch()
    loss = CouCE(PlainLoss(), dictionary=trained_dictionary(), warmup_epochs=2)
    full = loss(embeddings, labels, intervened)
    values = []
    for epoch in (0, 2, 4.5, 7, 8):
        loss.set_epoch(epoch)
        values.append(loss(embeddings, labels, intervened).item())
    assert values == sorted(values) and values[0] == loss.parts["base"].item()
    assert values[-1] == values[-2] == full.item()


@pytest.mark.parametrize("host", ["proxies", "W", "fc", "callable", "function"])
def test_proxies_are_found(host: str) -> None:
    plain, (embeddings, labels, intervened) = PlainLoss(), batch()
    if host == "proxies":
        loss = CouCE(plain)
    elif host in ("W", "fc"):
        loss = CouCE(Columns(host))
    elif host == "callable":
        opaque = Opaque()
        loss = CouCE(opaque, proxies=lambda: opaque.plain.proxies)
    else:
        loss = CouCE(lambda x, y: pd_loss(x, y, plain.proxies), proxies=lambda: plain.proxies)
    loss(embeddings, labels, intervened)
    expected = dense_invariance(embeddings, intervened, plain.proxies, 0.1)
    assert torch.allclose(loss.parts["invariance"], expected)


@pytest.mark.parametrize(
    "name", ["ProxyAnchorLoss", "ProxyNCALoss", "NormalizedSoftmaxLoss", "ArcFaceLoss", "CosFaceLoss", "SoftTripleLoss"]
)
def test_hosts_of_another_library(name: str) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    base = getattr(losses, name)(num_classes=NUM_CLASSES, embedding_size=SIZE)
    loss = CouCE(base, dictionary=trained_dictionary(torch.float32))
    assert {id(p) for p in loss.parameters()} == {id(p) for p in base.parameters()}
    embeddings, labels, intervened = batch(dtype=torch.float32)
    value = loss(embeddings, labels, intervened)
    value.backward()
    parts = loss.parts
    assert torch.allclose(value, parts["base"] + parts["odba"] + parts["invariance"])
    proxies = base.proxies if hasattr(base, "proxies") else base.fc.T if hasattr(base, "fc") else base.W.T
    assert torch.allclose(parts["invariance"], dense_invariance(embeddings, intervened, proxies, 0.1), rtol=1e-4)
    silent = CouCE(base, odba_weight=0.0, invariance_weight=0.0)
    assert torch.equal(silent(embeddings, labels, intervened), base(embeddings, labels))


def test_no_parameters_of_its_own_and_nothing_in_the_backbone() -> None:
    backbone, base = nn.Sequential(nn.Linear(6, SIZE), nn.ReLU()).double(), PlainLoss()
    keys, before = list(backbone.state_dict()), copy.deepcopy(backbone)
    loss = CouCE(base, dictionary=trained_dictionary())
    images = torch.randn(10, 6, dtype=torch.float64)
    embeddings = backbone(images)
    assert loss.dictionary is not None
    loss.dictionary.update(embeddings)
    loss(embeddings, batch()[1], embeddings.detach() + 1).backward()
    assert sum(p.numel() for p in loss.parameters()) == sum(p.numel() for p in base.parameters())
    assert list(backbone.state_dict()) == keys and repr(backbone) == repr(before)
    exported = torch.export.export(backbone, (images,))
    assert set(exported.state_dict) == set(keys)
    assert not {"fft", "atoms"} & set(str(exported.graph).replace("_", " ").split())
    assert torch.equal(exported.module()(images), before(images))


def test_state_dict_holds_the_base_loss_and_the_dictionary() -> None:
    loss = CouCE(PlainLoss(), dictionary=trained_dictionary())
    names = ["base_loss.proxies", "dictionary.atoms", "dictionary.counts", "dictionary.sums", "epoch"]
    assert sorted(loss.state_dict()) == names
    twin = CouCE(PlainLoss(), dictionary=BackgroundDictionary(4, SIZE, dtype=torch.float64))
    twin.load_state_dict(loss.state_dict())
    embeddings, labels, intervened = batch()
    assert torch.equal(twin(embeddings, labels, intervened), loss(embeddings, labels, intervened))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_views(dtype: torch.dtype) -> None:
    embeddings, labels, intervened = batch()
    loss = CouCE(PlainLoss(torch.float32), dictionary=trained_dictionary(torch.float32))
    halves = [view.detach().to(dtype).requires_grad_() for view in (embeddings, intervened)]
    value = loss(halves[0], labels, halves[1])
    value.backward()
    expected = loss(halves[0].detach().float(), labels, halves[1].detach().float())
    assert value.dtype == torch.float32 and torch.allclose(value, expected, rtol=1e-3)
    assert all(view.grad is not None and view.grad.dtype == dtype for view in halves)


class DenseLoss(PlainLoss):
    """One that needs no kernel."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(embeddings @ self.proxies.T, labels)


def test_nothing_is_read_on_the_host(host_reads: Any) -> None:
    loss = CouCE(DenseLoss(), dictionary=trained_dictionary())
    embeddings, labels, intervened = batch()
    with host_reads:
        for epoch in (0.0, 2.5):
            loss.set_epoch(epoch)
            loss(embeddings, labels, intervened).backward()
    assert host_reads.found == []


def test_compiles_into_one_graph_and_follows_the_schedule_without_another() -> None:
    loss = CouCE(DenseLoss(), dictionary=trained_dictionary(), backend="torch")
    graphs: list[Any] = []

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(loss, backend=count, fullgraph=True)
    embeddings, labels, intervened = batch()
    for epoch in (1.0, 2.0, 4.0, 6.0):
        loss.set_epoch(epoch)
        value = compiled(embeddings, labels, intervened)
        assert torch.allclose(value, loss(embeddings, labels, intervened))
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"base_loss": 3}, TypeError),
        ({"dictionary": nn.Linear(2, 2)}, TypeError),
        ({"proxies": torch.zeros(2, 2)}, TypeError),
        ({"odba_weight": -1.0}, ValueError),
        ({"invariance_weight": float("nan")}, ValueError),
        ({"temperature": 0.0}, ValueError),
        ({"ramp_epochs": -1.0}, ValueError),
        ({"warmup_epochs": float("inf")}, ValueError),
        ({"odba_weight": "1"}, TypeError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]) -> None:
    (name,) = options
    with pytest.raises(error, match=rf"^{name}: got .* expected"):
        CouCE(**{"base_loss": PlainLoss(), **options})


def test_bad_calls() -> None:
    embeddings, labels, intervened = batch()
    with pytest.raises(ValueError, match=r"^base_loss: got Opaque without tensor .proxies, .W or .fc"):
        CouCE(Opaque())(embeddings, labels, intervened)
    with pytest.raises(ValueError, match=r"^intervened: got shape"):
        CouCE(PlainLoss())(embeddings, labels, intervened[:4])
    with pytest.raises(ValueError, match=r"^epoch: got nan"):
        CouCE(PlainLoss()).set_epoch(float("nan"))


def test_repr_names_the_settings() -> None:
    assert "odba_weight=0.5" in repr(CouCE(PlainLoss(), odba_weight=0.5))


@pytest.mark.parametrize("epoch", [0.5, 2.0, 9.0])
def test_the_schedule_resumes_where_it_was(epoch: float) -> None:
    def made() -> CouCE:
        return CouCE(PlainLoss(), dictionary=trained_dictionary(), warmup_epochs=1.0)

    saved = made()
    saved.set_epoch(epoch)
    state = copy.deepcopy(nn.ModuleDict({"loss": saved}).state_dict())
    for device in ("cpu", "meta"):
        with torch.device(device):
            resumed = made() if device == "cpu" else CouCE(PlainLoss(), warmup_epochs=1.0)
        if device == "meta":
            resumed.dictionary = BackgroundDictionary(4, SIZE, dtype=torch.float64, device="meta")
            resumed = resumed.to_empty(device="cpu")
            resumed.ramp.fill_(torch.nan)
        nn.ModuleDict({"loss": resumed}).load_state_dict(state)
        assert resumed.warming_up == saved.warming_up
        assert torch.equal(resumed(*batch()), saved(*batch()))


@pytest.mark.parametrize("epoch", [None, 3.0])
def test_the_ramp_is_never_what_was_in_memory(epoch: float | None) -> None:
    """Assigned to, or made empty, on a module from the meta device."""
    saved = CouCE(PlainLoss())
    if epoch is not None:
        saved.set_epoch(epoch)
    with torch.device("meta"):
        assigned, emptied = CouCE(PlainLoss()), CouCE(PlainLoss())
    assigned.load_state_dict(saved.state_dict(), assign=True)
    assert torch.equal(assigned.ramp, saved.ramp) and torch.equal(assigned.epoch, saved.epoch)
    if epoch is not None:
        emptied.set_epoch(epoch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty_like", lambda x, **options: torch.full(x.shape, torch.nan, **options))
        emptied.to_empty(device="cpu")
    assert torch.equal(emptied.ramp, saved.ramp) and torch.equal(emptied.epoch, saved.epoch)


def test_a_state_without_the_schedule_leaves_it() -> None:
    """As states had it before the epoch was in them."""
    loss, saved = CouCE(PlainLoss()), CouCE(PlainLoss())
    loss.set_epoch(1.5)
    state = {name: value for name, value in saved.state_dict().items() if name != "epoch"}
    loss.load_state_dict(state)
    assert loss.ramp.item() == pytest.approx(gaussian_ramp(1.5, ramp_epochs=5))


def test_the_schedule_may_move_between_forward_and_backward() -> None:
    gradients = []
    for moves in (False, True):
        loss = CouCE(PlainLoss(), dictionary=trained_dictionary())
        loss.set_epoch(1.0)
        embeddings, labels, intervened = batch()
        value = loss(embeddings, labels, intervened)
        if moves:
            loss.set_epoch(4.0)
        value.backward()
        gradients.append(embeddings.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("returned", [torch.ones(10), torch.ones(1), 1.0], ids=["vector", "one", "float"])
def test_a_base_loss_that_is_no_scalar_is_refused(returned: Any) -> None:
    loss = CouCE(lambda embeddings, labels: returned, odba_weight=0.0, invariance_weight=0.0)
    with pytest.raises(ValueError, match=r"^base_loss: returned (shape \(1?[01],\)|float), expected a scalar tensor"):
        loss(*batch())


LOSSES_THAT_IGNORE = {
    "module": lambda: dml.NormalizedSoftmaxLoss(NUM_CLASSES, SIZE).double(),
    "another index": lambda: dml.PDLoss(NUM_CLASSES, SIZE, ignore_index=7).double(),
    "memory": lambda: dml.CrossBatchMemory(dml.ProxyAnchorLoss(NUM_CLASSES, SIZE), SIZE, 8).double(),
    "function": lambda: functools.partial(dml.cosface_loss, proxies=PlainLoss().proxies),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("base", LOSSES_THAT_IGNORE)
def test_what_the_base_loss_ignores_takes_no_part(base: str, weighted: bool, reduction: str) -> None:
    """Whatever it holds."""
    base_loss = LOSSES_THAT_IGNORE[base]()
    if weighted and base in ("another index", "memory"):
        pytest.skip("takes no weights")
    dictionary = BackgroundDictionary(4, SIZE, dtype=torch.float64, reduction=reduction)
    dictionary.update(torch.randn(9, SIZE, dtype=torch.float64, generator=seeded(4)))
    proxies = PlainLoss().proxies
    loss = CouCE(base_loss, dictionary=dictionary, proxies=lambda: proxies).eval()
    x, labels, other = batch()
    ignored = torch.zeros(len(x), dtype=torch.bool).index_fill(0, torch.tensor([1, 4, 5]), True)
    labels = labels.masked_fill(ignored, 7 if base == "another index" else -100)
    weight = torch.rand(len(x), dtype=torch.float64, generator=seeded(5)) if weighted else None
    kept = {} if weight is None else {"sample_weight": weight[~ignored]}
    expected = loss(x[~ignored], labels[~ignored], other[~ignored], **kept)
    parts = loss.parts
    given = {} if weight is None else {"sample_weight": weight.masked_fill(ignored, math.nan)}
    x, other = (view.detach().masked_fill(ignored[:, None], math.nan).requires_grad_() for view in (x, other))
    found = loss(x, labels, other, **given)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss.parts, parts)
    found.backward()
    for view in (x, other):
        assert view.grad[ignored].eq(0).all() and view.grad[~ignored].isfinite().all()
