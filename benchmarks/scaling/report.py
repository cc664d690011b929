"""The tables and the picture of docs/scaling.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.reporting.pictures import INK, STYLE
from benchmarks.scaling.count import ALONE, OPTIONS
from benchmarks.scaling.model import (
    CLASSES,
    DIM,
    GPUS,
    PER_GPU_BATCH,
    Estimate,
    Kind,
    Machine,
    estimate,
    largest,
)
from benchmarks.scaling.traffic import Step, calls

COUNTED = {"": (48, 96, 16), "2 B": (96, 96, 16), "2 C": (48, 192, 16), "2 D": (48, 96, 32)}
RANKS = 4
LAYOUTS = {"replicated": (False, 1), "sharded": (True, 1), "2 x 2": (True, 2)}  # of proxies: sharded, lines of a mesh
PATIENCE = 0.5  # seconds that a step may take
NAMES = {
    Kind.SOFTMAX: "softmax family",
    Kind.PD: "PD-Loss",
    Kind.ANCHOR: "Proxy-Anchor",
    Kind.FIELD: "potential field, fused",
    Kind.DECIDABILITY: "D-Loss",
}
COLOURS = dict(zip(NAMES, ("#e8663c", "#2fa37c", "#d19a00", "#4f8fdd", "#b06fd8"), strict=True))


def counted_steps() -> list[Step]:
    """The steps of the table of counts."""
    return [Step(RANKS, *sizes, *layout) for layout in LAYOUTS.values() for sizes in COUNTED.values()]


def larger_steps() -> list[Step]:
    """Steps of a mesh of 2 x 3, data x class, which the command counts too."""
    return [Step(6, *sizes, True, 2) for sizes in COUNTED.values()]


def counted_table() -> Iterator[str]:
    """Bytes and calls on each of four ranks; the command checks that this is what it counts."""
    yield f"| loss | proxies | calls | bytes | {' | '.join(f'with {name}' for name in COUNTED if name)} |"
    yield "| --- | --- | ---: | ---: |" + " ---: |" * (len(COUNTED) - 1)
    for name in OPTIONS:
        for layout, (sharded, replicas) in LAYOUTS.items():
            if sharded and name in ALONE:
                continue
            made = [calls(name, Step(RANKS, *sizes, sharded, replicas)) for sizes in COUNTED.values()]
            sums = [sum(call.num_bytes for call in found) for found in made]
            shown = "none" if name in ALONE else layout
            yield f"| `{name}` | {shown} | {len(made[0])} | {' | '.join(f'{number:,}' for number in sums)} |"


def modelled_table(machine: Machine) -> Iterator[str]:
    """A step on so many GPUs."""
    yield "| classes | loss | " + " | ".join(f"{number} GPUs" for number in GPUS) + " |"
    yield "| --- | --- |" + " --- |" * len(GPUS)
    for columns in CLASSES:
        for kind, name in NAMES.items():
            if kind is not Kind.DECIDABILITY or columns == CLASSES[0]:
                found = [estimate(kind, step_of(number, columns, True), machine) for number in GPUS]
                classes = "any" if kind is Kind.DECIDABILITY else _power(columns)
                yield f"| {classes} | {name} | " + " | ".join(_cell(one, machine) for one in found) + " |"
        softmax = {
            "sample_classes=0.1": [
                estimate(Kind.SOFTMAX, step_of(number, columns, True), machine, sample_classes=0.1) for number in GPUS
            ],
            "replicated": [estimate(Kind.SOFTMAX, step_of(number, columns, False), machine) for number in GPUS],
            "mesh of GPUs / 8 x 8": [
                estimate(Kind.SOFTMAX, step_of(8, columns, True), machine, replicas=number // 8) for number in GPUS
            ],
        }
        for how, found in softmax.items():
            cells = " | ".join(_cell(one, machine) for one in found)
            yield f"| {_power(columns)} | *softmax, {how}* | {cells} |"


def largest_table(machine: Machine) -> Iterator[str]:
    """The most classes."""
    yield "| loss | proxies | " + " | ".join(f"{number} GPUs" for number in GPUS) + " |"
    yield "| --- | --- |" + " ---: |" * len(GPUS)
    for kind, name in NAMES.items():
        for sharded in (False, True):
            if kind is not Kind.DECIDABILITY:
                found = [largest(kind, number, machine, sharded, PATIENCE) for number in GPUS]
                layout = "sharded" if sharded else "replicated"
                yield f"| {name} | {layout} | " + " | ".join(f"{number / 1e6:,.1f} M" for number in found) + " |"


def draw(machine: Machine, file: Path, number: int = 64) -> None:
    """Time and memory against classes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = [10 ** (5 + i / 8) for i in range(33)]
    with plt.rc_context(STYLE):
        figure, (time, memory) = plt.subplots(1, 2, figsize=(11, 4.2))
        for kind, name in NAMES.items():
            found = [estimate(kind, step_of(number, int(size), True), machine) for size in sizes]
            time.loglog(sizes, [one.seconds for one in found], color=COLOURS[kind], label=name)
            if kind in (Kind.SOFTMAX, Kind.FIELD):
                memory.loglog(
                    sizes, [one.memory / 2**30 for one in found], color=COLOURS[kind], label=f"{name}, sharded"
                )
        whole = [estimate(Kind.SOFTMAX, step_of(number, int(size), False), machine) for size in sizes]
        time.loglog(sizes, [one.seconds for one in whole], color=INK, linestyle="--", label="softmax, replicated")
        memory.loglog(sizes, [one.memory / 2**30 for one in whole], color=INK, linestyle="--", label="replicated")
        memory.axhline(machine.capacity / 2**30, color=INK, linestyle=":", label="what a GPU has left")
        for axis, title in ((time, f"seconds of a step, {number} GPUs (modelled)"), (memory, "GiB on each")):
            axis.set_title(title, fontsize=11)
            axis.set_xlabel("classes")
            axis.legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(file)
        plt.close(figure)


def step_of(ranks: int, columns: int, sharded: bool) -> Step:
    """A step of the model."""
    return Step(ranks, PER_GPU_BATCH * ranks, columns, DIM, sharded)


def _cell(found: Estimate, machine: Machine) -> str:
    held = _bytes(found.memory)
    if found.memory > machine.capacity:
        return f"**{held}: does not fit**"
    parts = " + ".join(_milliseconds(part) for part in (found.compute, found.update, found.network))
    return f"{held}, {parts} = {_milliseconds(found.seconds)} ms"


def _bytes(number: float) -> str:
    if number < 1e8:
        return f"{number / 1e6:.2g} MB"
    return f"{number / 1e9:.2g} GB" if number < 99e9 else f"{number / 1e9:.0f} GB"


def _milliseconds(seconds: float) -> str:
    number = seconds * 1e3
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _power(number: int) -> str:
    return f"10^{len(str(number)) - 1}"
