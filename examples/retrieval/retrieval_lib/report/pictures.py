"""Curves, histograms and the field, as data URIs."""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from retrieval_lib.report.numbers import Results, by_batch_size, metric_names, scale_of, title_of

GENUINE, IMPOSTOR = "#0072b2", "#d55e00"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MOST_CURVES = 3  # metrics beside the loss
THUMBNAIL = 112  # pixels


def curves(results: Results) -> str:
    """Loss and the first metrics over the epochs: mean over the seeds, and their range."""
    names = [name for name in metric_names(results) if name != "decidability"][:1]
    names += [name for name in metric_names(results) if name in ("map_at_r", "decidability")][:MOST_CURVES]
    figure, axes = plt.subplots(1, 1 + len(names), figsize=(11, 2.9), layout="constrained")
    titles = ["training loss", *map(title_of, names)]
    for axis, name, title in zip(axes, ["loss", *names], titles, strict=True):
        for colour, (size, group) in zip(COLOURS, by_batch_size(results).items(), strict=False):
            epochs, values = _over_epochs(group, name)
            scaled = (scale_of(name) if name != "loss" else 1.0) * values
            axis.plot(epochs, scaled.mean(0), color=colour, marker="o", markersize=3, label=f"batch size {size}")
            if len(group) > 1:
                axis.fill_between(epochs, scaled.min(0), scaled.max(0), color=colour, alpha=0.2, linewidth=0)
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        _quiet(axis)
    if len(by_batch_size(results)) > 1:
        axes[0].legend(frameon=False, fontsize="small")
    return svg(figure)


def _over_epochs(group: Sequence[dict[str, Any]], name: str) -> tuple[list[float], np.ndarray]:
    """Epochs, and values of each run at them."""
    epochs = [point["epoch"] for point in group[0]["curve"] if name in point]
    return epochs, np.array([[point[name] for point in one["curve"] if name in point] for one in group])


def batch_sizes(results: Results) -> str:
    """The first metric against the batch size; every run a dot."""
    name = next(name for name in metric_names(results) if name != "decidability")
    groups = sorted(by_batch_size(results).items())
    figure, axis = plt.subplots(figsize=(4.6, 2.9), layout="constrained")
    for size, group in groups:
        axis.plot([size] * len(group), [100 * one["final"][name] for one in group], "o", color=GENUINE, alpha=0.5)
    means = [100 * statistics.mean(one["final"][name] for one in group) for _, group in groups]
    axis.plot([size for size, _ in groups], means, color=GENUINE)
    axis.set(xscale="log", xlabel="batch size", ylabel=title_of(name))
    axis.set_xticks([size for size, _ in groups], [str(size) for size, _ in groups])
    axis.minorticks_off()
    _quiet(axis)
    return svg(figure)


def scores(result: dict[str, Any]) -> str:
    """Genuine and impostor scores of the test set."""
    histogram = result["histogram"]
    figure, axis = plt.subplots(figsize=(6.4, 2.9), layout="constrained")
    for name, colour in (("genuine", GENUINE), ("impostor", IMPOSTOR)):
        axis.stairs(histogram[name], histogram["edges"], fill=True, color=colour, alpha=0.45, label=name)
        axis.stairs(histogram[name], histogram["edges"], color=colour)
    axis.set(title=f"d' = {result['final']['decidability']:.2f}", xlabel="cosine", ylabel="density", yticks=[])
    axis.legend(frameon=False)
    _quiet(axis)
    return svg(figure)


def thumbnail(path: str) -> str:
    """A small square JPEG of an image file; "" if it cannot be read any more."""
    try:
        with Image.open(Path(path)) as image:
            small = image.convert("RGB")
    except OSError:
        return ""
    side = min(small.size)
    left, top = (small.width - side) // 2, (small.height - side) // 2
    small = small.crop((left, top, left + side, top + side)).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return data_uri("image/jpeg", stream.getvalue())


def svg(figure: Figure) -> str:
    with plt.rc_context({"svg.fonttype": "path"}):
        return _finished(figure, "svg", "image/svg+xml", metadata={"Date": None})


def png(figure: Figure) -> str:
    return _finished(figure, "png", "image/png", dpi=110)


def _finished(figure: Figure, kind: str, media_type: str, **options: Any) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, **options)
    plt.close(figure)
    return data_uri(media_type, stream.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _quiet(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
