"""Random cases for hypothesis: shapes, layouts, labels and geometry in one object of the case table's kind."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from tests.cases import IGNORED, Case

LAYOUTS = ("contiguous", "sliced", "transposed", "offset", "expanded")
IDS = (
    range(7, -99, -7), range(3, 10**13, 10**12), range(156, 130, -3), range(127, -128, -25),
    range(-(2**15), 2**15, 7001), range(-(2**31), 2**31, 2**28), range(2**31 - 4, 2**31 + 10),
    range(5, 2**40, 2**32), range(2**32 - 100, 2**34, 2**16),
    range(2**63 - 1, 2**62, -(2**58)), range(-(2**63) + 1, 0, 2**58),
)  # fmt: skip
"""Of classes: negative, at the ends of their types, alike in fewer bits."""
ORDINARY, VAST = (1.0, 1e-2, 30.0), (1.0, 1e-9, 1e13, 1e150)  # scales of rows


@st.composite
def cases(draw: st.DrawFn, *, vast: bool = False) -> Case:
    """At least two classes of proxies and one sample that counts; ``vast`` ones only float64 can hold."""
    num_classes = draw(st.integers(2, 9))
    names = range(num_classes) if draw(st.booleans()) else draw(st.sampled_from(IDS))
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
    num_proxies = num_classes if proxy_labels is None else len(proxy_labels)
    converged = num_proxies <= dim and draw(st.booleans())
    scales = st.lists(st.sampled_from(VAST if vast and draw(st.booleans()) else ORDINARY), min_size=1, max_size=3)
    return Case(
        "drawn", "by hypothesis", batch, dim, num_classes,
        labels=tuple(IGNORED if i < 0 else names[i] for i in places),
        proxy_labels=proxy_labels,
        label_dtype=draw(st.sampled_from(fitting)),
        simplex=converged,
        noise=draw(st.sampled_from([1e-1, 1e-2, 1e-3])) if converged else 1.0,
        pull=1.0 if converged else draw(st.sampled_from([0.0, 0.5, 3.0, -1.0])),
        common=draw(st.sampled_from([0.0, 4.0])),
        twins=draw(st.booleans()),
        scales=tuple(draw(scales)),
        proxy_scales=tuple(draw(scales)),
        copies=tuple(copies),
        zero_rows=tuple(draw(st.lists(row, max_size=1))),
        layout=draw(st.sampled_from(LAYOUTS)),
    )  # fmt: skip


def field_options() -> st.SearchStrategy[dict[str, float | bool]]:
    """Of potential fields, from flat to steep, all within float64."""
    radius = st.sampled_from([0.01, 0.2, 0.7, 1.5])
    return st.fixed_dictionaries({
        "alpha": st.sampled_from([0.1, 0.5, 3.0, 6.0, 20.0, 56.0, 100.0]),
        "delta_att": radius, "delta_rep": radius,
        "d_min": st.sampled_from([0.01, 0.1, 0.5]),
        "unit_depth": st.booleans(),
    })  # fmt: skip
