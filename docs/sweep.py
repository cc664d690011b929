"""How options and proxy learning rates change what is learnt, on a small task: ``python docs/sweep.py``.

Every handwritten digit that scikit-learn ships is a class of its own, and warped copies of it are its samples. Trains
on 200 of them, tests on retrieving 200 others, and writes docs/ranges.md. Half an hour on a busy core.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import dmlkernels as dml

DIM, CLASSES = 64, 200
WARP = (0.35, 0.2, 0.15, 0.15)  # radians, part of the size, and twice of a half of it
LR, EPOCHS, BATCH = 1e-3, 20, 100

_TWO = {"proxies_per_class": 2}
_NORMS = {"lower_norm": 1.0, "upper_norm": 11.0}  # this network's are far below the default lower bound of 10
OPTIONS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any], str, tuple[Any, ...]]] = {
    "PD-Loss, form": (dml.PDLoss, {}, "form", ("neg_log", "neg", "inverse")),
    "Potential field, delta (both)": (dml.PotentialFieldLoss, _TWO, "delta", (0.05, 0.1, 0.2, 0.5, 1.0)),
    "Potential field, alpha": (dml.PotentialFieldLoss, _TWO, "alpha", (0.5, 1.0, 3.0, 6.0, 12.0)),
    "Potential field, proxies_per_class": (dml.PotentialFieldLoss, {}, "proxies_per_class", (1, 2, 4)),
    "Proxy-Anchor, alpha": (dml.ProxyAnchorLoss, {}, "alpha", (1.0, 8.0, 32.0, 64.0, 256.0)),
    "Proxy-Anchor, margin": (dml.ProxyAnchorLoss, {}, "margin", (0.0, 0.1, 0.3, 0.5, 0.9)),
    "Normalised softmax, scale": (dml.NormalizedSoftmaxLoss, {}, "scale", (1.0, 5.0, 20.0, 64.0, 256.0)),
    "Proxy-NCA without positive, scale": (
        dml.ProxyNCALoss, {"include_positive": False}, "scale", (1.0, 6.0, 18.0, 64.0, 256.0),
    ),
    "CosFace, margin": (dml.CosFaceLoss, {}, "margin", (0.0, 0.1, 0.35, 0.7, 1.2)),
    "ArcFace, margin": (dml.ArcFaceLoss, {}, "margin", (0.0, 0.25, 0.5, 1.0, 1.5)),
    "SoftTriple, centers_per_class": (dml.SoftTripleLoss, {}, "centers_per_class", (1, 2, 5, 10)),
    "SoftTriple, tau": (dml.SoftTripleLoss, {}, "tau", (0.0, 0.1, 0.2, 1.0, 5.0)),
    "SubCenter-ArcFace, centers_per_class": (dml.SubCenterArcFaceLoss, {}, "centers_per_class", (1, 2, 3, 5)),
    "AdaFace, margin": (dml.AdaFaceLoss, {}, "margin", (0.0, 0.2, 0.4, 0.8, 1.2)),
    "AdaFace, concentration": (dml.AdaFaceLoss, {}, "concentration", (0.1, 0.333, 1.0)),
    "MagFace, upper_margin": (dml.MagFaceLoss, _NORMS, "upper_margin", (0.45, 0.6, 0.8, 1.2, 1.5)),
    "MagFace, regularizer_weight": (dml.MagFaceLoss, _NORMS, "regularizer_weight", (0.0, 5.0, 35.0, 100.0, 1000.0)),
    "CurricularFace, margin": (dml.CurricularFaceLoss, {}, "margin", (0.0, 0.25, 0.5, 1.0, 1.5)),
    "CurricularFace, momentum": (dml.CurricularFaceLoss, {}, "momentum", (0.0, 0.9, 0.99, 0.999)),
    "AdaCos, label_smoothing": (dml.AdaCosLoss, {}, "label_smoothing", (0.0, 0.1, 0.3)),
    "Circle loss, scale": (dml.CircleLoss, {}, "scale", (16.0, 64.0, 256.0, 512.0)),
    "Circle loss, margin": (dml.CircleLoss, {}, "margin", (0.0, 0.1, 0.25, 0.4, 0.7)),
}  # fmt: skip
FACTORS = (0.01, 1.0, 10.0, 100.0, 1000.0)
OPTIMISERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "AdamW, 1e-3": (torch.optim.AdamW, {"lr": 1e-3}),
    "SGD with momentum, 0.01": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "SGD with momentum, 0.1": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
}


def data(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels: every digit is a class, its warped copies are the samples."""
    ink = torch.tensor(load_digits().images / 16, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(ink), generator=generator)[: 2 * CLASSES]
    views = [warped(ink[part], count, generator) for part, count in ((chosen[:CLASSES], 16), (chosen[CLASSES:], 8))]
    labels = [torch.arange(CLASSES).repeat_interleave(count) for count in (16, 8)]
    return views[0], labels[0], views[1], labels[1]


def warped(ink: Tensor, count: int, generator: torch.Generator) -> Tensor:  # (N, 8, 8) -> (N * count, 256)
    """Turned, scaled, moved and noisy copies on 16 x 16 pixels."""
    copies = ink.repeat_interleave(count, dim=0)[:, None]
    angle, scale, x, y = (2 * torch.rand(4, len(copies), generator=generator) - 1) * torch.tensor(WARP)[:, None]
    cosine, sine = angle.cos() / (1 + scale), angle.sin() / (1 + scale)
    grid = F.affine_grid(
        torch.stack([torch.stack([cosine, -sine, x], 1), torch.stack([sine, cosine, y], 1)], 1),
        [len(copies), 1, 16, 16],
        align_corners=False,
    )
    images = F.grid_sample(copies, grid, align_corners=False)
    return (images + 0.05 * torch.randn(images.shape, generator=generator)).flatten(1)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, DIM))


def map_at_r(embeddings: Tensor, labels: Tensor) -> float:
    """Mean average precision at R, R being how many others have the class of the query."""
    unit = F.normalize(embeddings)
    scores = (unit @ unit.T).fill_diagonal_(-2.0)
    right = labels[scores.argsort(1, descending=True)] == labels[:, None]
    relevant = right[:, :-1].sum(1)
    ranks = torch.arange(1, right.shape[1] + 1)
    precision = right.cumsum(1) / ranks * right * (ranks <= relevant[:, None])
    return (precision.sum(1) / relevant).mean().item()


def trained(
    seed: int,
    loss: Callable[..., nn.Module],
    options: dict[str, Any],
    optimiser: str = "AdamW, 1e-3",
    factor: float = 100.0,
    epochs: int = EPOCHS,
) -> float:
    """MAP@R of unseen classes, in percent; NaN for a network that is not finite."""
    train_images, train_labels, images, labels = data()
    torch.manual_seed(seed)
    model, loss_fn = network(), loss(CLASSES, DIM, **options)
    kind, settings = OPTIMISERS[optimiser]
    proxies = loss_fn.param_groups(lr=settings["lr"], proxy_lr_factor=factor)
    optimizer = kind([{"params": model.parameters()}, *proxies], **settings)
    for _ in range(epochs):
        for batch in torch.randperm(len(train_labels)).split(BATCH):
            value = loss_fn(model(train_images[batch]), train_labels[batch])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    with torch.no_grad():
        embeddings = model(images)
    return 100 * map_at_r(embeddings, labels) if embeddings.isfinite().all() else float("nan")


def cell(seeds: int, *arguments: Any, **options: Any) -> str:
    found = [trained(seed, *arguments, **options) for seed in range(seeds)]
    spread = statistics.stdev(found) if seeds > 1 else 0.0
    return f"{statistics.mean(found):.1f} ± {spread:.1f}"


def report(seeds: int, epochs: int) -> Iterator[str]:
    _, _, images, labels = data()
    untrained = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        with torch.no_grad():
            untrained.append(100 * map_at_r(network()(images), labels))
    yield f"""# Ranges

Written by `python docs/sweep.py`. Each of {2 * CLASSES} handwritten digits is a class, its samples are warped copies.
A network of two linear layers trains on {CLASSES} of the classes and is tested on retrieving the others. MAP@R in
percent, mean ± standard deviation over {seeds} seeds; {epochs} epochs in batches of {BATCH}, AdamW at {LR:g}, proxies
at 100 times that unless a row says otherwise. Raw pixels reach {100 * map_at_r(images, labels):.1f}, the untrained
network {statistics.mean(untrained):.1f}.

The task is small. It shows which options are harmless and what lies beyond them, not which loss is best: read along a
row, not down a column. Defaults come from the papers, whose networks are larger and whose classes are fewer.

## Options

Each cell is a value of the option, then what came out. Other options have their defaults, but the field has 2 proxies
per class, and MagFace holds norms between 1 and 11: those of this network are below its default bounds, 10 and 110.
"""
    yield "| loss and option | | | | | |\n| --- | --- | --- | --- | --- | --- |"
    for name, (loss, fixed, option, values) in OPTIONS.items():
        cells = []
        for value in values:
            changed = {"delta_att": value, "delta_rep": value} if option == "delta" else {option: value}
            cells.append(f"{value}: {cell(seeds, loss, {**fixed, **changed}, epochs=epochs)}")
        yield f"| {name} | " + " | ".join([*cells, *[""] * (5 - len(cells))]) + " |"
    yield "\n## Learning rate of the proxies\n\nFactor over the rate of the network.\n"
    yield "| optimiser and loss | " + " | ".join(f"x {factor:g}" for factor in FACTORS) + " |"
    yield "| --- |" + " ---: |" * len(FACTORS)
    for optimiser in OPTIMISERS:
        for loss in (dml.ProxyAnchorLoss, dml.NormalizedSoftmaxLoss, dml.PDLoss):
            cells = [cell(seeds, loss, {}, optimiser, factor, epochs) for factor in FACTORS]
            yield f"| {optimiser}, {loss.__name__} | " + " | ".join(cells) + " |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "ranges.md")
    given = parser.parse_args(arguments)
    given.out.write_text("\n".join(report(given.seeds, given.epochs)) + "\n", encoding="utf-8")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
