"""Following docs/adding_a_loss.md, and nothing else, makes a loss that passes the tests on every backend."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import dmlkernels as dml
from dmlkernels import backends, statistics
from dmlkernels.ops import pair_statistics

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "adding_a_loss.md"
STEP = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The finder of an editable installation would import what is installed.
FROM_THE_COPY = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Scikit" not in type(finder).__name__]
"""

AUTO = """
import torch
import dmlkernels as dml
from dmlkernels.backends import resolve
from tests.losses import CONTRASTIVE
from tests.problem import make_problem
for case in ("plain", "some_ignored", "unordered_proxies"):
    problem = make_problem(case)
    torch.testing.assert_close(CONTRASTIVE(problem), CONTRASTIVE.truth(problem), rtol=1e-12, atol=0)
loss_fn = dml.ContrastiveLoss(num_classes=3, embedding_size=8, margin=0.1)
loss_fn(torch.randn(4, 8), torch.tensor([0, 1, 2, 0])).backward()
assert loss_fn.proxies.grad.any()
print(dml.__file__, resolve("auto", "cpu", "contrastive"))
"""


class Step(NamedTuple):
    """A block of the page: a file, or a change to one."""

    file: str
    language: str
    code: str

    @property
    def lines(self) -> int:
        """Lines that are written."""
        if self.language == "diff":
            return sum(line.startswith("+") for line in self.code.splitlines())
        return len(self.code.splitlines())

    def follow(self, tree: Path) -> None:
        file = tree / self.file
        if self.language != "diff":
            assert not file.exists()
            file.write_text(self.code, encoding="utf-8")
            return
        for hunk in self.code.split("@@\n"):
            lines = hunk.splitlines()
            before, after = (
                "\n".join(line[1:] for line in lines if not line.startswith(left_out)) for left_out in ("+", "-")
            )
            text = file.read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{self.file} has not once:\n{before}"
            file.write_text(text.replace(before, after), encoding="utf-8")


STEPS = [Step(*found) for found in STEP.findall(GUIDE.read_text(encoding="utf-8"))]


def count(steps: list[Step]) -> tuple[int, int]:
    """Files and lines."""
    return len({step.file for step in steps}), sum(step.lines for step in steps)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the sources in which every step is done; the native module is as it was built."""
    tree = tmp_path_factory.mktemp("guide")
    for folder in ("dmlkernels", "tests", "csrc"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    native = importlib.util.find_spec("dmlkernels._native")
    if native is not None and native.origin is not None:
        shutil.copy(native.origin, tree / "dmlkernels")
    for step in STEPS:
        step.follow(tree)
    yield tree
    shutil.rmtree(tree)


def run(tree: Path, script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", FROM_THE_COPY + script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tree), **environment}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_tests(tree: Path, *tests: str, **environment: str) -> None:
    options = ["-q", "--every", "-n", "0", "-k", "contrastive", "-p", "no:cacheprovider", "--rootdir", str(tree)]
    said = run(tree, "import pytest; sys.exit(pytest.main(sys.argv[1:]))", *options, *tests, **environment)
    assert re.search(r"\d+ passed", said), said


def test_auto_serves_the_function_and_the_module(tree: Path) -> None:
    said = run(tree, AUTO)
    assert said.split() == [str(tree / "dmlkernels" / "__init__.py"), "torch"]


def test_the_loss_passes_the_tests_of_losses(tree: Path) -> None:
    run_tests(
        tree, *(f"tests/conformance/test_{name}.py" for name in ("values", "gradcheck", "ops", "memory", "autocast"))
    )


def test_the_loss_passes_the_tests_of_modules_and_errors(tree: Path) -> None:
    run_tests(
        tree, *(f"tests/conformance/test_{name}.py" for name in ("modules", "errors", "interface", "determinism"))
    )


def test_the_loss_passes_on_triton(tree: Path) -> None:
    pytest.importorskip("triton")
    run_tests(tree, "tests/triton/test_losses.py", TRITON_INTERPRET="1")


def test_files_and_lines(record_property: Callable[[str, object], None]) -> None:
    plain = [step for step in STEPS if not step.file.startswith(("csrc", "dmlkernels/backends"))]
    by_backend = {
        "torch": count(plain),
        "triton": count([step for step in STEPS if step.file.startswith("dmlkernels/backends")]),
        "native": count([step for step in STEPS if step.file.startswith("csrc")]),
    }
    assert f"others, {by_backend['torch'][1]} lines together" in GUIDE.read_text(encoding="utf-8")
    for name, (files, lines) in by_backend.items():
        record_property(name, f"{files} files, {lines} lines")
    most = {"torch": (8, 150), "triton": (2, 65), "native": (4, 65)}
    for name, limits in most.items():
        assert all(found <= limit for found, limit in zip(by_backend[name], limits, strict=True)), (name, by_backend)


@pytest.fixture
def contrastive(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put the statistic of the page into the catalogue while a test runs; only the torch backend has it."""
    (step,) = (step for step in STEPS if step.file == "dmlkernels/statistics/contrastive.py")
    names: dict[str, Any] = {"__name__": "dmlkernels.statistics.contrastive"}
    exec(compile(step.code, str(GUIDE), "exec"), names)
    monkeypatch.setitem(statistics.CATALOGUE, "contrastive", names["Contrastive"])
    return names["Contrastive"]


def test_auto_takes_a_backend_that_has_the_statistic(contrastive: Any) -> None:
    embeddings, proxies, labels = torch.randn(4, 5), torch.randn(3, 5), torch.tensor([0, 1, 2, 0])
    expected = pair_statistics(contrastive(0.2), embeddings, proxies, backend="torch", row_labels=labels)
    found = pair_statistics(contrastive(0.2), embeddings, proxies, backend="auto", row_labels=labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    compiled = torch.compile(pair_statistics, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(contrastive(0.2), embeddings, proxies, backend="auto", row_labels=labels), found
    )


@pytest.mark.parametrize("name", [name for name in ("native", "triton") if dml.available_backends()[name]])
def test_a_backend_without_the_statistic_says_so(contrastive: Any, name: str) -> None:
    embeddings, proxies, labels = torch.randn(4, 5), torch.randn(3, 5), torch.tensor([0, 1, 2, 0])
    message = rf"^backend: '{name}' does not have the statistic 'contrastive', expected one of \('auto', 'torch'\)$"
    with pytest.raises(ValueError, match=message):
        pair_statistics(contrastive(0.2), embeddings, proxies, backend=name, row_labels=labels)
    with dml.use_backend(name), pytest.raises(ValueError, match=message):
        pair_statistics(contrastive(0.2), embeddings, proxies, backend="auto", row_labels=labels)


@pytest.mark.parametrize("name", list(dml.available_backends()))
def test_every_backend_has_the_whole_catalogue(name: str) -> None:
    if dml.available_backends()[name]:
        assert [statistic for statistic in statistics.CATALOGUE if not backends.get(name).supports(statistic)] == []
