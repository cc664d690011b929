from collections.abc import Sequence

def reciprocal_norms_float32(x: int, out: int, rows: int, dim: int, row_stride: int, threads: int) -> None: ...
def reciprocal_norms_float64(x: int, out: int, rows: int, dim: int, row_stride: int, threads: int) -> None: ...

class Kind: ...

class Term:
    kind: Kind
    parameters: Sequence[float]
    first: int
    from_rows: bool
    from_columns: bool

class Side:
    units: int
    size: int
    view_stride: int
    labels: int
    weights: int
    states: int
    statistics: int
    gradient: int
    of_units: int

class Tile:
    wide: bool
    dim: int
    views: int
    group: int
    diagonal: bool
    width: int
    threads: int
    rows: Side
    columns: Side
    def set_terms(self, terms: Sequence[Term]) -> None: ...

class Workspace: ...

class Kernels:
    @property
    def name(self) -> str: ...
    def fold(self, tile: Tile, workspace: Workspace) -> bool: ...
    def slope(self, tile: Tile, workspace: Workspace) -> None: ...
    def exp(self, wide: bool, x: int, out: int, count: int) -> None: ...
    def power(self, wide: bool, exponent: float, x: int, out: int, count: int) -> None: ...

def kernels() -> list[Kernels]: ...
