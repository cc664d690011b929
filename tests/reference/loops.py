"""Every loss once more, in scalar arithmetic and explicit loops over plain lists: no tensor, no autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

Matrix = Sequence[Sequence[float]]


def unit(row: Sequence[float]) -> list[float]:
    norm = max(math.sqrt(sum(value * value for value in row)), 1e-12)
    return [value / norm for value in row]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))


def log_sum_exp(values: Iterable[float]) -> float:
    values = list(values)
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def moments(scores: list[float], correction: int) -> tuple[float, float]:
    mean = sum(scores) / len(scores)
    return mean, sum((score - mean) ** 2 for score in scores) / (len(scores) - correction)


def objective(
    genuine: list[float], impostor: list[float], form: str, correction: int, min_gap: float, eps: float
) -> float:
    mean_g, var_g = moments(genuine, correction)
    mean_i, var_i = moments(impostor, correction)
    gap, variance = mean_g - mean_i, var_g + var_i
    if form == "neg_log":
        minus_log = -math.log(gap) if gap > min_gap else -math.log(min_gap) - (gap - min_gap) / min_gap
        return minus_log + 0.5 * math.log(variance + eps)
    index = gap / math.sqrt(variance / 2 + eps)
    return {"neg": -index, "inverse": 1 / index}[form]


def pd_loss(
    X: Matrix, y: Sequence[int], P: Matrix, q: Sequence[int], *, form: str, temperature: float, correction: int,
    min_gap: float, eps: float, ignore_index: int = -100,
) -> float:  # fmt: skip
    genuine: list[float] = []
    impostor: list[float] = []
    for x, label in zip(X, y, strict=True):
        if label == ignore_index:
            continue
        for p, cls in zip(P, q, strict=True):
            (genuine if cls == label else impostor).append(cosine(x, p) / temperature)
    return objective(genuine, impostor, form, correction, min_gap, eps)


def decidability_loss(
    X: Matrix, y: Sequence[int], *, form: str, correction: int, min_gap: float, eps: float, ignore_index: int = -100
) -> float:
    genuine: list[float] = []
    impostor: list[float] = []
    for i in range(len(X)):
        for j in range(i + 1, len(X)):
            if ignore_index not in (y[i], y[j]):
                (genuine if y[i] == y[j] else impostor).append(cosine(X[i], X[j]))
    return objective(genuine, impostor, form, correction, min_gap, eps)


def psi(distance: float, same: bool, alpha: float, delta_att: float, delta_rep: float, unit_depth: bool) -> float:
    if same:
        return -(max(distance, delta_att) ** -alpha) * (delta_att**alpha if unit_depth else 1)
    return min(distance, delta_rep) ** -alpha * (delta_rep**alpha if unit_depth else 1)


def potential_field_loss(
    X: Matrix, y: Sequence[int], P: Matrix, q: Sequence[int], *, alpha: float, delta_att: float, delta_rep: float,
    reduction: str, unit_depth: bool, d_min: float, ignore_index: int = -100,
) -> float:  # fmt: skip
    points = [(x, label) for x, label in zip(X, y, strict=True) if label != ignore_index]
    points += list(zip(P, q, strict=True))
    energy = 0.0
    for i, (a, label_a) in enumerate(points):
        for j, (b, label_b) in enumerate(points):
            if i != j:
                distance = max(math.sqrt(max(2 - 2 * cosine(a, b), 0)), d_min)
                energy += psi(distance, label_a == label_b, alpha, delta_att, delta_rep, unit_depth)
    return energy / len(points) if reduction == "mean" else energy


def potential_field(
    points: Matrix, labels: Sequence[int], sources: Matrix, source_labels: Sequence[int], *, alpha: float,
    delta_att: float, delta_rep: float, d_min: float, unit_depth: bool, normalize: bool,
) -> tuple[list[float], list[list[float]]]:  # fmt: skip
    potentials, forces = [], []
    for z, label in zip(points, labels, strict=True):
        z = unit(z) if normalize else z
        potential, force = 0.0, [0.0] * len(z)
        for w, source_label in zip(sources, source_labels, strict=True):
            w = unit(w) if normalize else w
            same = label == source_label
            true_distance = math.dist(z, w)
            distance = max(true_distance, d_min)
            potential += psi(distance, same, alpha, delta_att, delta_rep, unit_depth)
            acts = true_distance > d_min and (distance > delta_att if same else distance < delta_rep)
            if acts:
                depth = (delta_att if same else delta_rep) ** alpha if unit_depth else 1
                push = (-1 if same else 1) * depth * alpha * distance ** -(alpha + 1)
                force = [f + push * (a - b) / distance for f, a, b in zip(force, z, w, strict=True)]
        potentials.append(potential)
        forces.append(force)
    return potentials, forces


def odba_penalty(
    X: Matrix, atoms: Matrix, *, prior: Sequence[float] | None, active: Sequence[bool] | None, reduction: str
) -> float:
    total = 0.0
    used = [k for k in range(len(atoms)) if active is None or active[k]]
    for x in X:
        for k in used:
            total += cosine(x, atoms[k]) ** 2 * (1 if prior is None else prior[k])
    if reduction == "sum":
        return total
    return total / len(X) / (len(used) if prior is None else 1)


def symmetric_kl_loss(X: Matrix, V: Matrix, P: Matrix, *, temperature: float) -> float:
    total = 0.0
    for x, v in zip(X, V, strict=True):
        first, second = ([cosine(row, p) / temperature for p in P] for row in (x, v))
        log_p = [value - log_sum_exp(first) for value in first]
        log_q = [value - log_sum_exp(second) for value in second]
        total += sum(math.exp(a) * (a - b) + math.exp(b) * (b - a) for a, b in zip(log_p, log_q, strict=True))
    return total / (2 * len(X))


def softmax_rows(
    X: Matrix, y: Sequence[int], P: Matrix, q: Sequence[int], scale: float, margin: Callable[[float], float],
    include_positive: bool = True, ignore_index: int = -100,
) -> list[float]:  # fmt: skip
    """``margin`` changes the positive cosine."""
    rows = []
    for x, label in zip(X, y, strict=True):
        if label == ignore_index:
            rows.append(0.0)
            continue
        own = [scale * cosine(x, p) for p, cls in zip(P, q, strict=True) if cls == label]
        others = [scale * cosine(x, p) for p, cls in zip(P, q, strict=True) if cls != label]
        target = scale * margin(log_sum_exp(own) / scale)
        rows.append(log_sum_exp([target, *others] if include_positive else others) - target)
    return rows


def angular(margin: float) -> Callable[[float], float]:
    def add(s: float) -> float:
        theta = math.acos(s)
        return math.cos(theta + margin) if theta < math.pi - margin else s - margin * math.sin(margin)

    return add


def proxy_anchor_loss(
    X: Matrix, y: Sequence[int], P: Matrix, q: Sequence[int], *, alpha: float, margin: float, ignore_index: int = -100
) -> float:
    pull, push, present = 0.0, 0.0, 0
    for p, cls in zip(P, q, strict=True):
        own = [cosine(x, p) for x, label in zip(X, y, strict=True) if label == cls]
        others = [cosine(x, p) for x, label in zip(X, y, strict=True) if label not in (cls, ignore_index)]
        if own:
            present += 1
            pull += math.log1p(sum(math.exp(-alpha * (s - margin)) for s in own))
        push += math.log1p(sum(math.exp(alpha * (s + margin)) for s in others))
    return pull / present + push / len(P)


def soft_triple_loss(
    X: Matrix, y: Sequence[int], centers: Matrix, *, centers_per_class: int, scale: float, gamma: float, tau: float,
    margin: float, ignore_index: int = -100,
) -> float:  # fmt: skip
    K, C = centers_per_class, len(centers) // centers_per_class
    rows = []
    for x, label in zip(X, y, strict=True):
        if label == ignore_index:
            continue
        logits = []
        for c in range(C):
            scores = [cosine(x, centers[c * K + k]) for k in range(K)]
            normaliser = log_sum_exp(s / gamma for s in scores)
            similarity = sum(math.exp(s / gamma - normaliser) * s for s in scores)
            logits.append(scale * (similarity - (margin if c == label else 0)))
        rows.append(log_sum_exp(logits) - logits[label])
    regulariser = 0.0
    if K > 1:
        for c in range(C):
            for t in range(K):
                for s in range(t):
                    regulariser += math.sqrt(2 + 1e-5 - 2 * cosine(centers[c * K + s], centers[c * K + t]))
        regulariser /= C * K * (K - 1)
    return sum(rows) / len(rows) + tau * regulariser
