"""What ships compiles for GPUs that are not here, within their limits, onto tensor cores, without spilling.

All of it with ``python -m tests.triton.every``, and with ``--sample``, as in ``.ci/nightly``, every statistic on every
target and all tiles. This is what fits into a test run: every target, every type and matmul precision for each vendor,
and every statistic for NVIDIA.
"""

from __future__ import annotations

import inspect
import re

import pytest
import torch

pytest.importorskip("triton")

from dmlkernels.backends.triton import spread
from dmlkernels.backends.triton.kernels import backward, forward, gradients, loss, norms, values
from dmlkernels.backends.triton.kernels import spread as spread_kernels
from tests.triton.compiling import TARGETS, compiled, launched
from tests.triton.every import Configuration, check, small_sample
from tests.triton.launches import compile_launches, launch_both, make_pairs
from tests.triton.limits import SHARED

EVERY_KERNEL = {"prepare_kernel", "forward_kernel", "values_kernel", "backward_kernel", "combine_kernel"}


@pytest.mark.parametrize("configuration", small_sample(), ids=lambda one: "-".join(map(str, one)))
def test_sample(configuration: Configuration) -> None:
    _, found, wrong = check(configuration)
    assert not wrong
    backward = "both_kernel" if configuration.is_joint else "backward_kernel"
    assert {one.kernel for one in found} >= {"values_kernel", "forward_kernel", backward}


@pytest.mark.parametrize("target", TARGETS)
def test_odd_vectors(target: str) -> None:
    """A D that is no multiple of anything: every kernel compiles. Nothing is aligned, so these may spill."""
    found = compile_launches("logsumexp", target, torch.bfloat16, 37, 64, 20_000)
    assert {one.kernel for one in found} == EVERY_KERNEL
    assert all(one.shared <= SHARED[target] for one in found)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["row_logsumexp", "divergence", "field", "fused"])
def test_a_last_partial_batch_compiles_nothing(kind: str) -> None:
    """Its kernels are those of the batches before, whatever its length is divisible by."""
    arch, counts = TARGETS["sm_90"][1], []
    with launched("sm_90") as found:
        for rows in (1024, 1000, 517):
            launch_both(make_pairs(kind, torch.bfloat16, 64, rows, 10_000), arch)
            counts.append(len(found))
    assert counts == [counts[0]] * 3


@pytest.mark.sampled(2)
@pytest.mark.parametrize("target", TARGETS)
def test_distances_among_centres(target: str) -> None:
    with compiled(target) as found:
        for dtype, group, dim in ((torch.float32, 32, 100), (torch.float64, 32, 60)):
            centers = torch.empty(40 * group, dim, dtype=dtype, device="meta")
            gradient = spread.spread(centers, group, 1e-5, 0.2)
            spread.spread_backward(gradient, centers, group, 1e-5, 0.2)
    assert [one.kernel for one in found] == ["spread_kernel", "spread_slope_kernel"] * 2
    assert all(one.spilled == 0 and one.shared <= SHARED[target] for one in found)


def test_parameters_are_few() -> None:
    for module in (forward, backward, gradients, loss, norms, spread_kernels, values):
        for name, function in vars(module).items():
            if name.endswith("_kernel"):
                parameters = inspect.signature(function.fn).parameters.values()
                constants = sum("constexpr" in str(parameter.annotation) for parameter in parameters)
                assert constants <= 17 and len(parameters) - constants <= 20, name


def test_amd_waits_for_what_it_stored_before_it_counts() -> None:
    """A barrier of AMD's does not wait for stores to be seen, and one thread counts for all."""
    with launched("gfx942") as found:
        launch_both(make_pairs("logsumexp", torch.bfloat16, 128, 1024, 20_000), TARGETS["gfx942"][1])
        asm = next(kernel.asm["amdgcn"] for name, kernel, *_ in found if name == "forward_kernel")
    counts = [match.start() for match in re.finditer("global_atomic_add", asm)]
    assert counts
    for count in counts:
        before = asm[asm.rindex("_store_", 0, count) : count]
        assert "vmcnt(0)" in before[: before.rindex("s_barrier")]
