"""Records as aligned text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from benchmarks.harness.records import Record
from benchmarks.problems.shapes import Shape


def group_of(record: Record) -> tuple[str, ...]:
    """Records that may stand in one table."""
    shape = Shape(**record["shape"])
    return (
        record["device_type"], record["loss"], f"{shape.name} {shape.label(record['loss'])}", record["pattern"],
        type_of(record), record["mode"],
    )  # fmt: skip


def type_of(record: Record) -> str:
    """Dtypes of the operands, and how products are rounded if not as the operands are."""
    products = record.get("products", record.get("matmul_precision", "highest"))
    named = {"highest": "", "autocast": " (autocast to bfloat16)"}
    return record["dtype"] + named.get(products, f" ({products} matmul precision)")


def describe(records: Iterable[Record]) -> Iterator[str]:
    """One block per group, ratios against ours, on the backend that users get."""
    for key, found in groupby(records, group_of):
        yield ""
        yield " | ".join(key[1:])
        members = list(found)
        base = next((record["median_s"] for record in members if record["default"] and "median_s" in record), None)
        for record in members:
            yield f"  {record['variant']:<30} " + cells(record, base)


def cells(record: Record, base: float | None) -> str:
    if "median_s" not in record:
        return f"{record['status']}: {record['reason']}"
    median = record["median_s"]
    ratio = f"x{median / base:7.2f}" if base else " " * 8
    return (
        f"{seconds(median):>10} ± {seconds(record['iqr_s']):<10} {ratio}  {size(record['extra_bytes']):>10}"
        f"  {record['exact_flops_per_s'] / 1e9:8.1f} GFLOP/s"
    )


def seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def size(value: int | None) -> str:
    if value is None:
        return "-"
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if value >= 0.97 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 2**10:.3g} KiB"
