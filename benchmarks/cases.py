"""Which cases are measured, by default within ten minutes on two CPU cores and with --benchmark-full."""

from __future__ import annotations

from benchmarks.problems.inputs import Case
from benchmarks.problems.shapes import SHAPES

# loss -> (shape, pattern) by default, and with --benchmark-full on top of those.
_SOFTMAX = [("cub", "random"), ("cub", "clustered"), ("sop", "clustered")]
_SOFTMAX_FULL = [
    ("cars", "random"), ("sop", "random"), ("sop128", "clustered"), ("faces128", "clustered"), ("faces", "random"),
    ("million", "random"),
]  # fmt: skip
_DEFAULT: dict[str, list[tuple[str, str]]] = {
    "pd": [("cub", "random"), ("cub15", "clustered"), ("sop", "random"), ("sop", "clustered"), ("sop128", "random")],
    "decidability": [("pairs", "random"), ("pairs", "clustered")],
    "field": [("field1600", "random"), ("field1600", "collapsed")],
    "odba": [("cub", "random"), ("sop", "random")],
    "symmetric_kl": [("cub", "clustered"), ("sop", "clustered")],
    "fused": [("field1600", "random")],
    "proxy_anchor": _SOFTMAX,
    "proxy_nca": _SOFTMAX[:1],
    "normalized_softmax": _SOFTMAX,
    "cosface": _SOFTMAX[1:],
    "arcface": _SOFTMAX[1:],
    "soft_triple": [("cub_centers", "clustered")],
    "soft_triple_spread": [("cub_centers", "clustered")],
}
_FULL: dict[str, list[tuple[str, str]]] = {
    "pd": [("cars", "random"), ("faces128", "random"), ("faces", "random"), ("million", "random")],
    "decidability": [("pairs_large", "random")],
    "field": [("field1600", "clustered"), ("field_sop", "random"), ("field_sop", "clustered")],
    "odba": [("faces", "random")],
    "symmetric_kl": [("faces128", "clustered")],
    "fused": [("field_sop", "random")],
    "proxy_anchor": _SOFTMAX_FULL,
    "proxy_nca": [("sop", "random"), ("faces128", "random")],
    "normalized_softmax": _SOFTMAX_FULL,
    "cosface": [("cub", "random"), ("faces128", "clustered")],
    "arcface": [("cub", "random"), ("faces128", "clustered")],
    "soft_triple": [("centers", "clustered"), ("centers_faces", "random")],
    "soft_triple_spread": [("centers", "clustered")],
}


def cases(full: bool, device: str = "cpu", dtype: str = "float32") -> list[Case]:
    """List the cases, cheap shapes first."""
    chosen = [
        Case(loss, SHAPES[shape], pattern, dtype, device)
        for loss, listed in _DEFAULT.items()
        for shape, pattern in listed + (_FULL[loss] if full else [])
    ]
    return sorted(chosen, key=lambda case: list(SHAPES).index(case.shape.name))
