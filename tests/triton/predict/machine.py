"""Machines, and which unit runs an instruction for how long."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.triton.predict.sass import Instruction


class Machine(NamedTuple):
    """One multiprocessor, and how many there are."""

    name: str
    multiprocessors: int
    clock: float  # Hz
    shared: int  # bytes
    tensor_rate: int  # half FLOP a cycle and tensor core; tf32 is half of it
    mma_share: float  # of that rate, for the warp-wide instruction
    peak: float  # half FLOP/s of all


MACHINES = {
    "sm_80": Machine("A100", 108, 1.41e9, 167_936, 512, 1.0, 312e12),
    "sm_90": Machine("H200", 132, 1.98e9, 233_472, 1024, 0.62, 989e12),
}
REGISTERS = 65_536

_ALU = {
    "ISETP", "ICMP", "IADD3", "LOP3", "LOP", "PLOP3", "SEL", "FSEL", "FSETP", "FMNMX", "IMNMX", "VIMNMX", "VIADD",
    "VIADDMNMX", "PRMT", "SHF", "SHL", "SHR", "LEA", "IABS", "SGXT", "BMSK", "VOTE", "R2P", "P2R", "CS2R", "MOV",
    "F2FP", "I2FP", "FSET", "ISET", "IADD", "NOT", "HSETP2", "HMNMX2", "VHMNMX", "FRND", "BREV", "IDP",
}  # fmt: skip
_FMA = {"FADD", "FMUL", "FFMA", "HFMA2", "HADD2", "HMUL2", "FADD2", "FFMA2", "FMUL2"}
_INTEGER_MULTIPLY = {"IMAD", "IMUL", "XMAD"}
_SPECIAL = {"MUFU", "F2I", "I2F", "POPC", "FLO", "F2F", "FCHK", "DSETP", "DADD", "DMUL", "DFMA"}
_MEMORY = {
    "LDS", "STS", "LDSM", "STSM", "LDG", "STG", "LDGSTS", "SHFL", "ATOM", "ATOMS", "ATOMG", "RED", "LD", "ST", "LDL",
    "STL", "REDG", "REDUX", "MATCH",
}  # fmt: skip
_CONTROL = {
    "BRA", "BSSY", "BSYNC", "WARPSYNC", "NOP", "EXIT", "CALL", "RET", "YIELD", "DEPBAR", "WARPGROUP", "ERRBAR",
    "MEMBAR", "FENCE", "LDGDEPBAR", "ELECT", "BAR", "SYNCS", "BREAK", "KILL", "RPCMOV", "BMOV", "S2R", "S2UR",
    "R2UR", "LDC", "ULDC", "UTMALDG", "UTMASTG", "UTMACMDFLUSH", "WARPGROUPSET", "NANOSLEEP", "CCTL",
}  # fmt: skip
_MMA_SHAPES = {"16816": (16, 8, 16), "1688": (16, 8, 8), "1684": (16, 8, 4)}
LATENCY = {
    "MUFU": 20, "SHFL": 24, "LDS": 30, "LDSM": 33, "LDG": 280, "LD": 280, "LDC": 30, "S2R": 25, "R2UR": 12, "ULDC": 20,
    "I2F": 16, "F2I": 16, "STS": 12, "LDGSTS": 16, "ATOM": 300, "RED": 16, "HMMA": 34, "S2UR": 25, "LDL": 35,
    "REDUX": 20, "ATOMS": 60, "POPC": 16, "FLO": 16, "F2F": 16,
}  # fmt: skip
OTHER_LATENCY = 12
EXCLUSIVE = ("alu", "multiply", "special", "memory", "uniform", "fma")


def bytes_a_thread(operation: str) -> int:
    """That a load or store moves."""
    for bits in (128, 64):
        if f".{bits}" in operation:
            return bits // 8
    if ".U8" in operation or ".S8" in operation:
        return 1
    return 2 if ".U16" in operation or ".S16" in operation else 4


class Product(NamedTuple):
    """A tensor-core instruction of one warp, or of four."""

    multiplications: int
    cycles: float  # of a tensor core
    shared_cycles: float  # of the multiprocessor's shared memory


def product(one: Instruction, machine: Machine) -> Product | None:
    rate = machine.tensor_rate // (2 if "TF32" in one.operation else 1)
    if one.base == "HGMMA":
        m, n, k = map(int, re.findall(r"\.(\d+)x(\d+)x(\d+)", one.operation)[0])
        from_registers = not re.match(r"R\d+, gdesc", one.arguments)
        return Product(m * n * k, 2 * m * n * k / 4 / rate, (0 if from_registers else 16) + n / 4)
    if one.base == "HMMA":
        m, n, k = _MMA_SHAPES[re.findall(r"HMMA\.(\d+)", one.operation)[0]]
        return Product(m * n * k, 2 * m * n * k / rate / machine.mma_share, 0.0)
    return None


def unit(one: Instruction, machine: Machine) -> tuple[str, float]:
    """Which unit an instruction keeps busy, and for how many cycles of one scheduler's part of it."""
    base = one.base
    work = product(one, machine)
    if work is not None:
        return "tensor", max(work.cycles, work.shared_cycles)
    if base in _FMA:
        return "fma", 1
    if base in _INTEGER_MULTIPLY:
        return "multiply", 2
    if base in _SPECIAL:
        return "special", 8
    if base in ("LDSM", "STSM"):
        return "memory", 4 * int((re.findall(r"\.(\d)$", one.operation) or [1])[0])
    if base == "SHFL":
        return "memory", 4
    if base in _MEMORY:
        return "memory", 4 * max(1, 32 * bytes_a_thread(one.operation) // 128)
    if base in _ALU:
        return "alu", 2
    if base.startswith("U") and base not in _CONTROL:
        return "uniform", 2
    return "control", 1
