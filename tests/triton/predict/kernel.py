"""What one kernel is predicted to reach."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.triton.compiling import describe
from tests.triton.predict.machine import MACHINES, REGISTERS, bytes_a_thread, product, unit
from tests.triton.predict.path import tile_path
from tests.triton.predict.sass import Instruction, disassemble, registers
from tests.triton.predict.simulate import cycles

L2_BYTES = 32.0  # a cycle and multiprocessor


@dataclass(frozen=True)
class Prediction:
    """Slots are instructions of a thread a score; ``share`` is that of the tensor cores' peak, of the FLOP that the
    tile needs once: 2 M N D forward, twice that backward."""

    role: str
    tile: str
    registers: int
    spilled: int  # bytes a thread
    spilled_in_loops: int
    blocks: int  # a multiprocessor
    slots: float
    masked_slots: float  # of a tile with positives or a border
    share: float
    bound: str
    units: dict[str, int]  # cycles of a multiprocessor a tile

    @property
    def cycles(self) -> int:
        return max(self.units.values())


def predict(kernel: Any, options: dict[str, Any], grid: tuple[int, ...], target: str, role: str) -> Prediction:
    """``kernel`` as Triton compiled it, launched with these options."""
    machine = MACHINES[target]
    cubin = kernel.asm["cubin"]
    code = disassemble(cubin)
    dim, m, n, block_d = (options[name] for name in ("DIM", "M", "N", "BLOCK_D"))
    trips = -(-dim // block_d)
    path, masked = ([code[i] for i in tile_path(code, trips, longest)] for longest in (False, True))
    warps, count = kernel.metadata.num_warps, registers(cubin)
    most = REGISTERS // (-(-count // 8) * 8 * warps * 32), machine.shared // (kernel.metadata.shared + 1024)
    blocks = max(1, min(*most, 2048 // (warps * 32), -(-math.prod(grid) // machine.multiprocessors)))
    time = cycles(path, max(1, warps // 4), blocks, machine, L2_BYTES)
    slices = -(-dim // options["SLICE"]) if "SLICE" in options else 1
    flop = (4 / slices if "SLICE" in options else 2) * m * n * dim
    rate = 4 * machine.tensor_rate / (2 if any("TF32" in one.operation for one in path) else 1)
    busy = _busy(path, warps, target)
    slowest = max(busy, key=lambda name: busy[name])
    bound = slowest if busy[slowest] > 0.85 * time else f"latency ({slowest} {busy[slowest] / time:.0%})"
    lanes = warps * 32 / (m * n)
    compiled = describe("", target, kernel)
    return Prediction(
        role,
        f"{m} x {n}",
        count,
        compiled.spilled,
        compiled.spilled_in_loops,
        blocks,
        len(path) * lanes,
        len(masked) * lanes,
        flop / (time * rate),
        bound,
        busy,
    )


def _busy(path: list[Instruction], warps: int, target: str) -> dict[str, int]:
    """Cycles of a multiprocessor that each unit needs for a tile."""
    machine, a_scheduler = MACHINES[target], warps / 4
    found: Counter[str] = Counter()
    found["issue"] = len(path)
    for one in path:
        name, time = unit(one, machine)
        if name != "tensor":
            found[{"multiply": "fma"}.get(name, name)] += time
    products = [work for one in path if (work := product(one, machine)) is not None]
    in_all = {name: time * a_scheduler for name, time in found.items() if name != "control"}
    in_all["tensor"] = sum(work.cycles for work in products) * a_scheduler
    in_all["memory"] = in_all.get("memory", 0) + sum(work.shared_cycles for work in products) * a_scheduler
    loads = [one for one in path if one.base in ("LDGSTS", "LDG") and bytes_a_thread(one.operation) >= 16]
    in_all["L2"] = sum(32 * bytes_a_thread(one.operation) for one in loads) * warps / L2_BYTES
    return {name: round(time) for name, time in in_all.items()}
