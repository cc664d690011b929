"""Blocks of points that travel from rank to rank, half way round a ring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed

Block = tuple[Tensor, ...]
"""Tensors that travel together."""

Work = Callable[[int, Block], None]
"""What to do with the block of a rank, at each step: ``work(step, block)``."""

_TAGS_PER_POST = 16  # more than a block has tensors


class Posted(NamedTuple):
    """Messages under way."""

    received: Block
    works: list[distributed.Work]

    def wait(self) -> Block:
        """What was received, once it is here and what was sent may be changed."""
        for work in self.works:
            work.wait()
        return self.received


class Ring:
    """The ranks of a group in a ring, of which each passes what it holds to the next.

    After k steps a rank holds the block of the rank k places before it. Half the ring suffices for every pair of ranks
    to meet: ``steps`` is n // 2, and with an even n both ranks of the last step's pairs hold the other's block.

    Args:
        group: whose ranks these are.
        shapes: of the tensors of each rank's block, in rank order.
        dtypes: of these tensors.
    """

    def __init__(
        self, group: distributed.ProcessGroup, shapes: Sequence[Sequence[torch.Size]], dtypes: Sequence[torch.dtype]
    ) -> None:
        self._group, self._shapes, self._dtypes = group, shapes, dtypes
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        self.steps = self.size // 2
        self._posts = 0

    def source(self, step: int) -> int:
        """The rank whose block is here at a step."""
        return (self.rank - step) % self.size

    def visit(self, own: Block, work: Work) -> None:
        """Call ``work`` with the own block at step 0, then with that of each rank before, as far as ``steps``.

        The next block travels while ``work`` computes. Two blocks of other ranks exist at a time: the one at work,
        which is also being passed on, and the one that comes in. ``work`` must keep neither.
        """
        held = own
        for step in range(self.steps + 1):
            posted = None
            if step < self.steps:
                source = self.source(step + 1)
                posted = self.post(held, self._new(source, own[0]), self.rank + 1, self.rank - 1)
            work(step, held)
            held = posted.wait() if posted is not None else ()
            del posted

    def post(self, sent: Block, received: Block, to: int, sender: int) -> Posted:
        """Begin to send tensors to one rank, and to receive others from another. Every rank must call this at once."""
        first_tag = self._posts * _TAGS_PER_POST
        self._posts += 1
        messages = [
            distributed.P2POp(
                call, tensor, distributed.get_global_rank(self._group, peer % self.size), self._group, first_tag + i
            )
            for call, block, peer in ((distributed.isend, sent, to), (distributed.irecv, received, sender))
            for i, tensor in enumerate(block)
            if tensor.numel()  # both ends know the sizes
        ]
        return Posted(received, distributed.batch_isend_irecv(messages) if messages else [])

    def _new(self, source: int, like: Tensor) -> Block:
        """Memory for the block of a rank."""
        return tuple(
            like.new_empty(shape, dtype=dtype) for shape, dtype in zip(self._shapes[source], self._dtypes, strict=True)
        )
