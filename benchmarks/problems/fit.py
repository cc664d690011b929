"""How much memory a variant will want, before it is tried."""

from __future__ import annotations

from benchmarks.problems.inputs import Case
from benchmarks.problems.truth import dense_scores
from benchmarks.problems.variants import CHUNKED, CUT, LIGER, is_ours

# Score matrices alive at the peak of forward and backward, rounded down from measurements at 1024 x 11318 x 128, so
# that nothing is called too large that fits. A variant that is not listed keeps at least this many:
_FEWEST = 3
_STREAMED = {CHUNKED, LIGER, CUT}


def least_bytes(case: Case, name: str) -> int:
    """What autograd must keep at the very least; 0 for variants that keep no score matrix."""
    if is_ours(name) or name in _STREAMED:
        return 0
    return _FEWEST * dense_scores(case) * case.dtypes[1].itemsize
