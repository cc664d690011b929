"""Every statistic, in every type and on every path, equals the torch backend in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from dmlkernels.backends.native.cuda.problem import fits
from dmlkernels.backends.pairs import Pairs
from dmlkernels.statistics import Divergence, SoftTriple
from tests.native.emulated.conftest import ASCENDING, DESCENDING, SHUFFLED
from tests.native.emulated.kinds import KINDS, every_kind
from tests.triton.common import Maker, Outcome, outcome, upstream, widen

# A gradient is rounded to its type at the end, and for halves its slopes are too.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
# One of each; less than a tile of 64 (32 for float64); more, and several slices of 256 (128) numbers.
SIZES = ((1, 1, 1), (21, 35, 20), (66, 70, 261))

each_kind = pytest.mark.parametrize("kind", KINDS)
each_type = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def assert_agrees(pairs: Pairs) -> None:
    """Compare relative to the largest entry, gradients multiplied by the norm of their row."""
    gradient = upstream(pairs)
    found, true = outcome("native", pairs, gradient), outcome("torch", widen(pairs), gradient)
    precise = 1e-10 if pairs.rows.dtype == torch.float64 else 2e-5
    _assert_close(found.statistics, true.statistics, precise)
    for ours, theirs, raw in ((found.rows, true.rows, pairs.rows), (found.columns, true.columns, pairs.columns)):
        assert (ours is None) == (theirs is None)
        if ours is None or theirs is None or raw is None:
            continue
        assert ours.dtype == raw.dtype and ours.shape == raw.shape
        norms = torch.linalg.vector_norm(raw.double(), dim=-1, keepdim=True)
        _assert_close(ours * norms, theirs * norms, TOLERANCE[raw.dtype])


def _assert_close(found: Tensor, true: Tensor, tolerance: float) -> None:
    finite = true.isfinite()
    assert torch.equal(found.isfinite(), finite) and torch.equal(found[~finite], true[~finite].to(found.dtype))
    scale = max(1.0, true[finite].abs().max().item()) if finite.any() else 1.0
    assert (found.double() - true)[finite].abs().max().item() <= tolerance * scale if finite.any() else True


def same(first: Outcome, second: Outcome) -> bool:
    """Compare bit for bit, NaN included."""
    pairs = zip(first, second, strict=True)
    return all((x is None and y is None) or x.view(torch.uint8).equal(y.view(torch.uint8)) for x, y in pairs)


@pytest.mark.sampled(5)
@each_kind
@each_type
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_one_launch(kind: str, size: tuple[int, int, int], dtype: torch.dtype) -> None:
    assert_agrees(every_kind(Maker(*size, dtype=dtype))[kind])


@pytest.mark.sampled(5)
@each_kind
@each_type
@pytest.mark.parametrize("size", SIZES[1:], ids=str)
def test_several_launches(kind: str, size: tuple[int, int, int], dtype: torch.dtype, large: None) -> None:
    assert_agrees(every_kind(Maker(*size, dtype=dtype))[kind])


@pytest.mark.sampled(3)
@each_kind
@each_type
def test_splits(kind: str, dtype: torch.dtype, many_splits: None) -> None:
    """Either side split over several blocks, and one of them without any vectors."""
    assert_agrees(every_kind(Maker(66, 131, 40, dtype))[kind])


@pytest.mark.sampled(6)
@each_kind
@each_type
def test_order_of_threads_does_not_matter(kind: str, dtype: torch.dtype, engine: ModuleType) -> None:
    """It would matter where a barrier is missing."""
    pairs = every_kind(Maker(66, 67, 33, dtype))[kind]
    found = []
    for order in (ASCENDING, DESCENDING, SHUFFLED):
        engine.set_order(order)
        found.append(outcome("native", pairs, upstream(pairs)))
    assert same(found[0], found[1]) and same(found[0], found[2])


@pytest.mark.sampled(2)
@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_order_does_not_matter_to_shares(kind: str, dtype: torch.dtype, engine: ModuleType, many_splits: None) -> None:
    pairs = every_kind(Maker(66, 67, 33, dtype))[kind]
    first = outcome("native", pairs, upstream(pairs))
    engine.set_order(DESCENDING)
    assert same(first, outcome("native", pairs, upstream(pairs)))


@each_kind
def test_mixed_types_are_computed_in_the_wider(kind: str) -> None:
    pairs = every_kind(Maker(dtype=torch.float16))[kind]
    if pairs.columns is None:
        pytest.skip("one set of vectors")
    assert_agrees(replace(pairs, columns=pairs.columns.float()))
    assert_agrees(replace(pairs, rows=pairs.rows.float()))


@pytest.mark.sampled(2)
@each_kind
@each_type
def test_any_layout(kind: str, dtype: torch.dtype) -> None:
    """Rows that cannot be read 16 bytes at a time, expanded ones, and columns with strides inside."""
    pairs = every_kind(Maker(9, 12, 16, dtype))[kind]
    shape = pairs.rows.shape
    odd = torch.full((*shape[:-1], shape[-1] + 3), torch.nan, dtype=dtype)
    odd[..., 1:-2] = pairs.rows
    assert_agrees(replace(pairs, rows=odd[..., 1:-2]))
    assert_agrees(replace(pairs, rows=pairs.rows[..., :1, :].expand(shape)))
    if pairs.columns is not None:
        assert_agrees(replace(pairs, columns=pairs.columns.mT.contiguous().mT))


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_nan_is_passed_on(kind: str, dtype: torch.dtype) -> None:
    pairs = every_kind(Maker(dtype=dtype))[kind]
    for poison in (torch.nan, torch.inf):
        rows = pairs.rows.clone()
        rows[..., 0, 3] = poison
        found = outcome("native", replace(pairs, rows=rows), upstream(pairs))
        assert found.statistics[0].isnan().any()
        assert found.rows is not None and found.rows[..., 0, :].isnan().any()


@each_kind
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "splits"])
def test_ignored_rows_may_hold_anything(kind: str, shared: bool, request: pytest.FixtureRequest) -> None:
    if shared:
        request.getfixturevalue("many_splits")
    pairs = every_kind(Maker(dtype=torch.float32))[kind]
    if pairs.row_labels is None:
        pytest.skip("no labels")
    ignored = pairs.row_labels < 0
    rows = pairs.rows.masked_fill(ignored[:, None], torch.nan)
    found, clean = (outcome("native", replace(pairs, rows=given), upstream(pairs)) for given in (rows, pairs.rows))
    assert same(found, clean)
    assert found.rows is not None and not found.rows[ignored].any() and not found.statistics[ignored].any()


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 32), (torch.float32, 64), (torch.bfloat16, 64)], ids=str)
def test_any_number_of_centres(dtype: torch.dtype, most: int) -> None:
    """A class of more than a tile of them is left to the torch backend."""
    for count in (most, most + 1):
        pairs = Maker(9, 3 * count, 8, dtype).to_columns(SoftTriple(20.0, 0.1, count))
        assert fits(pairs) == (count <= most)
        assert_agrees(pairs)


@pytest.fixture
def poisoned() -> Iterator[None]:
    """New memory holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_no_columns_and_no_rows(poisoned: None) -> None:
    for shape in ((0, 5), (5, 0), (0, 0)):
        pairs = Pairs(Divergence(3.0, 1.0), torch.randn(2, shape[0], 4), torch.randn(shape[1], 4))
        found = outcome("native", pairs, upstream(pairs))
        assert found.rows is not None and found.rows.shape == pairs.rows.shape and not found.rows.any()
        assert found.columns is not None and not found.columns.any()
