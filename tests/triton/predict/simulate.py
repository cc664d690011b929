"""One scheduler, in order: stall counts, barriers, units, tensor core, asynchronous copies, block-wide barriers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tests.triton.predict.machine import EXCLUSIVE, LATENCY, OTHER_LATENCY, Machine, bytes_a_thread, unit
from tests.triton.predict.sass import Instruction

_QUEUE = 8  # cycles that special and memory instructions may wait in a queue
_TRIPS = 7


class _Warp:
    def __init__(self, block: int, start: float) -> None:
        self.block, self.at, self.next, self.boards = block, 0, start, [0.0] * 8
        self.copies: list[float] = []
        self.products: list[float] = []
        self.open_copy = self.open_product = 0.0
        self.trip, self.last, self.waits = 0, -1.0, False
        self.ends: list[float] = []


class _Scheduler:
    """Runs ``warps`` of each of ``blocks`` along the same path."""

    def __init__(self, path: Sequence[Instruction], warps: int, blocks: int, machine: Machine, l2_bytes: float) -> None:
        self.path, self.warps, self.l2_bytes = path, warps, l2_bytes
        self.units = [unit(one, machine) for one in path]
        self.everyone = [_Warp(block, block * 400.0) for block in range(blocks) for _ in range(warps)]
        self.free: dict[str, float] = {}
        self.l2_free, self.last = 0.0, -1.0
        self.arrived: dict[int, list[_Warp]] = {block: [] for block in range(blocks)}

    def run(self) -> float:
        """Cycles a tile and block."""
        while any(warp.trip < _TRIPS for warp in self.everyone):
            ready = [
                (self._earliest(w), w.last, i) for i, w in enumerate(self.everyone) if w.trip < _TRIPS and not w.waits
            ]
            if not ready:
                break
            time, _, chosen = min(ready)
            self._issue(self.everyone[chosen], time)
        first = max(warp.ends[1] for warp in self.everyone)
        stop = min(warp.ends[-1] for warp in self.everyone)
        ends = sorted(end for warp in self.everyone for end in warp.ends if first <= end <= stop)
        return (ends[-1] - ends[0]) / (len(ends) - 1) * self.warps if len(ends) > 1 else math.nan

    def _earliest(self, warp: _Warp) -> float:
        one, (name, _) = self.path[warp.at], self.units[warp.at]
        time = warp.next
        for board in range(6):
            if one.wait >> board & 1:
                time = max(time, warp.boards[board])
        if name in EXCLUSIVE:
            time = max(time, self.free.get(name, 0.0) - (_QUEUE if name in ("special", "memory") else 0))
        if one.base == "DEPBAR" and "SB0" in one.arguments:
            time = max([time, *_all_but(warp.copies, one.arguments.split("SB0,")[1])])
        if one.base == "WARPGROUP" and "DEPBAR" in one.operation:
            time = max([time, *_all_but(warp.products, one.arguments)])
        return max(time, self.last + 1)

    def _issue(self, warp: _Warp, time: float) -> None:
        one, (name, busy) = self.path[warp.at], self.units[warp.at]
        self.last = warp.last = time
        if name in EXCLUSIVE:
            self.free[name] = max(self.free.get(name, 0.0), time) + busy
        done = max(self.free.get(name, time), time) + LATENCY.get(one.base, OTHER_LATENCY)
        if one.base in ("LDG", "LDGSTS", "LD"):
            done = self._load(warp, one, time, done)
        if one.base == "LDGDEPBAR":
            warp.copies = [*warp.copies, warp.open_copy][-8:]
            warp.open_copy = 0.0
        if name == "tensor":
            self.free["tensor"] = max(time, self.free.get("tensor", 0.0)) + busy
            if one.base == "HMMA":
                done = self.free["tensor"] + LATENCY["HMMA"]
            elif "gsb0" in one.arguments:
                warp.products = [*warp.products, self.free["tensor"] + 32][-8:]
        if one.write != 7:
            warp.boards[one.write] = max(warp.boards[one.write], done)
        if one.read != 7:
            warp.boards[one.read] = max(warp.boards[one.read], time + 12 + (busy if name == "memory" else 0))
        warp.next = time + max(1, one.stall)
        if one.base == "BAR" and "SYNC" in one.operation:
            self._barrier(warp, time)
        warp.at += 1
        if warp.at == len(self.path):
            warp.at, warp.trip = 0, warp.trip + 1
            warp.ends.append(time)

    def _load(self, warp: _Warp, one: Instruction, time: float, done: float) -> float:
        arrives, width = time + LATENCY["LDG"], bytes_a_thread(one.operation)
        if width >= 16:
            self.l2_free = max(self.l2_free, time) + 32 * width * 4 / self.l2_bytes
            arrives = max(arrives, self.l2_free)
        if one.base != "LDGSTS":
            return arrives
        warp.open_copy = max(warp.open_copy, arrives)
        return done

    def _barrier(self, warp: _Warp, time: float) -> None:
        here = self.arrived[warp.block]
        here.append(warp)
        warp.waits = True
        if len(here) == self.warps:
            for other in here:
                other.next, other.waits = time + 22, False
            here.clear()


def _all_but(pending: list[float], text: str) -> list[float]:
    """When all but the last few, as an instruction says, are done."""
    found = re.search(r"0x([0-9a-f]+)", text)
    kept = int(found[1], 16) if found else 0
    return pending[: max(0, len(pending) - kept)]


def cycles(path: Sequence[Instruction], warps: int, blocks: int, machine: Machine, l2_bytes: float) -> float:
    """Cycles a tile and block of a scheduler that holds so many warps of each of so many blocks."""
    return _Scheduler(path, warps, blocks, machine, l2_bytes).run()
