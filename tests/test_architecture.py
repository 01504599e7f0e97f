"""The shape of the code: imports go down only, the stories stay short, no file grows past a talk among friends."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(p for p in (ROOT / "backupmx").rglob("*.py") if "policy" not in p.relative_to(ROOT).parts[:2])
STORIES = {"backupmx/receive/intake.py": "accept", "backupmx/relay/attempt.py": "attempt"}


def test_import_ladder() -> None:
    """Imports go down only, and rules and mail are pure (the contracts of pyproject.toml)."""
    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to its end; decorators do not count, the docstring does."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize(("file", "name"), STORIES.items())
def test_stories(file: str, name: str) -> None:
    """Two functions tell the whole way of a message, each under 40 lines."""
    stories = [f for f in functions(ROOT / file) if f.name == name]
    assert len(stories) == 1
    assert length(stories[0]) < 40


def test_no_function_over_80_lines() -> None:
    """A function of more than 80 lines is several."""
    assert [(p.name, f.name, length(f)) for p in SOURCES for f in functions(p) if length(f) > 80] == []


def test_no_file_over_500_lines() -> None:
    """A file of more than 500 lines is several stages in one."""
    lines = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in SOURCES}
    assert {name: count for name, count in lines.items() if count > 500} == {}


def test_every_module_has_its_man_page() -> None:
    """A module begins by saying what it is."""
    assert [str(p.relative_to(ROOT)) for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))] == []


def test_no_rag_bags() -> None:
    """There is no utils, helpers, common or manager: a module is a noun or the verb of its stage."""
    assert [str(p) for p in SOURCES if p.stem in ("utils", "helpers", "common", "manager", "misc")] == []
