"""ClickHouse over https: its certificate is verified, and a client may show one of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import KEY_PASSWORD, Certificates
from tests.support.tls_proxy import tls_proxy
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.errors import SettingsError, UsagePipeError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

Secured = Callable[..., ClickHouseAddress]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


@pytest.fixture
def secured(database: ClickHouseAddress, certificates: Certificates) -> Iterator[Secured]:
    """Starts TLS in front of the database and returns an address of it."""
    with ExitStack() as cleanup:

        def make(
            *, mutual: bool = False, server: dict[str, Any] | None = None, **tls: object
        ) -> ClickHouseAddress:
            keystore = certificates.folder / "server.pem"
            keystore.write_bytes(certificates.keystore(**server or {}))
            target, client_ca = (database.host, database.port), certificates.ca if mutual else None
            port = cleanup.enter_context(tls_proxy(target, keystore, client_ca))
            url = f"https://{database.user}:{database.password}@127.0.0.1:{port}"
            options = {f"clickhouse_tls_{name}": value for name, value in tls.items()}
            return Settings.load(
                clickhouse=f"{url}/{database.database}", **options
            ).clickhouse_address

        yield make


def test_a_ca_of_ones_own_is_trusted(secured: Secured, certificates: Certificates) -> None:
    """A company's server works with the company's CA."""
    with connect(secured(ca=str(certificates.ca))) as client:
        assert 1 == client.command("SELECT 1")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_verification_is_on_by_default(secured: Secured) -> None:
    """An unknown CA is refused, unless somebody turns it off."""
    with pytest.raises(SettingsError, match=r"certificate of .* is refused: unable to get local"):
        connect(secured())

    with connect(secured(verify=False)) as client:
        assert 1 == client.command("SELECT 1")


@pytest.mark.parametrize(
    ("server", "words"),
    [({"expired": True}, "certificate has expired"), ({"name": "elsewhere.example"}, "mismatch")],
)
def test_a_wrong_certificate_is_named(
    secured: Secured, certificates: Certificates, server: dict[str, Any], words: str
) -> None:
    """One that has expired, and one of another host."""
    with pytest.raises(SettingsError, match=words):
        connect(secured(server=server, ca=str(certificates.ca)))


def test_a_client_certificate_is_shown(secured: Secured, certificates: Certificates) -> None:
    """With a key that has a password; without the certificate the server refuses."""
    ca = str(certificates.ca)
    own = {
        "certificate": str(certificates.certificate),
        "key": str(certificates.locked_key),
        "key_password": KEY_PASSWORD,
    }
    with connect(secured(mutual=True, ca=ca, **own), username="default") as client:
        assert 1 == client.command("SELECT 1")
    with pytest.raises(UsagePipeError) as caught:
        connect(secured(mutual=True, ca=ca))
    assert "certificate" in str(caught.value).lower()
