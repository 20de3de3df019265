"""The other way to install: links to the folders of the checkout."""

import json
from pathlib import Path

from tests.support.installs import ROOT, Install

PLACES = """
import json, usagepipe.producer, usagepipe.schemas
print(json.dumps([usagepipe.producer.__file__, usagepipe.schemas.__file__]))
"""


def test_an_editable_install_reads_the_checkout(tmp_path: Path) -> None:
    """A change in a folder of the checkout is a change of the package, seen from anywhere."""
    install = Install(tmp_path / "editable", "--editable", ROOT)

    files = json.loads(install.python(PLACES))

    expected = [ROOT / part / "__init__.py" for part in ("producer", "schemas")]
    assert expected == [Path(file).resolve() for file in files]
    assert 2 == install.usagepipe().returncode
