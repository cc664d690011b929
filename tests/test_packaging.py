"""What is installed: the version, the type marker, what an import needs, and which layer may import which."""

import ast
import subprocess
import sys
import tarfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import dmlkernels

PACKAGE = Path(dmlkernels.__file__).parent
PYPROJECT = PACKAGE.parent / "pyproject.toml"

# From the bottom up; each may import itself and what stands below it.
LAYERS = ["statistics", "backends", "ops", "distributed", "functional", "couce", "modules"]


def test_version_is_the_one_in_pyproject() -> None:
    if not PYPROJECT.is_file():
        pytest.skip("not run from a source tree")
    lines = PYPROJECT.read_text(encoding="utf-8").splitlines()
    declared = [line.split('"')[1] for line in lines if line.startswith("version = ")]
    assert declared == [dmlkernels.__version__] == [version("dmlkernels")]


def test_type_marker_is_shipped() -> None:
    assert files("dmlkernels").joinpath("py.typed").is_file()


def test_imports_without_triton_and_the_native_module() -> None:
    script = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "triton" or name == "dmlkernels._native":
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
import torch
import dmlkernels as dml
import warnings
torch.manual_seed(0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        dml.pd_loss(torch.eye(2), torch.arange(2), torch.eye(2))
(warning,) = caught
assert "plain PyTorch, which is slower: the native module is not in this installation" in str(warning.message)
loss = dml.pd_loss(torch.randn(8, 4), torch.arange(8) % 3, torch.randn(3, 4))
assert loss.isfinite(), loss
assert "triton" not in sys.modules
assert "dmlkernels._native" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_the_first_calls_import_nothing() -> None:
    """An import that Ctrl-C falls into leaves modules half-imported, which breaks every later call."""
    script = """
import sys
import torch
import dmlkernels as dml
from tests.losses import EVERY
from tests.problem import make_problem
torch.zeros(1, requires_grad=True).sum().backward()
for backend, available in dml.available_backends().items():
    if available and backend != "triton":
        for loss in EVERY:
            problem = make_problem("plain", torch.float32)
            before = set(sys.modules)
            found = loss(problem, backend)
            found.sum().backward()
            new = sorted(set(sys.modules) - before)
            assert not new, (loss.name, backend, new)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PACKAGE.parent)


def test_import_is_light() -> None:
    """Nothing beyond torch and what torch imports itself."""
    script = """
import sys, torch
before = set(sys.modules)
import dmlkernels
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(name for name in new if not name.startswith("_")))
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert set(run.stdout.split()) <= {"dmlkernels", "torch", "torchgen", "triton"}


def imported_modules(file: Path) -> list[str]:
    """Absolute names of every import of the package's own modules in a file, wherever it stands in it."""
    module = ["dmlkernels", *file.relative_to(PACKAGE).with_suffix("").parts]
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, [base, node.module]))
            names += [f"{origin}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] == "dmlkernels"]


def part_of(name: str) -> str | None:
    """dmlkernels.ops.pairs -> ops; the package itself and its private top-level helpers -> None."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and not parts[1].startswith("_") else None


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_downwards(file: Path) -> None:
    own = file.relative_to(PACKAGE).with_suffix("").parts[0]
    if own in ("__init__", "__main__"):
        assert "reference" not in map(part_of, imported_modules(file))
        return
    for name in imported_modules(file):
        part = part_of(name)
        assert name != "dmlkernels", f"{own} imports the package's top"
        if own == "reference":
            assert part == "reference", f"the reference imports {name}"
        else:
            assert part != "reference", f"{own} imports the reference"
        if own in LAYERS and part in LAYERS:
            assert LAYERS.index(part) <= LAYERS.index(own), f"{own} imports {name}, a layer above it"


def test_the_layer_test_sees_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "ops").mkdir()
    file = tmp_path / "ops" / "pairs.py"
    file.write_text("import torch, dmlkernels.statistics\nfrom ..modules import a\ndef f():\n    from . import b\n")
    expected = ["dmlkernels.statistics", "dmlkernels.modules.a", "dmlkernels.ops.b"]
    assert sorted(imported_modules(file)) == sorted(expected)


def test_files_stay_small() -> None:
    lengths = sorted(len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCES)
    assert lengths[-1] <= 500
    assert lengths[len(lengths) // 2] <= 150


@pytest.mark.skipif(not PYPROJECT.is_file(), reason="not run from a source tree")
@pytest.mark.parametrize(("file", "start"), [("CITATION.cff", "version: "), ("CHANGELOG.md", "## ")])
def test_the_version_is_the_same_everywhere(file: str, start: str) -> None:
    lines = (PYPROJECT.parent / file).read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line.startswith(start))
    assert first.removeprefix(start).split(",")[0] == version("dmlkernels")


@pytest.mark.skipif(not (PYPROJECT.parent / ".git").exists(), reason="not run from the repository")
def test_the_source_distribution_is_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What builds the package, under 500 kB; no tests, records, pictures or examples."""
    build = pytest.importorskip("scikit_build_core.build")
    monkeypatch.chdir(PYPROJECT.parent)
    archive = tmp_path / build.build_sdist(str(tmp_path))
    assert archive.stat().st_size < 500_000
    with tarfile.open(archive) as packed:
        names = [Path(*Path(name).parts[1:]) for name in packed.getnames()]
    folders = {name.parts[0] for name in names if len(name.parts) > 1}
    assert folders == {"csrc", "dmlkernels"}
    shipped = {name for name in names if name.parts[0] == "dmlkernels"}
    assert shipped >= {file.relative_to(PACKAGE.parent) for file in SOURCES}
