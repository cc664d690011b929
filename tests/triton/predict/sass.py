"""SASS, decoded: instructions with what the scheduler knows of them."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import triton

_TOOL = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);\s*/\* 0x([0-9a-f]{16}) \*/")
_SECOND_HALF = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/")


@dataclass
class Instruction:
    """``stall`` cycles until the next; ``wait``, a mask of barriers; ``write`` and ``read``, the barrier set, or 7."""

    address: int
    predicate: str
    operation: str
    arguments: str
    stall: int = 1
    wait: int = 0
    write: int = 7
    read: int = 7

    @property
    def base(self) -> str:
        return self.operation.split(".")[0]

    @property
    def target(self) -> int | None:
        """Address that a branch leads to."""
        found = re.search(r"0x([0-9a-f]+)", self.arguments) if self.base == "BRA" else None
        return int(found[1], 16) if found else None

    @property
    def conditional(self) -> bool:
        return bool(self.predicate or re.search(r"\bU?P\d", self.arguments))


def disassemble(cubin: bytes) -> list[Instruction]:
    code: list[Instruction] = []
    for line in _run(cubin, "-sass").splitlines():
        found = _LINE.search(line)
        second = _SECOND_HALF.match(line)
        if found:
            code.append(Instruction(int(found[1], 16), found[2] or "", found[3], found[4].strip()))
        elif second and code:
            bits, one = int(second[1], 16), code[-1]
            one.stall, one.write, one.read, one.wait = bits >> 41 & 15, bits >> 46 & 7, bits >> 49 & 7, bits >> 52 & 63
    return code


def registers(cubin: bytes) -> int:
    return int(re.findall(r"REG:(\d+)", _run(cubin, "-res-usage"))[-1])


def _run(cubin: bytes, option: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([_TOOL, option, file.name], capture_output=True, text=True, check=True).stdout
