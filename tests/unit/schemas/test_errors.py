"""Where exceptions are defined."""

import ast

from tests.support.installs import ROOT

FOLDERS = ("schemas", "producer", "consumer", "query", "local", "cli")
# Signals between parts of the worker: they carry its types, and nobody else sees them.
OF_THE_WORKER = {"ContentRefusedError", "FencedError", "ParkedError"}


def test_exceptions_live_in_one_module() -> None:
    """Every exception of the package is in schemas/errors.py, except the worker's own signals."""
    errors = ROOT / "schemas" / "errors.py"
    found = {
        node.name
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if path != errors
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and is_exception(node)
    }

    assert OF_THE_WORKER == found


def is_exception(node: ast.ClassDef) -> bool:
    names = [node.name, *(ast.unparse(base) for base in node.bases)]
    return any(name.endswith(("Error", "Exception")) for name in names)
