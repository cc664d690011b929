"""Random cases for hypothesis: shapes, layouts, labels and geometry in one object of the case table's kind."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from tests.cases import IGNORED, Case

LAYOUTS = ("contiguous", "sliced", "transposed", "offset", "expanded")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """At least two classes of proxies and one sample that counts."""
    num_classes = draw(st.integers(2, 9))
    ids = [range(num_classes), range(7, -99, -7), range(3, 10**13, 10**12), range(156, 130, -3)]
    names = draw(st.sampled_from(ids))
    batch, dim = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    proxy_labels = None
    if names != range(num_classes) or draw(st.booleans()):
        extra = draw(st.lists(st.integers(0, num_classes - 1), max_size=6))
        places = draw(st.permutations([*range(num_classes), *extra]))
        proxy_labels = tuple(names[i] for i in places)
    places = draw(st.lists(st.integers(-1, num_classes - 1), min_size=batch, max_size=batch))
    places[0] = max(places[0], 0)
    low, high = min(names[:num_classes]), max(names[:num_classes])
    dtypes = (torch.int64, torch.int32, torch.int16, torch.int8)
    fitting = [d for d in dtypes if torch.iinfo(d).min <= min(low, IGNORED) and high <= torch.iinfo(d).max]
    if low >= 0 and high <= 255 and min(places) >= 0:
        fitting.append(torch.uint8)
    row = st.integers(0, batch - 1)
    copies = draw(st.lists(st.tuples(row, row), max_size=2))
    return Case(
        "drawn", "by hypothesis", batch, dim, num_classes,
        labels=tuple(IGNORED if i < 0 else names[i] for i in places),
        proxy_labels=proxy_labels,
        label_dtype=draw(st.sampled_from(fitting)),
        pull=draw(st.sampled_from([0.0, 0.5, 3.0, -1.0])),
        common=draw(st.sampled_from([0.0, 4.0])),
        twins=draw(st.booleans()),
        scales=tuple(draw(st.lists(st.sampled_from([1.0, 1e-2, 30.0]), min_size=1, max_size=3))),
        proxy_scales=tuple(draw(st.lists(st.sampled_from([1.0, 1e-2, 30.0]), min_size=1, max_size=3))),
        copies=tuple(copies),
        zero_rows=tuple(draw(st.lists(row, max_size=1))),
        layout=draw(st.sampled_from(LAYOUTS)),
    )  # fmt: skip
