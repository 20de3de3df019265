"""The people of the demo: customers, teams, users and keys, derived from a seed.

The gateway and the replay are two processes, and each derives the population from the seed: the
replay sends credentials, and the gateway looks up their owners.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from usagepipe.producer import Caller

CUSTOMERS = 6
TEAMS = 18
USERS = 240
KEYS_A_USER = (0, 1, 1, 1, 2, 3)  # drawn from: some have no key, a few have many
KEY_NAMES = ("laptop", "notebook", "pipeline", "staging", "website")
LEGACY_USER = Caller("legacy-api-key", "API Key User", source="legacy")

BEARER = "authorization"
SESSION = "cookie"
LEGACY = "x-api-key"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request presents, as a header's name and value, and whose it is."""

    header: str
    value: str
    caller: Caller


@dataclass(frozen=True)
class Population:
    """Everybody who calls. Lists are ordered by popularity, the busiest first."""

    seed: int

    @cached_property
    def users(self) -> tuple[Caller, ...]:
        """Each user as the caller of a web request."""
        random = Random(f"users {self.seed}")
        users = []
        for number in range(1, USERS + 1):
            team = random.randrange(TEAMS)
            users.append(
                Caller(
                    user_id=f"user-{number:03}",
                    user_name=f"User {number:03}",
                    source="web",
                    team_id=f"team-{team:02}",
                    customer_id=f"customer-{team % CUSTOMERS}",
                )
            )
        return tuple(users)

    @cached_property
    def sessions(self) -> tuple[Credential, ...]:
        """The session of each user."""
        return tuple(
            Credential(SESSION, f"session=demo-{user.user_id}", user) for user in self.users
        )

    @cached_property
    def keys(self) -> tuple[Credential, ...]:
        """Every key of every user. Programs are other people's than browsers: another order."""
        random = Random(f"keys {self.seed}")
        keys = []
        for user in self.users:
            for number in range(1, random.choice(KEYS_A_USER) + 1):
                key = f"{user.user_id.replace('user', 'key')}-{number}"
                owner = replace(
                    user, source="apikey", api_key_id=key, api_key_name=random.choice(KEY_NAMES)
                )
                keys.append(Credential(BEARER, f"Bearer demo-{random.getrandbits(96):024x}", owner))
        random.shuffle(keys)
        return tuple(keys)

    @cached_property
    def legacy(self) -> Credential:
        """The one old key that everybody shares."""
        return Credential(LEGACY, "demo-legacy-key", LEGACY_USER)

    @cached_property
    def directory(self) -> dict[tuple[str, str], Caller]:
        """Whose a credential is, by header and value."""
        everybody = (*self.sessions, *self.keys, self.legacy)
        return {(each.header, each.value): each.caller for each in everybody}
