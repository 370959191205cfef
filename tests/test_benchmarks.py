"""The benchmarks import one another in one direction only, so that each can be read and run alone."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imports(path: Path) -> set[str]:
    """The modules of `benchmarks` that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
            found |= {f"benchmarks.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("benchmarks.")}


def test_the_benchmarks_have_no_circle() -> None:
    graph = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): imports(path)
        for path in (ROOT / "benchmarks").rglob("*.py")
    }
    assert {"benchmarks.servers", "benchmarks.whole_path"} <= graph["benchmarks.fanout"]
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    "text", ["from benchmarks import servers", "def f():\n    from benchmarks.servers import Load"]
)
def test_every_way_to_import_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(text)
    assert imports(tmp_path / "a.py") == {"benchmarks.servers"}
