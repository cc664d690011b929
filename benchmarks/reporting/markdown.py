"""Markdown tables of records of one kind of device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmarks.harness.records import Record
from benchmarks.harness.steps import BOTH
from benchmarks.problems.losses import LOSSES
from benchmarks.problems.shapes import SHAPES, Shape
from benchmarks.problems.variants import CHUNKED, COMPILED, CUT, LIGER, PLAIN_TORCH, PML, REFERENCE, is_ours
from benchmarks.tables import seconds, size, type_of

_TELLING = 0.02  # of a step, for a kernel to be listed
_USED_NOW = (REFERENCE, PLAIN_TORCH, PML)
PRODUCT_TYPES = ("bfloat16", "tf32", "float32")
HIGHLIGHTS = (  # loss, shape and embeddings: the README's rows
    ("normalized_softmax", "cub", "random"),
    ("pd", "faces128", "random"),
    ("proxy_anchor", "faces128", "random"),
    ("normalized_softmax", "faces128", "random"),
    ("arcface", "faces128", "random"),
    ("soft_triple", "centers_faces", "random"),
    ("field", "field1600", "random"),
    ("field", "field_sop", "random"),
)
GPU_HIGHLIGHTS = (
    *HIGHLIGHTS,
    ("pd", "faces128", "clustered"),
    ("normalized_softmax", "faces128", "clustered"),
    ("field", "field_sop", "clustered"),
)
BASELINES = (REFERENCE, COMPILED, PLAIN_TORCH, PML, CHUNKED, LIGER, CUT)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first columns are text, the rest numbers."""
    yield "| " + " | ".join(header) + " |"
    yield "| " + " | ".join("---" if i < 2 else "---:" for i in range(len(header))) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def origin(records: Sequence[Record]) -> str:
    """Where a set of records comes from, in a sentence; several commits or devices are all named."""

    def all_of(key: str) -> str:
        return ", ".join(dict.fromkeys(str(record[key]) for record in records if key in record))

    versions = ", ".join(dict.fromkeys(f"torch {record['versions']['torch']}" for record in records))
    loads = [record["load"] for record in records]
    return (
        f"{all_of('device')}; {all_of('threads')} threads; {versions}; {all_of('dtype')}; commit {all_of('commit')}"
        f"{' with changes not committed' if any(record['modified'] for record in records) else ''}; "
        f"load of the machine {min(loads):.1f} to {max(loads):.1f}."
    )


def measurements(records: Sequence[Record]) -> list[list[Record]]:
    """Records that were measured together, case by case; of a case measured more than once the fullest, latest time."""
    best: dict[tuple[str, ...], list[Record]] = {}
    timed = (record for record in records if record["kind"] == "time")
    for key, found in groupby(timed, lambda record: (*_case(record), record["mode"])):
        members = list(found)
        if len(members) >= len(best.get(key, [])):
            best[key] = members
    losses, shapes = list(LOSSES), list(SHAPES)
    order = {key: (losses.index(key[0]), shapes.index(best[key][0]["shape"]["name"])) for key in best}
    return [best[key] for key in sorted(best, key=lambda key: order[key])]


def ratios(records: Sequence[Record], mode: str, time: str = "median_s") -> Iterator[str]:
    """Ours beside every baseline: how many times slower and larger each is. Below 1 the baseline is better. ``time`` is
    that of the step, or "device_s": of its kernels alone."""
    chosen = [found for found in measurements(records) if found[0]["mode"] == mode]
    present = [name for name in BASELINES if any(record["variant"] == name for found in chosen for record in found)]
    rows = []
    for found in chosen:
        members, key = {record["variant"]: record for record in found}, _case(found[0])
        mine = next((record for record in members.values() if record["default"]), None)
        if mine is None or (time != "median_s" and mine.get(time) is None):
            continue
        cells = [_absolute(mine, time)] + [_ratio(members.get(name), mine, time) for name in present]
        rows.append([*key, mine["variant"].removeprefix("ours, "), *cells])
    header = ["loss", "shape B x C x D", "embeddings", "backend", "ours", *present]
    return table(header, rows)


def highlights(records: Sequence[Record]) -> Iterator[str]:
    """A few cases of one kind of device, beside what a reader may be using now; on a GPU in the type that networks are
    trained in."""
    rows = []
    timed = [found for found in measurements(records) if found[0]["mode"] == BOTH]
    on_gpu = any(record["device_type"] == "cuda" for record in records)
    if on_gpu:
        timed = [found for found in timed if "bfloat16" in found[0]["dtype"]]
    for loss, shape, pattern in GPU_HIGHLIGHTS if on_gpu else HIGHLIGHTS:
        for found in timed:
            if (found[0]["loss"], found[0]["shape"]["name"], found[0]["pattern"]) != (loss, shape, pattern):
                continue
            members = {record["variant"]: record for record in found}
            mine = next((record for record in found if record["default"]), None)
            if mine is not None:
                cells = (_ratio(members.get(name), mine) for name in _USED_NOW)
                rows.append([*_case(mine)[:2], _absolute(mine), *cells])
    return table(["loss", "shape B x C x D", "ours takes", *_USED_NOW], rows)


def in_full(records: Sequence[Record]) -> Iterator[str]:
    """Every record on a line."""
    rows = []
    for record in (record for found in measurements(records) for record in found):
        loss, shape, pattern = _case(record)
        if "median_s" in record:
            executed = record.get("flops_executed")
            cells = [
                seconds(record["median_s"]),
                seconds(record["iqr_s"]),
                str(record["rounds"]),
                size(record["extra_bytes"]),
                f"{record['flops_exact'] / 1e9:.3g}",
                "-" if executed is None else f"{executed / 1e9:.3g}",
                f"{record['exact_flops_per_s'] / 1e9:.3g}",
            ]
        else:
            cells = [f"{record['status']}: {record['reason']}", *[""] * 6]
        rows.append([loss, shape, pattern, record["mode"], record["variant"], *cells])
    header = ["loss", "shape", "embeddings", "mode", "variant", "median", "IQR", "rounds", "extra memory"]
    return table([*header, "GFLOP needed", "GFLOP executed", "GFLOP/s needed"], rows)


def targets(records: Sequence[Record]) -> Iterator[str]:
    rows = []
    for record in records:
        if record["kind"] == "target":
            shape = Shape(**record["shape"])
            mark = {True: "met", False: "**missed**", None: ""}[record["met"]]
            variant = record["variant"].removeprefix("ours, ")
            rows.append(
                [
                    record["loss"],
                    shape.label(record["loss"]),
                    record["pattern"],
                    variant,
                    record["claim"],
                    record["found"],
                    mark,
                ]
            )
    return table(["loss", "shape", "embeddings", "backend", "wanted", "found", ""], rows)


def engines(records: Sequence[Record]) -> Iterator[str]:
    """Our engines and the reference, a case to a line."""
    rows = []
    chosen = (record for record in records if record["kind"] == "engine")
    for key, found in groupby(chosen, lambda record: (*_case(record), record["tiles"])):
        members = {record["variant"]: record for record in found}
        torch_s, native_s, reference_s = (
            members.get(name, {}).get("median_s") for name in ("ours, torch", "ours, native", REFERENCE)
        )
        if torch_s is None or native_s is None:
            continue
        loss, shape, pattern, tiles = key
        dense = members[REFERENCE]["status"] if REFERENCE in members else ""
        if reference_s is not None:
            dense = f"{reference_s / native_s:.2f}"
        name = f"{loss}, tiles only" if tiles else loss
        memory = [size(members[engine]["extra_bytes"]) for engine in ("ours, torch", "ours, native")]
        rows.append([name, shape, pattern, f"{torch_s / native_s:.2f}", dense, *memory])
    times = ["time, torch / native", "reference / native"]
    return table(["loss", "shape", "embeddings", *times, "memory, torch", "memory, native"], rows)


def largest(records: Sequence[Record]) -> Iterator[str]:
    rows = []
    for record in records:
        if record["kind"] == "largest":
            head = [record["loss"], record["variant"]]
            if record["status"] != "ok":
                rows.append([*head, record["status"], *[""] * 4])
                continue
            parts = [size(record[f"{part}_bytes"]) for part in ("proxies", "gradient", "optimiser", "work")]
            rows.append([*head, f"{record['largest']:,}", *parts])
    return table(["loss", "variant", "largest C", "proxies", "their gradient", "Adam", "the loss"], rows)


def device(records: Sequence[Record]) -> Iterator[str]:
    """What a GPU was measured to do at best."""
    rows = [
        [
            f"{record['copy_bytes_per_s'] / 1e12:.2f} TB/s",
            *(f"{record[f'{name}_matmul_flops_per_s'] / 1e12:.0f} TFLOP/s" for name in PRODUCT_TYPES),
            record["tests"],
        ]
        for record in records
        if record["kind"] == "roofline"
    ]
    return table(["copy, read and written", *(f"{name} matmul" for name in PRODUCT_TYPES), "GPU tests"], rows)


def roofline(records: Sequence[Record]) -> Iterator[str]:
    """How near our passes come to that, by the products that their kernels did. Least traffic: every vector once a
    pass, every gradient once. A pass that the host takes as long to queue as the GPU to do is bound by the host."""
    rows = []
    for record in (record for found in measurements(records) for record in found if "share_of_matmul" in record):
        name = record["variant"].removeprefix("ours, ")
        rate = f"{record['flops_executed'] / record['median_s'] / 1e12:.3g}"
        shares = [f"{record[share]:.1%}" for share in ("share_of_matmul", "share_of_copy_bandwidth")]
        times = ["-" if record.get(key) is None else seconds(record[key]) for key in ("median_s", "host_s")]
        rows.append([*_case(record), record["mode"], name, *times, rate, *shares])
    header = ["loss", "shape", "embeddings", "mode", "backend", "median", "host queues it in", "TFLOP/s executed"]
    return table([*header, "of the matmul rate", "of the bandwidth, by least traffic"], rows)


def kernels(records: Sequence[Record]) -> Iterator[str]:
    """What the kernels of a step take on a GPU, without the gaps between them; of forward and backward also which share
    of the matmul rate their products reach."""
    rows = []
    for record in (record for record in records if record["kind"] == "kernels"):
        parts = []
        for one in record["kernels"]:
            share = f" ({one['share_of_matmul']:.0%})" if one.get("share_of_matmul", 0) > 0.005 else ""
            if one["seconds"] >= _TELLING * record["total_s"]:
                name = one["kernel"].removeprefix("void ").split("<")[0].removesuffix("_kernel")
                parts.append(f"{name} {seconds(one['seconds'])}{share}")
        rows.append([*_case(record)[:2], seconds(record["total_s"]), ", ".join(parts)])
    return table(["loss", "shape", "all kernels", "of these"], rows)


def slower(records: Sequence[Record], mode: str) -> Iterator[str]:
    """Where a baseline beats ours by more than the spread of both."""
    for found in measurements(records):
        timed = [record for record in found if record["mode"] == mode and "median_s" in record]
        mine = next((record for record in timed if record["default"]), None)
        if mine is None:
            continue
        ahead = [
            f"{other['variant']} is {mine['median_s'] / other['median_s']:.2f} times as fast"
            for other in timed
            if not is_ours(other["variant"]) and other["quartiles_s"][1] < mine["quartiles_s"][0]
        ]
        if ahead:
            yield f"- {' '.join(_case(mine))}: {', '.join(ahead)}"


def _case(record: Record) -> tuple[str, str, str]:
    shape = Shape(**record["shape"])
    label = shape.label(record["loss"]) + (f" ({shape.group} per class)" if shape.group > 1 else "")
    kind = type_of(record)
    return record["loss"], label if kind == "float32" else f"{label}, {kind}", record["pattern"]


def _absolute(record: Record, time: str = "median_s") -> str:
    if "median_s" not in record:
        return f"{record['status']}"
    parts = [] if record["device_type"] == "cpu" else [seconds(record[time])]  # of a shared CPU it says little
    parts += [] if record["extra_bytes"] is None else [size(record["extra_bytes"])]
    return ", ".join(parts)


def _ratio(record: Record | None, mine: Record, time: str = "median_s") -> str:
    if record is None:
        return ""
    if record.get(time) is None or mine.get(time) is None:
        return record["status"]
    shown = f"{record[time] / mine[time]:.2f}"
    if record["extra_bytes"] is not None and mine["extra_bytes"]:
        shown += f" / {record['extra_bytes'] / mine['extra_bytes']:.1f}"
    return shown
