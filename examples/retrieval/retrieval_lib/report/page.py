"""The report as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from retrieval_lib.report import pictures
from retrieval_lib.report.field import field
from retrieval_lib.report.html import STYLE, figure, panel, table
from retrieval_lib.report.numbers import Results, by_batch_size, metric_names, spread, title_of
from retrieval_lib.report.published import METRICS, comparison, obstacles


def page(results: Results) -> str:
    """All of it, for runs of one configuration."""
    first = results[0]
    sections = [
        _runs(results),
        _published(results),
        _curves(results),
        _scores(first),
        _examples(first),
        _field(first),
        _configuration(first),
        _provenance(first),
    ]
    title = escape(first["config"]["title"])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<header><h1>{title}</h1><p>{escape(_subtitle(results))}</p></header>\n<main>"
        + "\n".join(sections)
        + "</main></body></html>\n"
    )


def _subtitle(results: Results) -> str:
    first, task = results[0], results[0]["task"]
    counted = ("train", "test", "gallery") if task["kind"] == "retrieval" else ("train", "test", "pairs")
    sizes = ", ".join(f"{size:,} {name}" for size, name in zip(task["sizes"], counted, strict=False))
    return (
        f"{task['name']} ({sizes}; {task['train_classes']:,} training and {task['test_classes']:,} test classes). "
        f"{first['network']}. {len(results)} run{'s' * (len(results) > 1)}."
    )


def _runs(results: Results) -> str:
    names = metric_names(results)
    rows = []
    for size, group in by_batch_size(results).items():
        values = [spread([one["final"][name] for one in group], name) for name in names]
        epochs = sorted({one["epoch"] for one in group})
        seconds = sum(one["seconds"] for one in group) / len(group)
        rows.append([str(size), str(len(group)), ", ".join(map(str, epochs)), *values, f"{seconds:,.0f} s"])
    headings = ["batch size", "seeds", "epoch", *map(title_of, names), "training"]
    config = results[0]["config"]
    how = (
        f"the best of the validation split, {100 * config['data']['validation_share']:g}% of the training classes"
        if config["evaluation"]["choose"] == "validation"
        else "the last one, fixed beforehand"
    )
    note = f"Mean ± standard deviation over the seeds. The reported epoch is {how}; test images never choose it."
    if "accuracy" in names:
        error = results[0]["final"]["accuracy_standard_error"]
        note += f" Standard error over the ten folds, first run: {100 * error:.1f}."
    return panel("Our results", table(headings, rows, first_numeric=0, kind="tight"), note)


def _published(results: Results) -> str:
    rows = comparison(results)
    if not rows:
        return panel("Published numbers", "<p>None are known for these data.</p>")
    headings = ["method", "backbone", "setting", *METRICS.values(), "ours", "known from"]
    why = obstacles(results)
    note = ""
    if why:
        note = f"Ours are not comparable with any of these: {'; '.join(why)}."
    return panel(
        "Published numbers beside ours", table(headings, rows, first_numeric=3, last_numeric=4, kind="compact"), note
    )


def _curves(results: Results) -> str:
    split = results[0]["curve_split"]
    content = figure(pictures.curves(results), "Loss and metrics over the epochs")
    if len(by_batch_size(results)) > 1:
        content += figure(pictures.batch_sizes(results), "Result by batch size")
    return panel("Curves", content, f"Metrics of the {split} split; bands span the seeds.")


def _scores(result: dict[str, Any]) -> str:
    note = "Cosines of pairs of test images of the same and of different classes, first run."
    return panel("Scores", figure(pictures.scores(result), "Histograms of scores"), note)


def _examples(result: dict[str, Any]) -> str:
    rows = "".join(_example(one) for one in result["examples"])
    kind = result["task"]["kind"]
    note = (
        "Each query with what it found, best first; green is the query's class, red is not."
        if kind == "retrieval"
        else "The hardest pairs: same person with the lowest scores, different people with the highest; "
        "green is judged rightly, red wrongly."
    )
    title = "Retrieval examples" if kind == "retrieval" else "Hardest pairs"
    return panel(title, f'<div class="examples {kind}">{rows}</div>', note)


def _example(example: dict[str, Any]) -> str:
    images = [_image(example, "query")]
    images += [_image(one, "hit" if one["hit"] else "miss") for one in example["found"]]
    note = f"<span>{escape(example['note'])}</span>" if "note" in example else ""
    return f'<div class="example">{"".join(images)}{note}</div>'


def _image(shown: dict[str, Any], kind: str) -> str:
    uri = pictures.thumbnail(shown["path"])
    title = escape(f"class {shown['label']}: {shown['path'].rpartition('/')[2]}")
    content = f'<img src="{uri}" alt="{title}">' if uri else '<div class="gone">image gone</div>'
    return f'<figure class="{kind}" title="{title}">{content}<figcaption>{shown["label"]}</figcaption></figure>'


def _field(result: dict[str, Any]) -> str:
    projection, loss = result["projection"], result["config"]["loss"]
    options = loss["options"] if loss["name"] == "field" else {}
    note = (
        "Test embeddings of the largest classes on their first two principal axes, which keep "
        f"{100 * projection['variance_kept']:.0f}% of their variance, first run. Blue attracts, red repels; arrows are "
        "forces, of logarithmic length."
    )
    return panel("Potential field", figure(field(projection, options), "Potential field over a projection"), note)


def _configuration(result: dict[str, Any]) -> str:
    rows = []
    for section, values in result["config"].items():
        entries = values.items() if isinstance(values, dict) else [("", values)]
        rows += [[f"{section}.{name}".rstrip("."), _shown(value)] for name, value in entries]
    return panel("Configuration", table(["setting", "value"], rows), columns=True)


def _provenance(result: dict[str, Any]) -> str:
    rows: Sequence[list[str]] = [[name, value] for name, value in result["provenance"].items()]
    return panel("Versions", table(["what", "version"], [*rows, ["processes", str(result["processes"])]]), columns=True)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if value not in ("", [], {}) else "–"
