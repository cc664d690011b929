from collections.abc import Sequence

class Type: ...
class Kind: ...

class Role:
    rows: Role
    columns: Role
    both: Role

class Vectors:
    points: int
    columns: int
    border: int
    count: int
    point_stride: int
    column_stride: int
    view_stride: int
    order: int
    point_labels: int
    column_labels: int
    point_norms: int
    column_norms: int
    weights: int
    def set_segments(self, second: int, third: int) -> None: ...

class Job:
    owned: Vectors
    streamed: Vectors
    role: Role
    diagonal: bool
    per_block: int
    blocks: int
    slices: int
    num_splits: int
    out: int
    partial: int

class Problem:
    kind: Kind
    type: Type
    parameters: Sequence[float]
    dim: int
    group: int
    aligned: bool
    find_norms: bool
    statistics: int
    gradient: int
    row_values: int
    row_value_count: int
    stream: int
    def set_job(self, which: int, job: Job) -> None: ...

def sizes(numbers: Type) -> tuple[int, int]: ...
def driver_error() -> str: ...
def norms(numbers: Type, vectors: int, count: int, dim: int, stride: int, out: int, stream: int) -> None: ...
def forward(problem: Problem) -> None: ...
def backward(problem: Problem) -> None: ...
