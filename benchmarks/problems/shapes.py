"""The shapes, each with the reason it is here."""

from __future__ import annotations

from dataclasses import dataclass

ATOMS = 64  # of the background dictionary


@dataclass(frozen=True)
class Shape:
    """``proxies`` counts all proxies (or centres); ``group`` of them share a class. Without proxies it is 0."""

    name: str
    batch: int
    proxies: int
    dim: int
    reason: str
    group: int = 1

    @property
    def classes(self) -> int:
        return max(1, self.proxies // self.group)

    def label(self, loss: str) -> str:
        """Rows x columns x D of a loss's scores, as people write it."""
        columns = ATOMS if loss == "odba" else self.proxies or self.batch
        return f"{self.batch} x {columns} x {self.dim}"


_ALL = (
    Shape("cub", 128, 100, 512, "CUB-200-2011, 100 training classes: everything fits a cache, so calls cost most"),
    Shape("cars", 32, 98, 512, "Cars-196 at the small batch of a small GPU: nothing but the cost of calls"),
    Shape("cub15", 128, 1500, 512, "CUB with 15 proxies per class, as in the potential-field paper", group=15),
    Shape("sop", 512, 11318, 512, "Stanford Online Products: many classes, wide embeddings; products dominate"),
    Shape("sop128", 1024, 11318, 128, "Stanford Online Products, narrow embeddings: memory traffic dominates"),
    Shape("faces128", 1024, 100_000, 128, "face recognition, narrow embeddings: a score matrix of 400 MB"),
    Shape("faces", 1024, 100_000, 512, "face recognition as trained: the size that sends people to sharding"),
    Shape("million", 4096, 1_000_000, 128, "a score matrix of 16 GB, which should not exist"),
    Shape("centers", 1024, 100_000, 128, "10,000 classes of 10 centres", group=10),
    Shape("centers_faces", 1024, 1_000_000, 128, "100,000 classes of 10 centres", group=10),
    Shape("cub_centers", 128, 1000, 512, "CUB with 10 centres per class", group=10),
    Shape("field1600", 100, 1500, 512, "the paper's field: 100 samples, 15 proxies for each of 100 classes", group=15),
    Shape("field_sop", 100, 22_636, 512, "22,736 points: 2 proxies for each of 11,318 classes", group=2),
    Shape("pairs", 512, 0, 512, "a batch alone: every pair of samples"),
    Shape("pairs_large", 4096, 0, 512, "a batch as large as cached embeddings make it"),
)
SHAPES = {shape.name: shape for shape in _ALL}
