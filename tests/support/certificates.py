"""Certificates of a test run: a CA, and what it signs for servers and clients."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.ports import HOST

KEY_PASSWORD: Final = "key-pass-3"


class Certificates:
    """Files of one CA."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.certificate = folder / "client.pem"
        self.key = folder / "client.key"  # in plain text
        self.locked_key = folder / "client-locked.key"
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(self.ca))
        client = self._authority.issue_cert("client.example", common_name="ann")
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in client.cert_chain_pems))
        self.key.write_bytes(_key(client))
        self.locked_key.write_bytes(_key(client, BestAvailableEncryption(KEY_PASSWORD.encode())))

    def keystore(self, *, name: str = HOST, expired: bool = False) -> bytes:
        """Key and certificate of a server in one file, as Kafka takes them."""
        ends = datetime.now(UTC) - timedelta(days=1) if expired else None
        begins = datetime.now(UTC) - timedelta(days=9) if expired else None
        made = self._authority.issue_cert(name, not_after=ends, not_before=begins)
        return _key(made) + b"".join(blob.bytes() for blob in made.cert_chain_pems)


def _key(made: trustme.LeafCert, encryption: KeySerializationEncryption | None = None) -> bytes:
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
