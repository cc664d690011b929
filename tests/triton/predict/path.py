"""The way of one tile through a kernel: the loop over tiles, and a path through its branches."""

from __future__ import annotations

import re

from tests.triton.predict.sass import Instruction

_PRODUCTS = ("HGMMA", "HMMA")
_MUST = 10**6  # what leaving out a product costs


def tile_path(code: list[Instruction], trips: int, longest: bool = False) -> list[int]:
    """Indices of the instructions that a tile takes, inner loops of products repeated ``trips`` times: the shortest
    path, or the longest, of those with the most products."""
    index = {one.address: i for i, one in enumerate(code)}
    loops = _loops(code, index)
    with_products = [loop for loop in loops if _has_products(code, *loop)]
    if not with_products:
        raise ValueError("no loop with products found")
    first, last = max(with_products, key=lambda loop: loop[1] - loop[0])
    inner = [loop for loop in loops if first <= loop[0] and loop[1] <= last and loop != (first, last)]
    repeated = [loop for loop in inner if _has_products(code, *loop)]
    path = _best(code, index, first, last, {(b, a) for a, b in inner}, -1 if longest else 1)
    found: list[int] = []
    for i in path:
        found.append(i)
        for a, b in repeated:
            if i == b:
                once = found[found.index(a) :]
                found += once * (trips - 1)
    return found


def _loops(code: list[Instruction], index: dict[int, int]) -> list[tuple[int, int]]:
    ends: dict[int, int] = {}
    for i, one in enumerate(code):
        to = index.get(one.target) if one.target is not None else None
        if to is not None and to < i:
            ends[to] = max(i, ends.get(to, 0))
    return sorted(ends.items())


def _has_products(code: list[Instruction], first: int, last: int) -> bool:
    return any(one.base in _PRODUCTS for one in code[first : last + 1])


def _best(
    code: list[Instruction], index: dict[int, int], first: int, last: int, back: set[tuple[int, int]], sign: int
) -> list[int]:
    """From the head of a loop to its end, along no edge back but from blocks that were moved out of the loop."""

    def successors(i: int) -> list[int]:
        one = code[i]
        if one.base in ("EXIT", "RET") and not one.predicate:
            return []
        to = index.get(one.target, -1) if one.target is not None else -1
        ways = [to] if to >= 0 and (i, to) not in back and not (first <= to <= i <= last) else []
        if to < 0 or one.conditional:
            ways.append(i + 1)
        return [way for way in ways if way < len(code) and way != first]

    order: list[int] = []
    done: set[int] = set()
    stack = [(first, iter(successors(first)))]
    entered = {first}
    while stack:
        node, ways = stack[-1]
        for way in ways:
            if way not in entered and node != last:
                entered.add(way)
                stack.append((way, iter(successors(way))))
                break
        else:
            order.append(node)
            done.add(node)
            stack.pop()
    cost: dict[int, tuple[float, int]] = {last: (0.0, -1)}
    for node in order:  # successors first
        if node == last:
            continue
        ways = [(cost[way][0], way) for way in successors(node) if way in cost]
        if ways:
            best, way = min(ways)
            cost[node] = (best + (-_MUST if code[node].base in _PRODUCTS else sign), way)
    path, node = [], first
    while node >= 0:
        path.append(node)
        node = cost[node][1]
    return path


def warp_groups(code: list[Instruction]) -> bool:
    """Whether products are those of four warps together."""
    return any(re.match("HGMMA", one.operation) for one in code)
