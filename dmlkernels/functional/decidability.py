"""PD-Loss, D-Loss, and the decidability index d' that both raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dmlkernels.distributed.agreement import across_ranks, step_of
from dmlkernels.functional.checks import (
    check_choice,
    check_number,
    check_tensor,
)
from dmlkernels.functional.inputs import ProxyInputs, proxy_inputs
from dmlkernels.functional.sample_labels import sample_labels
from dmlkernels.ops import Formula, pair_loss, pair_statistics
from dmlkernels.statistics import Moments

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

FORMS = ("neg_log", "neg", "inverse")


@across_ranks
def pd_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    proxies: Tensor,  # (C, D)
    *,
    proxy_labels: Tensor | None = None,  # (C,)
    form: str = "neg_log",
    temperature: float = 1.0,
    correction: int = 0,
    min_gap: float = 0.01,
    eps: float = 1e-6,
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """PD-Loss: the decidability of sample-proxy similarities.

    With genuine scores G (cosine of a sample and a proxy of its class) and impostor scores I (all others), over the
    whole batch and all proxies, ``gap = mean(G) - mean(I)`` and ``V = var(G) + var(I)``::

        form="neg_log"   -log(gap) + log(V + eps) / 2
        form="neg"       -d',  d' = gap / sqrt(V / 2 + eps)
        form="inverse"   1 / d'

    Silva et al., PD-Loss: Proxy-Decidability for Efficient Metric Learning, SIBGRAPI 2025, arXiv 2508.17082.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; rows with ``ignore_index`` take no part.
        proxies: (C, D) proxies of any scale; any floating type, usually float32.
        proxy_labels: (C,) class of each proxy, several may share one; default 0 to C - 1.
        form: "neg_log" (the paper's), "neg" or "inverse".
        temperature: divides the scores, above 0. It scales the gap and the deviation alike and cancels but for
            ``eps``; it is here because the paper has it.
        correction: 0 for population variances, 1 for unbiased ones, which need two scores of each kind.
        min_gap: below this gap ``-log(gap)`` goes on as its tangent (ours), so that random proxies, whose gap is
            negative half the time, still get a gradient. Above 0; only used by "neg_log".
        eps: added to the variances, at least 0.
        ignore_index: label of rows to leave out.
        backend: "auto", "torch", "triton" or "native".
        validate: check the labels on a GPU too, which synchronises; see ``validation``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone.

    Returns:
        Scalar, float32; float64 if an input is float64.

    Raises:
        ValueError: shapes, devices or options that do not fit; a label that is no proxy's class; no genuine or no
            impostor scores. On a GPU the last two give NaN unless validated.
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of embeddings and proxies, first order; each is computed only if needed. Zero rows get zero.

    Memory and determinism: O((B + C) D), no B x C matrix; O(D^2) when the closed form is cheaper. Repeatable bit for
    bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import pd_loss
        >>> x = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = pd_loss(x, torch.tensor([0, 1, 0]), torch.tensor([[1.0, 0.0], [0.0, 5.0]]), eps=0.0)
        >>> round(loss.item(), 5)
        -0.35278
        >>> loss.backward()
    """
    min_gap, eps = check_decidability_options(form, correction, min_gap, eps)
    temperature = check_number("temperature", temperature, above=0)
    inputs = proxy_inputs(
        embeddings, labels, proxies, proxy_labels,
        ignore_index=ignore_index, backend=backend, validate=validate, needs_impostors=True, correction=correction,
        process_group=process_group,
    )  # fmt: skip
    loss = inputs.loss(decidability_formula(form, temperature, correction, min_gap, eps), Moments())
    if loss is not None:
        return loss
    moments = inputs.statistics(Moments())
    return decidability_objective(moments, form, temperature, correction, min_gap, eps, inputs=inputs) + inputs.poison


@across_ranks
def decidability_loss(
    embeddings: Tensor,  # (B, D)
    labels: Tensor,  # (B,)
    *,
    form: str = "neg",
    correction: int = 0,
    min_gap: float = 0.01,
    eps: float = 1e-6,
    ignore_index: int = -100,
    backend: str = "auto",
    validate: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """D-Loss: the decidability of the similarities within a batch.

    As ``pd_loss``, with genuine and impostor scores the cosines of the unordered pairs of the batch, of the same class
    and not.

    Silva et al., A Decidability-Based Loss Function, IJCNN 2022, arXiv 2109.05524. The default form is ours.

    Args:
        embeddings: (B, D) samples of any scale; float16, bfloat16, float32 or float64.
        labels: (B,) class of each sample, integers; at least one pair of each kind is needed.
        form, correction, min_gap, eps, ignore_index, backend, validate: as in ``pd_loss``.
        process_group: ranks that each have a part of one batch, or None for this rank's samples alone. The ranks divide
            the pairs among them; samples travel from rank to rank. All ranks must call backward too.

    Returns:
        Scalar, float32; float64 for float64 embeddings.

    Raises:
        ValueError: as ``pd_loss``; a batch without a same-class or without a different-class pair (on a GPU: NaN).
        TypeError: a wrong dtype.
        RuntimeError: the backend asked for cannot run here.

    Gradients: of the embeddings, first order.

    Memory and determinism: O(B D), no B x B matrix. Repeatable bit for bit on one device.

    Example:
        >>> import torch
        >>> from dmlkernels import decidability_loss
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> decidability_loss(x, torch.tensor([0, 0, 1])) < 0
        tensor(True)
    """
    min_gap, eps = check_decidability_options(form, correction, min_gap, eps)
    step = step_of(process_group)
    if step is not None:
        from dmlkernels.functional.shared_pairs import shared_sample_pairs  # one process does without

        shared = shared_sample_pairs(
            step, Moments(), embeddings, labels, ignore_index=ignore_index, backend=backend,
            validate=validate, needs_pairs=True, correction=correction,
        )  # fmt: skip
        return decidability_objective(shared.moments, form, 1.0, correction, min_gap, eps) + shared.poison
    resolved, poison = sample_labels(
        embeddings, labels, ignore_index=ignore_index, backend=backend, validate=validate, needs_pairs=True,
        correction=correction,
    )  # fmt: skip
    pairs: dict[str, Any] = {"backend": backend, "row_labels": resolved, "within": True}
    formula = decidability_formula(form, 1.0, correction, min_gap, eps, ends=2.0)
    loss = pair_loss(formula, Moments(), embeddings, poison=poison, **pairs)
    if loss is not None:
        return loss
    moments = pair_statistics(Moments(), embeddings, **pairs)
    return decidability_objective(moments, form, 1.0, correction, min_gap, eps, ends=2) + poison


def decidability(genuine_scores: Tensor, impostor_scores: Tensor) -> Tensor:
    """The decidability index d' of two sets of scores: a metric, not a loss.

    ``d' = |mean(G) - mean(I)| / sqrt((var(G) + var(I)) / 2)`` with population variances (Daugman), signed here as
    everywhere in this package: negative if genuine scores are the lower ones.

    Args:
        genuine_scores: scores of same-class pairs, any shape, at least one.
        impostor_scores: scores of different-class pairs, any shape, at least one.

    Returns:
        Scalar, float32 or wider.

    Raises:
        ValueError: an empty set.
        TypeError: scores that are not floats.

    Example:
        >>> import torch
        >>> from dmlkernels import decidability
        >>> decidability(torch.tensor([0.9, 0.7]), torch.tensor([0.1, -0.1]))
        tensor(8.)
    """
    moments = []
    for name, scores in (("genuine_scores", genuine_scores), ("impostor_scores", impostor_scores)):
        check_tensor(name, scores)
        if not scores.dtype.is_floating_point:
            raise TypeError(f"{name}: got {scores.dtype}, expected a floating type")
        if scores.numel() == 0:
            raise ValueError(f"{name}: got an empty tensor, expected at least one score")
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        moments.append(torch.var_mean(wide, correction=0))
    (genuine_variance, genuine_mean), (impostor_variance, impostor_mean) = moments
    return (genuine_mean - impostor_mean) / ((genuine_variance + impostor_variance) / 2).sqrt()


def check_decidability_options(form: str, correction: int, min_gap: float, eps: float) -> tuple[float, float]:
    """Check the options that every decidability loss shares; ``min_gap`` and ``eps`` as Python's numbers."""
    check_choice("form", form, FORMS)
    check_choice("correction", correction, (0, 1))
    return check_number("min_gap", min_gap, above=0), check_number("eps", eps, at_least=0)


def decidability_formula(
    form: str, temperature: float, correction: int, min_gap: float, eps: float, ends: float = 1.0
) -> Formula:
    """``decidability_objective`` for engines."""
    return Formula(f"decidability_{form}", (temperature, correction, min_gap, eps, ends))


def decidability_objective(
    moments: Tensor,  # (B, 6)
    form: str,
    temperature: float,
    correction: int,
    min_gap: float,
    eps: float,
    ends: int = 1,
    inputs: ProxyInputs | None = None,
) -> Tensor:
    """The loss from the moments of every row. ``ends`` is how often each pair was counted; rows may be on other ranks
    too, as ``inputs`` says."""
    count, mean, deviation = moments.view(-1, 2, 3).unbind(2)  # each (B, 2): genuine, impostor
    number, score = count.sum(0), (count * mean).sum(0)
    if inputs is not None:
        number, score = inputs.totals(number, score)
    pooled_mean = score / number
    # The squares' derivative by the pooled mean sums to 0 over all rows, but not over those of one rank. In one process
    # it stays: it makes up for the rounding of the pooled mean, which gradients of the closed form would show.
    centre = pooled_mean.detach() if inputs is not None and inputs.is_spread else pooled_mean
    within = torch.addcmul(deviation, count, (mean - centre).square()).sum(0)
    if inputs is not None:
        (within,) = inputs.totals(within)
    variance = within / (number - ends * correction if correction else number)  # ends cancels in within / number
    genuine_mean, impostor_mean = pooled_mean.unbind()
    gap, spread = genuine_mean - impostor_mean, variance.sum()
    if temperature != 1:
        gap, spread = gap / temperature, spread / temperature**2
    if form == "neg_log":
        # Parts of their own: slopes that cancel would leave nothing of the logarithm's where min_gap is small.
        is_small = gap < min_gap
        above, below = torch.where(is_small, min_gap, gap), torch.where(is_small, gap, min_gap)
        return (spread + eps).log() / 2 - above.log() - (below - min_gap) / min_gap
    deviation_index = gap / (spread / 2 + eps).sqrt()
    return -deviation_index if form == "neg" else deviation_index.reciprocal()
