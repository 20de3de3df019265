"""How asserts are written: the expected value comes first."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.installs import ROOT


def test_an_assert_names_the_expected_value_first() -> None:
    """A failure shows the two values in one order in every test."""
    found = [
        f"{path.relative_to(ROOT)}:{compare.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for compare in compared(path)
        if is_constant(compare.comparators[0]) and not is_constant(compare.left)
    ]

    assert [] == found


def compared(path: Path) -> Iterator[ast.Compare]:
    """The comparisons for equality that are asserted in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            tests = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
            for test in tests:
                if isinstance(test, ast.Compare) and [ast.Eq] == [type(op) for op in test.ops]:
                    yield test


def is_constant(node: ast.expr) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp():
            return is_constant(node.operand)
        case ast.Tuple() | ast.List() | ast.Set():
            return all(map(is_constant, node.elts))
        case ast.Dict():
            return all(map(is_constant, [*filter(None, node.keys), *node.values]))
        case ast.Name():
            return node.id.isupper()
    return False
