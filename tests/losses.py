"""The table of losses: every conformance test runs over it, so testing a new loss is one entry.

An entry names the function, which must have a twin of the same name in the reference, and what of a Problem it takes.
A branch is the same loss with other options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

import dmlkernels as dml
from dmlkernels import reference
from tests.cases import Case
from tests.problem import CENTERS_PER_CLASS, PARAMETERS, VECTORS, Problem

_SAMPLES, _PROXIES = ("embeddings", "labels"), {"proxy_labels": "proxy_labels"}


@dataclass(frozen=True)
class Loss:
    """A public function and its reference twin."""

    name: str
    function: str
    inputs: tuple[str, ...] = (*_SAMPLES, "proxies")  # fields of Problem, in the order of the arguments
    keywords: Mapping[str, str] = field(default_factory=_PROXIES.copy)  # argument name -> field of Problem
    options: Mapping[str, Any] = field(default_factory=dict)
    held: tuple[str, ...] = ("atoms",)  # inputs that get no gradient
    quadratic: bool = False  # has a closed form
    holds_targets: bool = False  # the gradient is not that of the value: part of it is held fixed
    meets_itself: bool = False  # points meet points: gradients of one group alone are not half of the work
    applies: Callable[[Case], bool] = lambda case: True
    angular: bool = False  # the slope is a cosine over a sine
    reads_norms: bool = False  # not only directions count
    needs: str | None = None  # the statistic, where some backend lacks it
    tolerance: float = 1e-9  # in float64, against the reference

    @property
    def statistic(self) -> str | None:
        """Name of the statistic, where some backend lacks it."""
        learnt = {"scale", "margin"} & set(self.keywords)
        if self.needs == "circle" and learnt:
            return "row_circle"
        if self.needs == "sub_center" and "scale" in learnt and self.options["centers_per_class"] > 1:
            return "row_sub_center"
        return "row_logsumexp" if "scale" in learnt else self.needs

    @property
    def leaves(self) -> tuple[str, ...]:
        """Inputs that get a gradient."""
        vectors = tuple(name for name in self.inputs if name in VECTORS and name not in self.held)
        return (*vectors, *(name for name in self.keywords.values() if name in PARAMETERS))

    def __call__(self, problem: Problem, backend: str = "auto", **options: Any) -> Tensor:
        return self._call(dml, problem, {"backend": backend, **options})

    def truth(self, problem: Problem, **options: Any) -> Tensor:
        """Compute the loss with the reference."""
        return self._call(reference, problem, options)

    def branch(self, suffix: str, keywords: Mapping[str, str] | None = None, **options: Any) -> Loss:
        keywords = {**self.keywords, **(keywords or {})}
        kept = {name: value for name, value in self.options.items() if name not in keywords}
        return replace(self, name=f"{self.name}_{suffix}", keywords=keywords, options={**kept, **options})

    def _call(self, where: Any, problem: Problem, options: Mapping[str, Any]) -> Tensor:
        given = [getattr(problem, name) for name in self.inputs]
        named = {argument: getattr(problem, name) for argument, name in self.keywords.items()}
        found = getattr(where, self.function)(*given, **{**named, **self.options, **options})
        return found[0] if isinstance(found, tuple) else found

    def __str__(self) -> str:
        return self.name


def _in_order(case: Case) -> bool:
    return case.classes_in_order


def _several(case: Case) -> bool:
    """Enough samples for an unbiased variance."""
    return len(case.kept) > 1


def _turns(case: Case) -> bool:
    """Directions can change: else all cosines are +-1, where ArcFace's slope magnifies the reference's rounding."""
    return case.dim > 1


PD = Loss("pd", "pd_loss", quadratic=True)
DECIDABILITY = Loss(
    "decidability", "decidability_loss", _SAMPLES, {}, applies=lambda case: case.has_pairs, meets_itself=True
)
FIELD = Loss("field", "potential_field_loss", meets_itself=True, tolerance=1e-7)
FIELD_ALONE = Loss("field_alone", "potential_field_loss", _SAMPLES, {}, meets_itself=True, tolerance=1e-7)
ODBA = Loss("odba", "odba_penalty", ("embeddings", "atoms"), {}, quadratic=True)
KL = Loss(
    "symmetric_kl", "symmetric_kl_loss", ("embeddings", "intervened", "proxies"), {}, {"temperature": 0.1},
    held=("proxies",), holds_targets=True,
)  # fmt: skip
FUSED = Loss(
    "fused", "fused_objective", (*_SAMPLES, "proxies", "atoms"),
    options={"field_weight": 0.5, "odba_weight": 2.0}, meets_itself=True, tolerance=1e-7,
)  # fmt: skip
ANCHOR = Loss("anchor", "proxy_anchor_loss")
SOFTMAX = Loss("softmax", "normalized_softmax_loss")
NCA = Loss("nca", "proxy_nca_loss")
COSFACE = Loss("cosface", "cosface_loss")
ARCFACE = Loss("arcface", "arcface_loss", applies=_turns, angular=True)
SUB_CENTER = Loss(
    "sub_center", "sub_center_arcface_loss", (*_SAMPLES, "centers"), {}, {"centers_per_class": CENTERS_PER_CLASS},
    applies=lambda case: _in_order(case) and _turns(case), angular=True, needs="sub_center",
)  # fmt: skip
ADAFACE = Loss(
    "adaface", "adaface_loss", holds_targets=True, angular=True, reads_norms=True,
    applies=lambda case: _turns(case) and case.noise > 1e-3,  # there angles are about 1e-3, where they are held
)  # fmt: skip
MAGFACE = Loss(
    "magface", "magface_loss", options={"lower_norm": 0.4, "upper_norm": 1.5, "upper_margin": 1.2}, applies=_turns,
    angular=True, reads_norms=True,
)  # fmt: skip
CURRICULAR = Loss(
    "curricular", "curricularface_loss", options={"hardness": 0.3}, applies=_turns, angular=True, needs="row_logsumexp"
)
CIRCLE = Loss("circle", "circle_loss", holds_targets=True, needs="circle")
SOFT_TRIPLE = Loss(
    "soft_triple", "soft_triple_loss", (*_SAMPLES, "centers"), {}, {"centers_per_class": CENTERS_PER_CLASS},
    applies=_in_order,
)  # fmt: skip

LOSSES = (
    PD, DECIDABILITY, FIELD, FIELD_ALONE, ODBA, KL, FUSED, ANCHOR, SOFTMAX, NCA, COSFACE, ARCFACE, SOFT_TRIPLE,
    SUB_CENTER, ADAFACE, MAGFACE, CURRICULAR, CIRCLE,
)  # fmt: skip

SHARING = (NCA, COSFACE, ARCFACE)
"""Losses whose statistic is that of ``SOFTMAX``: what they do with it does not depend on how it is computed."""
WAYS = tuple(loss for loss in LOSSES if loss not in SHARING)
"""Losses that each go through an engine in a way of their own."""

_WIDE = {"delta_att": 0.6, "delta_rep": 1.1}
_WEIGHTED = {"sample_weight": "weight"}

BRANCHES = (
    replace(PD, applies=_several).branch("neg", form="neg", temperature=0.5, correction=1),
    PD.branch("inverse", form="inverse", eps=1e-3),
    PD.branch("steep", min_gap=5.0),
    DECIDABILITY.branch("neg_log", form="neg_log", correction=1),
    DECIDABILITY.branch("inverse", form="inverse"),
    FIELD.branch("wide", **_WIDE),
    FIELD.branch("raw", unit_depth=False, reduction="sum", alpha=1.5, **_WIDE),
    FIELD.branch("floored", d_min=0.7, delta_att=0.3, delta_rep=1.2),
    FIELD.branch("unequal", delta_att=1.2, delta_rep=0.5),
    FIELD.branch("steep", alpha=100.0, d_min=0.19),
    FIELD.branch("narrow", alpha=20.0, delta_att=0.01, delta_rep=0.01),
    FIELD_ALONE.branch("wide", reduction="sum", **_WIDE),
    ODBA.branch("prior", {"prior": "prior", "active": "active"}),
    ODBA.branch("sum", {"active": "active"}, reduction="sum"),
    ODBA.branch("weighed", {"prior": "prior", **_WEIGHTED}),
    ODBA.branch("weighed_sum", _WEIGHTED, reduction="sum"),
    KL.branch("weighed", _WEIGHTED),
    replace(KL, held=()).branch("proxies", detach_proxies=False),
    replace(KL, held=(), holds_targets=False).branch("exact", detach_proxies=False, detach_targets=False),
    FUSED.branch("wide", {"prior": "prior", "active": "active"}, form="neg", reduction="sum", **_WIDE),
    replace(FUSED, meets_itself=False).branch("pd_odba", field_weight=0.0),
    FUSED.branch("no_pd", pd_weight=0.0, **_WIDE),
    ANCHOR.branch("soft", alpha=2.0, margin=0.3),
    SOFTMAX.branch("weighted", _WEIGHTED, scale=5.0),
    SOFTMAX.branch("sum", _WEIGHTED, reduction="sum"),
    SOFTMAX.branch("learnt", {"scale": "scale"}),
    SOFTMAX.branch("samples", {"scale": "sample_scale", **_WEIGHTED}),
    NCA.branch("learnt", {"scale": "scale"}, include_positive=False),
    SOFTMAX.branch("smoothed", label_smoothing=0.1),
    SOFTMAX.branch("classes_weighed", {"class_weights": "class_weights", **_WEIGHTED}),
    NCA.branch("classes_weighed", {"class_weights": "class_weights"}, include_positive=False),
    SOFTMAX.branch("none", _WEIGHTED, reduction="none"),
    NCA.branch("original", include_positive=False),
    COSFACE.branch("soft", scale=8.0, margin=0.1),
    COSFACE.branch("samples", {"margin": "sample_margin", **_WEIGHTED}, scale=8.0),
    COSFACE.branch("classes", {"margin": "class_margin"}, scale=8.0),
    COSFACE.branch("learnt", {"margin": "class_margin", "scale": "scale"}),
    COSFACE.branch(
        "smoothed",
        {"class_weights": "class_weights", "margin": "sample_margin", "scale": "scale", **_WEIGHTED},
        label_smoothing=0.2,
    ),
    COSFACE.branch("class_scales", {"scale": "class_scale"}),
    ARCFACE.branch("soft", scale=8.0),
    ARCFACE.branch("wide", scale=8.0, margin=1.5),
    ARCFACE.branch("samples", {"margin": "sample_margin"}, scale=8.0),
    ARCFACE.branch("classes", {"margin": "class_margin"}, scale=8.0),
    ARCFACE.branch("smoothed", {"class_weights": "class_weights"}, label_smoothing=0.1, reduction="none"),
    ARCFACE.branch("learnt", {"margin": "sample_margin", "scale": "sample_scale"}),
    SUB_CENTER.branch("weighed", {"margin": "sample_margin", **_WEIGHTED}, scale=8.0),
    SUB_CENTER.branch("learnt", {"scale": "scale"}),
    SUB_CENTER.branch("samples", {"scale": "sample_scale", "margin": "sample_margin", **_WEIGHTED}),
    SUB_CENTER.branch("class_scales", {"scale": "proxy_scale"}),
    SUB_CENTER.branch("one_learnt", {"scale": "scale"}, centers_per_class=1),
    SUB_CENTER.branch("one", centers_per_class=1, scale=8.0),
    ADAFACE.branch("given", {"scale": "scale", **_WEIGHTED}, norm_mean=1.0, norm_std=0.3, margin=0.9),
    MAGFACE.branch("weighed", {"class_weights": "class_weights", "scale": "sample_scale"}, reduction="none"),
    CURRICULAR.branch("learnt", {"scale": "scale", "margin": "sample_margin", **_WEIGHTED}, hardness=-0.2),
    replace(CIRCLE, holds_targets=False).branch("exact", _WEIGHTED, detach_weights=False, scale=8.0, margin=0.4),
    CIRCLE.branch("learnt", {"scale": "scale", "margin": "class_margin"}),
    CIRCLE.branch("samples", {"scale": "sample_scale", "margin": "sample_margin", **_WEIGHTED}),
    replace(CIRCLE, holds_targets=False).branch(
        "exact_learnt", {"scale": "scale", "margin": "sample_margin"}, detach_weights=False
    ),
    SOFT_TRIPLE.branch("free", tau=0.0, gamma=0.5, scale=5.0),
    SOFT_TRIPLE.branch("none", _WEIGHTED, reduction="none"),
    SOFT_TRIPLE.branch("one", centers_per_class=1, margin=0.1),
)

EVERY = LOSSES + BRANCHES
