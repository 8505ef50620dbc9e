"""`collect` runs on Python 3.9, by syntax, by the names it uses and by the unions it evaluates."""

import ast
import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cis490_pipeline import collect

FILES = sorted(Path(collect.__file__).parent.rglob("*.py"))


def evaluated_unions(source: str) -> Iterator[str]:
    """``X | Y`` of types outside annotations: 3.9 cannot evaluate it and vermin does not see it."""
    tree = ast.parse(source)
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if isinstance(annotation := getattr(node, field, None), ast.expr)
        for inner in ast.walk(annotation)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = (node.left, node.right)
            if id(node) not in annotations and any(is_type(side) for side in sides):
                yield f"{node.lineno}: {ast.unparse(node)}"


def is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        node = node.value
    return (isinstance(node, ast.Constant) and node.value is None) or (
        isinstance(node, ast.Name) and isinstance(getattr(builtins, node.id, None), type)
    )


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    """The step of `make check`."""
    makefile = Path(__file__).parents[2] / "Makefile"
    line = next(line for line in makefile.read_text().splitlines() if "/vermin " in line)
    options = [word for word in line.split()[1:] if word.startswith("-")]
    vermin = Path(sys.executable).with_name("vermin")
    return subprocess.run([vermin, *options, folder], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_syntax_is_that_of_3_9(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    assert ast.parse(source, feature_version=(3, 9))
    assert list(evaluated_unions(source)) == []


def test_an_evaluated_union_is_found() -> None:
    source = "X = int | None\ndef f(a: int | None) -> dict[str, int] | None: return a | f\n"

    assert list(evaluated_unions(source)) == ["1: int | None"]


def test_every_name_exists_in_3_9() -> None:
    done = checked(Path(collect.__file__).parent)

    assert done.returncode == 0, done.stdout


def test_a_name_that_3_9_lacks_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("zip([], [], strict=True)\n")
    done = checked(tmp_path)

    assert done.returncode != 0
    assert "zip(strict)" in done.stdout
