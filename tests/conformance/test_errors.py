"""Bad input of every kind raises the promised error, which names the argument, what came and what is wanted."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import dmlkernels as dml
from tests.losses import EVERY, LOSSES, SOFT_TRIPLE, Loss
from tests.problem import VECTORS, make_problem

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
LABELLED = [loss for loss in LOSSES if "labels" in loss.inputs]


@dataclass(frozen=True)
class Bad:
    """A change that spoils an argument, and what must come of it."""

    kind: str
    change: Callable[[Tensor], Any]
    error: type[Exception]
    came: str  # part of the message, a regular expression

    def __str__(self) -> str:
        return self.kind


def nested(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the interface of nested tensors is a prototype
        return torch.nested.nested_tensor([x[:2], x[2:]])


def sparse_csr(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse CSR tensors are in beta
        return x.to_sparse_csr()


def quantised(x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are deprecated
        return torch.quantize_per_tensor(x.detach().float(), 0.1, 0, torch.qint8)


BAD_VECTORS = (
    Bad("rank_1", lambda x: x[0], ValueError, r"got shape \(8,\), expected 2 dimensions"),
    Bad("rank_3", lambda x: x[None], ValueError, r"got shape \(1, \d+, 8\), expected 2 dimensions"),
    Bad("integers", lambda x: x.long(), TypeError, "got torch.int64, expected float"),
    Bad("complex", lambda x: x.to(torch.complex64), TypeError, "got torch.complex64, expected float"),
    Bad("list", lambda x: x.tolist(), TypeError, "got list, expected a tensor"),
    Bad("sparse", lambda x: x.to_sparse(), TypeError, "got a tensor of sparse_coo layout, expected a dense"),
    Bad("sparse_csr", lambda x: sparse_csr(x), TypeError, "got a tensor of sparse_csr layout, expected a dense"),
    Bad("mkldnn", lambda x: x.to_mkldnn(), TypeError, "got a tensor of _mkldnn layout, expected a dense"),
    Bad("nested", lambda x: nested(x), TypeError, "got a tensor of nested layout, expected a dense"),
    Bad("quantised", lambda x: quantised(x), TypeError, "got torch.qint8, expected float"),
    Bad("no_rows", lambda x: x[:0], ValueError, r"got shape \(0, 8\), expected at least one row"),
    Bad("no_columns", lambda x: x[:, :0], ValueError, r"(got shape \(\d+, 0\), expected at least)|(got 0 dimensions)"),
)
BAD_BESIDE_EMBEDDINGS = (
    Bad("other_size", lambda x: x[:, :7], ValueError, r"got 7 dimensions, expected 8 as in embeddings"),
    Bad("other_device", lambda x: x.to("meta"), ValueError, "is on meta, expected cpu where embeddings are"),
)
BAD_LABELS = (
    Bad("floats", lambda y: y.float(), TypeError, "got torch.float32, expected int64, int32, int16, int8 or uint8"),
    Bad("booleans", lambda y: y > 0, TypeError, "got torch.bool, expected int64, int32, int16, int8 or uint8"),
    Bad("list", lambda y: y.tolist(), TypeError, "got list, expected a tensor of integers"),
    Bad("sparse", lambda y: y.to_sparse(), TypeError, "got a tensor of sparse_coo layout, expected a dense"),
    Bad("nested", lambda y: nested(y), TypeError, "got a tensor of nested layout, expected a dense"),
    Bad("too_few", lambda y: y[:-1], ValueError, r"got shape \(\d+,\), expected \(\d+,\): one for each row of "),
    Bad("rank_2", lambda y: y[:, None], ValueError, r"got shape \(\d+, 1\), expected \(\d+,\): one for each row of "),
    Bad("rank_0", lambda y: y[0], ValueError, r"got shape \(\), expected \(\d+,\)"),
    Bad("other_device", lambda y: y.to("meta"), ValueError, "is on meta, expected cpu"),
)
BAD_WEIGHTS = (
    Bad("integers", lambda w: w.long(), TypeError, "got torch.int64, expected"),
    Bad("list", lambda w: w.tolist(), TypeError, "got list, expected a tensor"),
    Bad("sparse", lambda w: w.to_sparse(), TypeError, "got a tensor of sparse_coo layout, expected a dense"),
    Bad("nested", lambda w: nested(w), TypeError, "got a tensor of nested layout, expected a dense"),
    Bad("too_few", lambda w: w[:-1], ValueError, r"got shape \(\d+,\), expected \(\d+,\)"),
    Bad("other_device", lambda w: w.to("meta"), ValueError, "is on meta, expected cpu"),
)


def spoil(loss: Loss, field: str, argument: str, bad: Bad, backend: str) -> None:
    problem = make_problem("plain", torch.float32).frozen(*VECTORS)
    problem = replace(problem, **{field: bad.change(getattr(problem, field))})
    with pytest.raises(bad.error, match=f"^{argument}: .*{bad.came}"):
        loss(problem, backend)


@pytest.mark.parametrize("bad", BAD_VECTORS, ids=str)
@every_loss
def test_vectors(loss: Loss, bad: Bad, backend: str) -> None:
    for name in loss.inputs:
        if name in VECTORS:
            spoil(loss, name, name, bad, backend)


ENTRY_POINTS: dict[str, Callable[[Any], Any]] = {
    "logits": lambda x: dml.PDLoss(5, 8).get_logits(x),
    "logits of SoftTriple": lambda x: dml.SoftTripleLoss(5, 8).get_logits(x),
    "class means": lambda x: dml.PDLoss(5, 8).init_proxies_from(x, torch.arange(12) % 5),
    "dictionary": lambda x: dml.BackgroundDictionary(3, 8)(x),
    "CouCE": lambda x: dml.CouCE(dml.PDLoss(5, 8))(x, torch.arange(12) % 5),
}


@pytest.mark.parametrize("bad", [bad for bad in BAD_VECTORS if bad.kind != "no_rows"], ids=str)
@pytest.mark.parametrize("entry", ENTRY_POINTS.values(), ids=ENTRY_POINTS)
def test_vectors_given_to_modules(entry: Callable[[Any], Any], bad: Bad) -> None:
    came = f"({bad.came})|(got .* dimensions, expected 8)" if bad.kind == "no_columns" else bad.came
    with pytest.raises(bad.error, match=f"^(embeddings|proxies|atoms): .*{came}"):
        entry(bad.change(torch.randn(12, 8)))


@pytest.mark.parametrize("bad", BAD_BESIDE_EMBEDDINGS, ids=str)
@every_loss
def test_vectors_beside_embeddings(loss: Loss, bad: Bad, backend: str) -> None:
    for name in loss.inputs:
        if name in VECTORS[1:]:
            spoil(loss, name, name, bad, backend)


@pytest.mark.parametrize("bad", BAD_LABELS, ids=str)
@pytest.mark.parametrize("loss", LABELLED, ids=str)
def test_labels(loss: Loss, bad: Bad, backend: str) -> None:
    spoil(loss, "labels", "labels", bad, backend)


@pytest.mark.parametrize("bad", BAD_LABELS, ids=str)
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "proxy_labels" in loss.keywords], ids=str)
def test_proxy_labels(loss: Loss, bad: Bad, backend: str) -> None:
    problem = replace(make_problem("plain", torch.float32), proxy_labels=bad.change(torch.arange(5)))
    with pytest.raises(bad.error, match=f"^proxy_labels: .*{bad.came}"):
        loss(problem, backend)


@pytest.mark.parametrize("bad", BAD_WEIGHTS, ids=str)
@pytest.mark.parametrize(
    "loss", [loss for loss in EVERY if set(loss.keywords) & {"sample_weight", "prior", "active"}], ids=str
)
def test_weights_of_samples_and_atoms(loss: Loss, bad: Bad, backend: str) -> None:
    for argument, field in loss.keywords.items():
        if argument in ("sample_weight", "prior") or (argument == "active" and bad.kind != "integers"):
            spoil(loss, field, argument, bad, backend)


def test_active_must_be_boolean(backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    with pytest.raises(TypeError, match=r"^active: got torch.float32, expected bool"):
        dml.odba_penalty(problem.embeddings, problem.atoms, active=problem.prior.float(), backend=backend)


def numbers_of(loss: Loss) -> list[str]:
    """Options that are floats."""
    found = inspect.signature(getattr(dml, loss.function)).parameters.values()
    return [option.name for option in found if isinstance(option.default, float) or option.name == "temperature"]


def takes_tensor(loss: Loss, option: str) -> bool:
    return "Tensor" in inspect.signature(getattr(dml, loss.function)).parameters[option].annotation


NOT_NEGATIVE = {"eps", "tau", "label_smoothing", "lower_margin", "upper_margin", "regularizer_weight"}
ANY_SIGN = {"margin", "hardness", "pd_weight", "field_weight", "odba_weight"}


@every_loss
def test_numbers(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    for option in numbers_of(loss):
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match=f"^{option}: got {value}, expected a finite number"):
                loss(problem, backend, **{option: value})
        for value in ("1", None, True, *(() if takes_tensor(loss, option) else (torch.tensor(1.0),))):
            with pytest.raises(TypeError, match=f"^{option}: got {type(value).__name__}, expected a number"):
                loss(problem, backend, **{option: value})
        for value in (1e200, 10**400, -(10**5000)):
            with pytest.raises(
                ValueError, match=f"^{option}: got (-?1e.200|an int of [0-9]+ bits), expected a magnitude"
            ):
                loss(problem, backend, **{option: value})
        if option not in ANY_SIGN:
            with pytest.raises(ValueError, match=f"^{option}: got -1.0, expected a number "):
                loss(problem, backend, **{option: -1.0})
        if option not in ANY_SIGN | NOT_NEGATIVE:
            with pytest.raises(ValueError, match=f"^{option}: got 0.0, expected a number above 0"):
                loss(problem, backend, **{option: 0.0})
            with pytest.raises(ValueError, match=f"^{option}: got 1e-200, expected a number of at least"):
                loss(problem, backend, **{option: 1e-200})


@every_loss
def test_numbers_of_numpy(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    for option in numbers_of(loss):
        for kind in (np.float16, np.float32, np.float64, np.int64):
            value = kind(option != "label_smoothing" if kind is np.int64 else 0.5)
            expected = loss(problem, backend, **{option: float(value)})
            assert torch.equal(loss(problem, backend, **{option: value}), expected)


@every_loss
def test_flags(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    options = inspect.signature(getattr(dml, loss.function)).parameters.values()
    for option in (option.name for option in options if isinstance(option.default, bool) and option.name != "validate"):
        for value in ("no", 1, None, torch.tensor(True)):
            with pytest.raises(TypeError, match=f"^{option}: got {type(value).__name__}, expected True or False"):
                loss(problem, backend, **{option: value})


@pytest.mark.parametrize("transform", ["grad", "vjp", "jvp", "jacrev", "vmap"])
@every_loss
def test_transforms_of_torch_func(loss: Loss, transform: str, backend: str) -> None:
    problem = make_problem("plain", torch.float32)

    def of(embeddings: Tensor) -> Tensor:
        return loss(replace(problem, embeddings=embeddings), backend)

    x = problem.embeddings.detach()
    transforms: dict[str, Callable[[], Any]] = {
        "grad": lambda: torch.func.grad(of)(x),
        "vjp": lambda: torch.func.vjp(of, x),
        "jvp": lambda: torch.func.jvp(of, (x,), (x,)),
        "jacrev": lambda: torch.func.jacrev(of)(x),
        "vmap": lambda: torch.func.vmap(of)(x[None]),
    }
    with pytest.raises(RuntimeError, match=r"is inside a torch\.func transform"):
        transforms[transform]()


def test_forward_mode(backend: str) -> None:
    x, labels = torch.eye(3), torch.arange(3)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="no forward-mode ones"):
        dml.pd_loss(forward_ad.make_dual(x, x), labels, x, backend=backend)


def test_forward_mode_does_not_ask_for_the_other(backend: str) -> None:
    """Else a tangent would be lost within no_grad, and with smoothed labels a part of it."""
    x, labels = torch.eye(3), torch.arange(3)
    options = {"label_smoothing": 0.1, "backend": backend}
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, x)
        with pytest.raises(NotImplementedError, match="no forward-mode ones"):
            dml.normalized_softmax_loss(dual, labels, x, **options)
        assert dml.pd_loss(x, labels, x, backend=backend).isfinite()


def test_dictionary_options_without_atoms(backend: str) -> None:
    for option, value in {"prior": torch.ones(3), "active": torch.ones(3, dtype=torch.bool)}.items():
        with pytest.raises(ValueError, match=f"^{option}: given without atoms"):
            dml.fused_objective(torch.eye(3), torch.arange(3), torch.eye(3), backend=backend, **{option: value})


@every_loss
def test_choices(loss: Loss, backend: str) -> None:
    problem = make_problem("plain", torch.float32)
    options = inspect.signature(getattr(dml, loss.function)).parameters
    for option in {"form", "reduction", "correction"} & set(options):
        for value in ("other", None, 2, True):
            with pytest.raises(ValueError, match=rf"^{option}: got {value!r}, expected one of \("):
                loss(problem, backend, **{option: value})
    with pytest.raises(ValueError, match=r"^backend: got 'cuda', expected one of"):
        loss(problem, "cuda")
    for name, availability in dml.available_backends().items():
        if not availability:
            with pytest.raises(RuntimeError, match=f"backend '{name}' cannot run: "):
                loss(problem, name)


@pytest.mark.parametrize("margin", [-0.1, 3.2])
def test_margin_of_arcface_is_an_angle(margin: float) -> None:
    problem = make_problem("plain", torch.float32)
    with pytest.raises(ValueError, match=f"^margin: got {margin}, expected"):
        dml.arcface_loss(problem.embeddings, problem.labels, problem.proxies, margin=margin)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), (None, TypeError)]
)
def test_centers_per_class(value: Any, error: type[Exception]) -> None:
    problem = make_problem("plain", torch.float32)
    with pytest.raises(error, match=r"^centers_per_class: got "):
        SOFT_TRIPLE(problem, centers_per_class=value)
    with pytest.raises(ValueError, match=r"^centers: got 10 rows, expected a multiple of centers_per_class=3"):
        SOFT_TRIPLE(problem, centers_per_class=3)


def test_proxy_labels_without_proxies(backend: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy_labels: given without proxies"):
        dml.potential_field_loss(torch.eye(3), torch.arange(3), proxy_labels=torch.arange(3), backend=backend)


def test_odba_weight_without_atoms(backend: str) -> None:
    with pytest.raises(ValueError, match=r"^atoms: got None, expected \(K, D\) atoms for odba_weight=1.0"):
        dml.fused_objective(torch.eye(3), torch.arange(3), torch.eye(3), odba_weight=1.0, backend=backend)


def test_views_of_different_batches(backend: str) -> None:
    with pytest.raises(ValueError, match=r"^intervened: got shape \(2, 3\), expected \(3, 3\) as embeddings"):
        dml.symmetric_kl_loss(torch.eye(3), torch.eye(3)[:2], torch.eye(3), temperature=0.1, backend=backend)


def test_decidability_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"^impostor_scores: got an empty tensor"):
        dml.decidability(torch.ones(2), torch.ones(0))
    with pytest.raises(TypeError, match=r"^genuine_scores: got torch\.int64"):
        dml.decidability(torch.ones(2).long(), torch.ones(2))


def test_potential_field_arguments() -> None:
    points, labels = torch.eye(3), torch.arange(3)
    with pytest.raises(ValueError, match=r"^sources: got 2 dimensions, expected 3 as in points"):
        dml.potential_field(points, labels, points[:, :2], labels)
    with pytest.raises(ValueError, match=r"^source_labels: got shape \(2,\), expected \(3,\)"):
        dml.potential_field(points, labels, points, labels[:2])
    with pytest.raises(ValueError, match=r"^alpha: got 0, expected a number above 0"):
        dml.potential_field(points, labels, points, labels, alpha=0)
