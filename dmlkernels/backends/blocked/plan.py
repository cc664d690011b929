"""How the work is cut: block sizes, and tiles or closed form. All of it follows from shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from dmlkernels.backends.blocked import host
from dmlkernels.backends.pairs import Pairs

TILE_ELEMENTS = 2**19  # 2 MiB of float32: a tile and its temporaries stay in the cache
BLOCK_ROWS = 1024
DEVICE_ELEMENTS = 2**25  # off the CPU: few launches, in memory of 128 MiB a temporary
SQUARE_BLOCK = 704  # about the square root of TILE_ELEMENTS
VECTOR_ELEMENTS = 3 * 2**16  # of vectors that a tile's products read again for every few rows: they stay in the cache
SHORT_BLOCK = 384  # vectors of a tile that is worth what it takes to arrange it, however long they are


class Block(NamedTuple):
    """A contiguous run of rows or columns within one segment."""

    start: int
    stop: int
    segment: int

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)


def blocks(size: int, boundaries: Sequence[int], length: int, first_segment: int = 0) -> Iterator[Block]:
    """Cut ``range(size)`` at the boundaries, and each part into blocks of at most ``length``."""
    for segment, (begin, end) in enumerate(zip((0, *boundaries), (*boundaries, size), strict=True), first_segment):
        for start in range(begin, end, length):
            yield Block(start, min(start + length, end), segment)


def row_blocks(pairs: Pairs, num_rows: int, boundaries: Sequence[int]) -> list[Block]:
    """Row blocks."""
    return list(blocks(num_rows, boundaries, row_block_length(pairs)))


def num_row_blocks(pairs: Pairs) -> int:
    """How many there are if no row is ignored: the most. Of symbols, too, for the compiler."""
    length, borders = row_block_length(pairs), (0, *pairs.row_boundaries, pairs.num_rows)
    return sum(-((begin - end) // length) for begin, end in pairwise(borders))


def row_block_length(pairs: Pairs) -> int:
    """Rows of a block: square tiles where rows meet rows."""
    if not pairs.within:
        return BLOCK_ROWS
    return min(SQUARE_BLOCK, vectors_in_cache(pairs.dim)) if host.readable(pairs.rows) else SQUARE_BLOCK


def vectors_in_cache(dim: int) -> int:
    """Vectors of a block that fast products want."""
    return max(VECTOR_ELEMENTS // max(dim, 1), SHORT_BLOCK)


def unscored_column_blocks(pairs: Pairs, elements: int) -> list[Block]:
    """Column blocks for work that keeps so many elements a column and no scores."""
    return _column_blocks(pairs, elements, TILE_ELEMENTS if host.readable(pairs.rows) else DEVICE_ELEMENTS)


def scored_column_blocks(pairs: Pairs) -> list[Block]:
    """Column blocks for tiles of scores."""
    return _column_blocks(pairs, _scored_elements(pairs), TILE_ELEMENTS)


def scored_block_length(pairs: Pairs) -> int:
    """Labels whose columns make one of those blocks."""
    return _block_length(pairs, _scored_elements(pairs), TILE_ELEMENTS)


def _column_blocks(pairs: Pairs, elements: int, most: int) -> list[Block]:
    """Counted in labels: each group stays whole."""
    first_segment = len(pairs.row_boundaries) + 1 if pairs.within else 1
    group = pairs.statistic.group
    boundaries = [boundary // group for boundary in pairs.column_boundaries]
    length = _block_length(pairs, elements, most)
    return list(blocks(pairs.num_columns // group, boundaries, length, first_segment))


def _block_length(pairs: Pairs, elements: int, most: int) -> int:
    return max(1, most // (max(elements, 1) * pairs.statistic.group))


def _scored_elements(pairs: Pairs) -> int:
    rows = min(pairs.num_rows, BLOCK_ROWS) * pairs.statistic.views
    return max(rows, pairs.dim)
