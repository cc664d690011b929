from collections.abc import Sequence

def normalise_float32(x: int, unit: int, inverse: int, rows: int, dim: int, row_stride: int, threads: int) -> None: ...
def normalise_float64(x: int, unit: int, inverse: int, rows: int, dim: int, row_stride: int, threads: int) -> None: ...
def normalisation_backward_float32(
    unit: int, inverse: int, gradient: int, rows: int, dim: int, threads: int
) -> None: ...
def normalisation_backward_float64(
    unit: int, inverse: int, gradient: int, rows: int, dim: int, threads: int
) -> None: ...

class Kind: ...

class Term:
    kind: Kind
    parameters: Sequence[float]
    first: int
    from_rows: bool
    from_columns: bool

class Type: ...

class Vectors:
    type: Type
    values: int
    size: int
    stride: int
    view_stride: int
    boundaries: Sequence[int]
    labels: int
    weights: int
    row_values: int
    gradient: int

class Problem:
    def __init__(self, other: Problem = ...) -> None: ...
    wide: bool
    dim: int
    views: int
    group: int
    width: int
    row_values: int
    threads: int
    rows: Vectors
    columns: Vectors
    terms: Sequence[Sequence[Term]]
    implicit_labels: bool
    within: bool
    symmetric: bool
    block_rows: int
    block_labels: int
    part_columns: int
    empty: int
    statistics: int
    gradient: int
    saved: int

class Centers:
    wide: bool
    classes: int
    group: int
    dim: int
    stride: int
    values: int
    slack: float
    gradient: int
    of_values: int
    threads: int

class FormulaKind: ...

class Formula:
    kind: FormulaKind
    numbers: Sequence[float]
    wide: bool
    mean: bool
    rows: int
    width: int
    threads: int
    statistics: int
    labels: int
    weights: int
    values: int
    loss: int
    parts: int
    state: int
    loss_gradient: int
    gradient: int
    of_values: int

def evaluate(formula: Formula) -> None: ...
def slopes(formula: Formula) -> None: ...

class Integer: ...

def resolve_labels(of: Integer, labels: int, rows: int, ignore_index: int, classes: int, out: int) -> bool: ...

class Kernels:
    @property
    def name(self) -> str: ...
    def forward(self, problem: Problem) -> None: ...
    def backward(self, problem: Problem) -> None: ...
    def spread(self, centers: Centers) -> float: ...
    def spread_backward(self, centers: Centers) -> None: ...
    def exp(self, wide: bool, x: int, out: int, count: int) -> None: ...
    def power(self, wide: bool, exponent: float, x: int, out: int, count: int) -> None: ...

def kernels() -> list[Kernels]: ...
