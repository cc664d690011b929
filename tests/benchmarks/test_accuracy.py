"""The table and the picture of errors against noise."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.accuracy import DENSE, NOISE, QUADRATIC, Errors, Size, converged, measure, page
from benchmarks.harness.records import provenance
from benchmarks.problems.losses import ADAPTIVE, LOSSES, Loss
from benchmarks.problems.variants import our_backends
from benchmarks.reporting.pictures import accuracy

SMALL = Size(batch=12, classes=4, dim=6, atoms=3, seeds=2)


@pytest.mark.parametrize("group", [1, 2])
def test_samples_lie_at_a_distance_from_proxies_at_equal_angles(group: int) -> None:
    inputs = converged(SMALL, 0.01, 0, group)
    classes = F.normalize(inputs.proxies[::group])
    cosines = classes @ classes.T
    torch.testing.assert_close(cosines, torch.full_like(cosines, -1 / 3).fill_diagonal_(1))
    for points, labels in ((inputs.embeddings, inputs.labels), (inputs.second_view, inputs.labels)):
        distances = torch.linalg.vector_norm(points - classes[labels], dim=1)
        torch.testing.assert_close(distances, torch.full_like(distances, 0.01))
    distances = torch.linalg.vector_norm(inputs.proxies - classes[inputs.proxy_labels], dim=1)
    torch.testing.assert_close(distances, torch.tensor([0.0, 0.01][:group], dtype=torch.float64).repeat(4))


@pytest.mark.parametrize("loss", (LOSSES | ADAPTIVE).values(), ids=lambda loss: loss.name)
def test_every_variant_is_close(loss: Loss) -> None:
    found = measure(loss, SMALL, 0.1, "cpu")
    assert len(found) == 1 + len(our_backends("cpu")) * (1 + (loss.name in QUADRATIC))
    for errors in found.values():
        assert 0 <= errors.value < 1e-5 and 0 <= errors.gradient < 1e-3
    assert loss.name == "field" or any(max(errors) > 0 for errors in found.values())  # float32 is not the truth


def test_page_and_picture(tmp_path: Path) -> None:
    errors = [Errors(noise, 2 * noise) for noise in NOISE]
    results = {"pd": {DENSE: errors, "ours, torch": [Errors(math.inf, 0.0)] * len(NOISE)}}
    text = "\n".join(page(results, SMALL, provenance("cpu")))
    assert "| pd | dense, float32 | 1e+00, 2e+00 | 1e-01, 2e-01 |" in text
    assert "|  | ours, torch | inf, 0e+00 |" in text
    accuracy(results, NOISE, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").stat().st_size > 1000
