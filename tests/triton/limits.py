"""What a compiled kernel may take, and what it must use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.triton.compiling import TARGETS, Compiled
from tests.triton.launches import MOST_CENTERS

if TYPE_CHECKING:
    from tests.triton.every import Configuration

SHARED = {"sm_80": 166_912, "sm_90": 232_448, "sm_100": 232_448, "gfx942": 65_536}  # bytes a block
HALF_UNIT = {"sm_80": "mma.sync", "sm_90": "wgmma", "sm_100": "tcgen05", "gfx942": "v_mfma"}
FLOAT_UNIT = {"sm_80": "mma.sync", "sm_90": "wgmma", "sm_100": "mma", "gfx942": "v_mfma"}
# Bytes a thread. ptxas puts a value or two aside to get by with 128 of 255 registers, and of doubles with all.
PARKED = 16
PARKED_FUSED_DOUBLES = 240  # in all; float64 is for checks, and this backward holds more than there are registers
# In loops, and in all, by backward of so many parts of vectors longer than this: predicted to be three times as fast as
# what does not spill (of float16 with one part, twice).
PARKED_PARTS = {(2, 256): (640, 800), (2, 128): (104, 464), (1, 256): (176, 352)}
PARKED_LONG_FUSED = 600  # of float32 on sm_90 with more than 128 numbers: timed, and faster than without
# A few numbers of halves, in tiles that are good for other statistics: target, operands, statistic and D.
PARKED_HALF = {
    ("sm_90", "bfloat16", "circle", 128): 12,
    ("sm_90", "bfloat16", "row_logsumexp", 128): 16,
    ("sm_90", "float16", "circle", 128): 8,
    ("sm_90", "float16", "square", 512): 4,
    ("sm_80", "bfloat16", "divergence", 208): 8,
}
PARKED_CENTERS = 32  # with classes of more than 16 centers
OUTSIDE_LOOPS = 144  # stored and loaded once
OUTSIDE_LONG_LOOPS = 320  # by backward kernels of whole vectors of up to 512 numbers, and of doubles that hold most
# More than twice as much, in loops and in all, where one kernel finds both gradients.
AT_ONCE = (112, 160)
MAIN = ("forward_kernel", "backward_kernel", "both_kernel")


def allowed_spill(configuration: Configuration, one: Compiled) -> int:
    """Bytes a thread, in loops."""
    if one.kernel == "both_kernel":
        return 2 * allowed_spill(configuration, replace(one, kernel="backward_kernel")) + AT_ONCE[0]
    if configuration.kind == MOST_CENTERS:
        return PARKED_CENTERS
    if configuration.operands == "float64" and configuration.kind == "fused":
        return PARKED_FUSED_DOUBLES
    if is_long_fused(configuration, one):
        return PARKED_LONG_FUSED
    of_parts = parked_parts(configuration, one)
    if of_parts is not None:
        return of_parts[0]
    if configuration.operands == "float64":
        return PARKED
    of_half = PARKED_HALF.get((one.target, configuration.operands, configuration.kind, configuration.dim), 0)
    return max(of_half, parked(one.registers))


def is_long_fused(configuration: Configuration, one: Compiled) -> bool:
    """Whether it is the backward kernel for which ``tiles.py`` says so."""
    wide = configuration.operands in ("float32", "bfloat16 x float32") and configuration.dim > 128
    return wide and configuration.kind == "fused" and one.target == "sm_90" and one.kernel == "backward_kernel"


def parked_parts(configuration: Configuration, one: Compiled) -> tuple[int, int] | None:
    """Bytes a thread, in loops and in all, of a backward kernel of parts of long vectors."""
    if one.kernel == "backward_kernel":
        for (parts, dim), allowed in PARKED_PARTS.items():
            if configuration.parts == parts and configuration.dim > dim:
                return allowed
    return None


def parked(registers: int) -> int:
    """Bytes a thread, in loops, of a kernel with so many registers."""
    return PARKED if registers <= 128 else 0


def allowed_outside(configuration: Configuration, one: Compiled) -> int:
    """Bytes a thread, outside loops."""
    if one.kernel == "both_kernel":
        return 2 * allowed_outside(configuration, replace(one, kernel="backward_kernel")) + AT_ONCE[1]
    if is_long_fused(configuration, one):
        return PARKED_LONG_FUSED + 2 * OUTSIDE_LOOPS
    of_parts = parked_parts(configuration, one)
    if of_parts is not None:
        return of_parts[1]
    is_long = configuration.dim > 256 and configuration.operands == "bfloat16" and one.target == "sm_90"
    is_long = is_long or (configuration.operands == "float64" and configuration.kind in ("fused", MOST_CENTERS))
    return OUTSIDE_LONG_LOOPS if is_long and one.kernel == "backward_kernel" else OUTSIDE_LOOPS


def complaints(configuration: Configuration, one: Compiled) -> list[str]:
    """What is wrong with a kernel, in words."""
    found = []
    if one.shared > SHARED[one.target]:
        found.append(f"{one}: too much shared memory")
    in_loops = allowed_spill(configuration, one)
    if one.spilled_in_loops > in_loops or one.spilled > max(allowed_outside(configuration, one), in_loops):
        found.append(f"{one}: spills")
    unit = wanted_unit(configuration)
    if one.kernel in MAIN and unit and not any(unit in name for name in one.tensor_core):
        found.append(f"{one}: no {unit}")
    return found


def wanted_unit(configuration: Configuration) -> str | None:
    """The tensor-core instruction that scores must use, if any."""
    if configuration.operands in ("bfloat16", "float16"):
        return HALF_UNIT[configuration.target]
    if configuration.operands == "bfloat16 x float32" and TARGETS[configuration.target][1].number >= 90:
        return FLOAT_UNIT[configuration.target]
    if configuration.operands != "float64" and configuration.precision == "high":
        return FLOAT_UNIT[configuration.target]
    return None
