"""A secured Kafka: one broker with a listener for each way to connect.

Its plain listener is for the test itself, as a super user. What a test breaks, it mends here while
the broker and its clients run.
"""

from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.support.apache_kafka import ApacheKafka
from tests.support.certificates import Certificates
from tests.support.ports import HOST, lasting_port

USER: Final = "ann"
PASSWORD: Final = "hunter-2"
SECONDS: Final = 30
SCRAM: Final = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}
LISTENERS: Final = {"TLS": "SSL", "MUTUAL": "SSL", "LOGIN": "SASL_SSL", "TOKEN": "SASL_SSL"}
_LOGIN: Final = "org.apache.kafka.common.security"
PROPERTIES: Final = f"""\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
{",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items())}
ssl.keystore.type=PEM
ssl.truststore.type=PEM
ssl.allow.dn.changes=true
ssl.allow.san.changes=true
listener.name.mutual.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config={_LOGIN}.plain.PlainLoginModule required \
user_{USER}="{PASSWORD}";
listener.name.login.scram-sha-256.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;
listener.name.login.scram-sha-512.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.token.oauthbearer.sasl.jaas.config=\
{_LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
"""


class SecureKafka(ApacheKafka):
    """The broker, its certificates and its users."""

    def __init__(self, folder: Path) -> None:
        self.certificates = Certificates(folder / "certificates")
        self.ports = {name: lasting_port() for name in LISTENERS}
        stores = "".join(
            f"listener.name.{name.lower()}.ssl.keystore.location={self._keystore(name)}\n"
            f"listener.name.{name.lower()}.ssl.truststore.location={self.certificates.ca}\n"
            for name in LISTENERS
        )
        super().__init__(folder / "broker", PROPERTIES + stores, self.ports)
        for name in LISTENERS:
            self._keystore(name).write_bytes(self.certificates.keystore())

    def start(self) -> None:
        super().start()
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for mechanism in SCRAM:
            self.set_password(mechanism, PASSWORD)

    def address(self, listener: str) -> str:
        return f"{HOST}:{self.ports[listener]}"

    def set_password(self, mechanism: str, password: str) -> None:
        """Of the user, who has one for each SCRAM mechanism."""
        info = ScramCredentialInfo(SCRAM[mechanism], 4096)
        change = UserScramCredentialUpsertion(USER, info, password.encode())
        for done in self._admin.alter_user_scram_credentials([change]).values():
            done.result(SECONDS)

    def present(self, listener: str, **options: Any) -> None:
        """Show another certificate at `listener`: as `certificates.keystore` makes it."""
        store = self._keystore(listener)
        store.write_bytes(self.certificates.keystore(**options))
        name = f"listener.name.{listener.lower()}.ssl.keystore.location"
        entry = ConfigEntry(name, str(store), incremental_operation=AlterConfigOpType.SET)
        broker = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[entry])
        for done in self._admin.incremental_alter_configs([broker]).values():
            done.result(SECONDS)

    def forbid(self, operation: AclOperation, topic: str) -> None:
        for done in self._admin.create_acls([AclBinding(*_rule(operation, topic))]).values():
            done.result(SECONDS)

    def allow(self, operation: AclOperation, topic: str) -> None:
        """Lift what was forbidden."""
        for done in self._admin.delete_acls([AclBindingFilter(*_rule(operation, topic))]).values():
            assert 1 == len(done.result(SECONDS))

    def _keystore(self, listener: str) -> Path:
        return self.certificates.folder / f"{listener.lower()}.pem"


def _rule(operation: AclOperation, topic: str) -> tuple[Any, ...]:
    resource = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
    return (*resource, f"User:{USER}", "*", operation, AclPermissionType.DENY)
