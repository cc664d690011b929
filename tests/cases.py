"""The hostile case table: what every loss of every backend is tested on.

``make_inputs(case, dtype, seed)`` draws in float64 and rounds once, so a float64 reference of the rounded inputs is
the truth for them. Tensors come without ``requires_grad``; ``requires_grad_()`` on them keeps their layout.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True)
class Case:
    """A label pattern and a geometry, and why they are here."""

    name: str
    reason: str
    batch: int
    dim: int
    num_classes: int
    labels: tuple[int, ...]
    proxy_labels: tuple[int, ...] | None = None  # None: proxy j has class j
    label_dtype: torch.dtype = torch.int64
    simplex: bool = False  # proxies at equal angles, as training would have them
    noise: float = 1.0  # length of the noise in a sample
    pull: float = 0.5  # part of its class's first proxy in a sample, beside unit noise
    common: float = 0.0  # part of one direction in every sample and proxy
    twins: bool = False  # each odd proxy lies next to the one before
    scales: tuple[float, ...] = (1.0,)  # of the rows of embeddings, in turn
    proxy_scales: tuple[float, ...] = (1.0,)
    copies: tuple[tuple[int, int], ...] = ()  # sample i becomes a copy of sample j
    proxy_copies: tuple[tuple[int, int], ...] = ()
    on_proxies: tuple[tuple[int, int], ...] = ()  # sample i becomes a copy of proxy j
    zero_rows: tuple[int, ...] = ()
    zero_proxies: tuple[int, ...] = ()
    layout: str = "contiguous"  # or "sliced", "transposed", "offset", "expanded"
    error: str = ""  # what pd_loss's message must say

    @property
    def num_proxies(self) -> int:
        return self.num_classes if self.proxy_labels is None else len(self.proxy_labels)

    @property
    def small(self) -> bool:
        """Every size is at most 64."""
        return max(self.batch, self.dim, self.num_proxies) <= 64

    @property
    def fits_half(self) -> bool:
        """No row overflows float16, and none loses its digits there."""
        return all(1e-3 <= scale <= 1e3 for scale in self.scales + self.proxy_scales)

    @property
    def kept(self) -> tuple[int, ...]:
        """Labels that are not ignored."""
        return tuple(label for label in self.labels if label != IGNORED)

    @property
    def has_pairs(self) -> bool:
        """The batch holds a same-class and a different-class pair, as decidability_loss needs."""
        return 1 < len(set(self.kept)) < len(self.kept)

    @property
    def classes_in_order(self) -> bool:
        """Proxy j has class j, as SoftTriple's centres and other libraries' proxies must."""
        return self.proxy_labels is None

    def __str__(self) -> str:
        return self.name


def _cyclic(batch: int, num_classes: int, first: int = 0) -> tuple[int, ...]:
    return tuple(first + i % num_classes for i in range(batch))


def _twice(batch: int, num_classes: int) -> tuple[int, ...]:
    """Two samples a class, the classes spread over all columns, the last one included."""
    classes = (batch + 1) // 2
    return tuple((i // 2) * (num_classes - 1) // (classes - 1) for i in range(batch))


def _plain(name: str, reason: str, batch: int, dim: int, num_classes: int, **fields: Any) -> Case:
    return Case(name, reason, batch, dim, num_classes, **{"labels": _cyclic(batch, num_classes), **fields})


_DIMS = {
    1: "cosines are exactly +-1",
    3: "far below one block of D",
    16: "exactly the smallest block of D",
    17: "one past a block of D",
    64: "several blocks of D, exactly",
    130: "past every block of D, and more than B and C: no closed form",
}
_IDS = (7, -3, 10**12)

CASES: tuple[Case, ...] = (
    _plain("plain", "nothing special: if this fails, look here first", 12, 8, 5),
    *(_plain(f"dim_{dim}", reason, 10, dim, 6) for dim, reason in _DIMS.items()),
    # Labels.
    _plain(
        "singletons", "classes with one sample beside others: an own-set of one", 7, 6, 6,
        labels=(0, 0, 1, 2, 3, 3, 4),
    ),
    _plain("all_distinct", "no two samples share a class", 9, 8, 20, labels=tuple(range(2, 20, 2))),
    _plain(
        "one_batch_class", "every sample is of one class: all other proxies get no positive", 8, 8, 7,
        labels=(3,) * 8,
    ),
    _plain("one_sample", "B = 1", 1, 8, 5, labels=(4,)),
    _plain("two_classes", "C = 2, the fewest: one impostor a row", 6, 4, 2),
    _plain(
        "late_positives", "positives only in the last columns: many tiles without one", 33, 12, 150,
        labels=_cyclic(33, 9, 141),
    ),
    _plain("late_positive", "one row, its positive in the last column", 1, 8, 64, labels=(63,)),
    _plain("first_column", "positives only in the first column", 16, 8, 40, labels=(0,) * 16),
    _plain(
        "some_ignored", "ignored rows first, last and in between", 9, 8, 4,
        labels=(-100, 0, 1, -100, 2, 0, 3, 1, -100),
    ),
    _plain("one_kept", "all rows but one ignored", 6, 8, 4, labels=(-100, -100, -100, 2, -100, -100)),
    _plain(
        "int32_labels", "int32 labels, some ignored", 10, 8, 5,
        labels=(*_cyclic(8, 5), -100, 1), label_dtype=torch.int32,
    ),
    # Several proxies per class.
    _plain(
        "many_proxies", "three proxies a class, neighbours", 12, 8, 4,
        proxy_labels=tuple(i // 3 for i in range(12)),
    ),
    _plain(
        "crowded_proxies", "three proxies a class in one place, samples near: a joint cosine above 1", 12, 8, 4,
        proxy_labels=tuple(i // 3 for i in range(12)), noise=0.1, pull=1.0,
        proxy_copies=tuple((3 * i + k, 3 * i) for i in range(4) for k in (1, 2)),
    ),
    _plain(
        "unordered_proxies", "proxies of a class far apart and unequally many; one class without sample", 10, 8, 4,
        labels=_cyclic(10, 3), proxy_labels=(2, 0, 3, 1, 0, 2, 2, 0, 3),
    ),
    _plain(
        "class_ids", "ids that are no column numbers: negative, beyond int32", 9, 8, 3,
        labels=tuple(_IDS[i % 3] for i in range(9)), proxy_labels=(10**12, 7, -3, 7, 10**12),
    ),
    _plain(
        "int32_class_ids", "int32 ids that are no column numbers, ignored rows among them", 8, 8, 3,
        labels=(7, -3, 99, -100, 7, 7, -3, -100), proxy_labels=(99, 7, -3, 7, 99), label_dtype=torch.int32,
    ),
    _plain(
        "uint8_class_ids", "class 156, which -100 becomes as uint8", 9, 8, 3,
        labels=tuple((156, 0, 255)[i % 3] for i in range(9)), proxy_labels=(255, 156, 0, 156),
        label_dtype=torch.uint8,
    ),
    _plain(
        "int8_class_ids", "both ends of int8, ignored rows among them", 8, 8, 3,
        labels=(127, -128, 0, -100, 127, 127, -128, -100), proxy_labels=(0, 127, -128, 127, 0),
        label_dtype=torch.int8,
    ),
    _plain(
        "int16_class_ids", "both ends of int16, ignored rows among them", 8, 8, 3,
        labels=(2**15 - 1, -(2**15), 0, -100, -(2**15), 0, 2**15 - 1, -100),
        proxy_labels=(0, 2**15 - 1, -(2**15), 0), label_dtype=torch.int16,
    ),
    _plain(
        "int32_ends", "both ends of int32, whose lowest two an engine may have other uses for", 8, 8, 4,
        labels=(-(2**31), -(2**31) + 1, 2**31 - 1, -100, 2**31 - 2, -(2**31), 2**31 - 1, -100),
        proxy_labels=(2**31 - 2, -(2**31), 2**31 - 1, -(2**31) + 1, -(2**31)), label_dtype=torch.int32,
    ),
    _plain(
        "alike_in_32_bits", "ids that only differ beyond 32 bits, or are ignore_index or no class within them", 8, 8, 6,
        labels=(5, 2**32 + 5, 2**31, -(2**31), 2**32 - 100, 2**33 + 5, 5, -(2**31)),
        proxy_labels=(2**32 + 5, -(2**31), 5, 2**33 + 5, 2**31, 2**32 - 100, 5),
    ),
    _plain(
        "int64_class_ids", "both ends of int64; its minimum is taken", 9, 8, 3,
        labels=tuple((2**63 - 1, -(2**63) + 1, 0)[i % 3] for i in range(9)),
        proxy_labels=(0, 2**63 - 1, -(2**63) + 1, 0),
    ),
    # Sizes.
    _plain("tiles_33_65_17", "one past 32 rows and 64 columns", 33, 17, 65, labels=_twice(33, 65)),
    _plain("tiles_65_129_16", "one past 64 rows and 128 columns", 65, 16, 129, labels=_twice(65, 129)),
    _plain("tiles_129_33_64", "one past 128 rows, more rows than columns", 129, 64, 33),
    _plain("tiles_31_63_30", "one short of a tile each way", 31, 30, 63, labels=_twice(31, 63)),
    _plain("exact_tiles", "whole tiles only", 64, 32, 64, labels=_twice(64, 64)),
    _plain("large", "more than one CPU tile both ways", 70, 8, 3000, labels=_twice(70, 3000)),
    # Geometry.
    _plain("untrained", "random proxies: the gap is near 0 and may be negative", 24, 16, 8, pull=0.0),
    _plain("inverted", "samples point away from their proxies: a negative gap", 12, 8, 5, pull=-1.0),
    _plain("clustered", "trained: the field pulls and pushes, the softmax is peaked", 40, 8, 10, pull=4.0, twins=True),
    _plain("collapsed", "cosines near 0.95: E[s^2] - E[s]^2 would cancel", 24, 32, 12, common=4.4),
    *(
        _plain(
            f"converged_{noise:g}", "samples near their proxies: impostor scores hardly vary", 30, 16, 10,
            simplex=True, noise=noise, pull=1.0,
        )
        for noise in (1e-1, 1e-2, 1e-3)
    ),
    _plain(
        "converged_several", "the same with several proxies a class", 30, 16, 5,
        simplex=True, noise=1e-3, pull=1.0, proxy_labels=tuple(i % 5 for i in range(10)),
    ),
    _plain(
        "converged_collapsed", "the same, and all cosines near 1", 30, 16, 10,
        simplex=True, noise=0.1, pull=1.0, common=4.4,
    ),
    _plain(
        "duplicates", "exact copies within and across classes", 12, 8, 5,
        copies=((5, 0), (6, 0), (11, 3)), proxy_copies=((4, 1),),
    ),
    _plain(
        "on_proxies", "samples exactly on their own and on another proxy: cosine 1", 10, 8, 5,
        on_proxies=((0, 0), (1, 3)),
    ),
    _plain("zero_rows", "zero samples: no direction, no gradient", 9, 8, 4, zero_rows=(0, 5)),
    _plain("zero_proxies", "a zero proxy of a class in the batch", 9, 8, 4, zero_proxies=(2,)),
    _plain("huge", "embeddings of norm 1e6", 10, 8, 5, scales=(1e6,)),
    _plain("tiny", "embeddings of norm 1e-6, gradients of 1e6", 10, 8, 5, scales=(1e-6,)),
    _plain(
        "mixed_scales", "rows and proxies of norms 1e-6 to 1e6 side by side", 10, 8, 5,
        scales=(1e6, 1e-6, 1.0), proxy_scales=(1e-3, 1e4),
    ),
    _plain(
        "vast", "norms whose squares overflow float32, beside smaller and ordinary ones", 10, 8, 5,
        scales=(1e25, 3e13, 1.0), proxy_scales=(2e12, 1e20),
    ),
    # Memory.
    _plain("sliced", "every second column of a wider matrix", 10, 8, 5, layout="sliced"),
    _plain("transposed", "column-major storage", 10, 8, 5, layout="transposed"),
    _plain("offset", "rows of an odd stride, from an odd address", 10, 7, 5, layout="offset"),
    _plain("expanded", "one row seen B times, stride 0", 6, 8, 5, layout="expanded"),
)  # fmt: skip

SMALL_CASES = tuple(case for case in CASES if case.small)

ERROR_CASES: tuple[Case, ...] = (
    _plain("one_class", "one class only: no impostors", 4, 8, 1, error="impostor"),
    _plain(
        "one_class_many_proxies", "several proxies, one class: no impostors", 4, 8, 1,
        labels=(3,) * 4, proxy_labels=(3, 3, 3), error="impostor",
    ),
    _plain("all_ignored", "no sample takes part: no genuine scores", 4, 8, 3, labels=(-100,) * 4, error="genuine"),
    _plain("empty_batch", "B = 0: no genuine scores", 0, 8, 3, error="genuine"),
    _plain(
        "label_too_high", "a label without a column", 4, 8, 3,
        labels=(0, 1, 3, 2), error="3 is the class of no proxy",
    ),
    _plain(
        "label_negative", "a negative label that is not ignore_index", 4, 8, 3,
        labels=(0, -1, 1, 2), error="-1 is the class of no proxy",
    ),
    _plain(
        "label_between", "a label between two classes that have proxies", 4, 8, 3,
        labels=(2, 4, 5, 6), proxy_labels=(6, 2, 4), error="5 is the class of no proxy",
    ),
)  # fmt: skip


def make_inputs(
    case: Case, dtype: torch.dtype, seed: int = 0, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Embeddings (B, D), labels (B,), proxies (C, D) and proxy labels (C,) or None."""
    generator = torch.Generator().manual_seed(seed)

    def noise(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, case.dim, dtype=torch.float64, generator=generator), dim=1)

    common = case.common * noise(1)
    proxies = noise(case.num_proxies)
    if case.simplex:
        corners = torch.eye(case.num_proxies, case.dim, dtype=torch.float64)
        rotation = torch.linalg.qr(noise(case.dim))[0]
        proxies = F.normalize(corners - corners.mean(0), dim=1) @ rotation
    if case.twins:
        proxies[1::2] = F.normalize(proxies[0 : case.num_proxies - 1 : 2] + 0.1 * proxies[1::2], dim=1)
    classes = range(case.num_proxies) if case.proxy_labels is None else case.proxy_labels
    column = {label: j for j, label in reversed(list(enumerate(classes)))}
    centres = torch.stack([proxies[column.get(label, 0)] for label in case.labels] or [proxies[0]])[: case.batch]
    embeddings = case.noise * noise(case.batch) + case.pull * centres + common
    proxies = proxies + common

    for i, j in case.copies:
        embeddings[i] = embeddings[j]
    for i, j in case.proxy_copies:
        proxies[i] = proxies[j]
    for i, j in case.on_proxies:
        embeddings[i] = proxies[j]
    embeddings[list(case.zero_rows)] = 0
    proxies[list(case.zero_proxies)] = 0
    embeddings = embeddings * _in_turn(case.scales, case.batch)
    proxies = proxies * _in_turn(case.proxy_scales, case.num_proxies)

    labels = torch.tensor(case.labels, dtype=case.label_dtype, device=device)
    proxy_labels = None
    if case.proxy_labels is not None:
        proxy_labels = torch.tensor(case.proxy_labels, dtype=case.label_dtype, device=device)
    return (
        _laid_out(embeddings.to(device, dtype), case.layout),
        labels,
        _laid_out(proxies.to(device, dtype), "contiguous" if case.layout == "expanded" else case.layout),
        proxy_labels,
    )


def _in_turn(scales: tuple[float, ...], rows: int) -> Tensor:  # (rows, 1)
    return torch.tensor([scales[i % len(scales)] for i in range(rows)], dtype=torch.float64)[:, None]


def _laid_out(x: Tensor, layout: str) -> Tensor:
    """Store the same values with another layout, with NaN in the gaps."""
    rows, dim = x.shape
    if layout == "sliced":
        wide = x.new_full((rows, 2 * dim), torch.nan)
        wide[:, ::2] = x
        return wide[:, ::2]
    if layout == "transposed":
        return x.T.contiguous().T
    if layout == "offset":
        wide = x.new_full((rows, dim + 2), torch.nan)
        wide[:, 1:-1] = x
        return wide[:, 1:-1]
    if layout == "expanded":
        return x[:1].expand(rows, dim)
    return x


def _check() -> None:
    repeated = [name for name, count in Counter(case.name for case in CASES + ERROR_CASES).items() if count > 1]
    assert not repeated, f"case names must be unique: {repeated}"
    assert all(len(case.labels) == case.batch for case in CASES + ERROR_CASES)


_check()
