"""Who asks, as connections keep it. Without models: a web process imports this before Django is set up."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from market.scopes import NOTHING, Scopes

if TYPE_CHECKING:
    from anomaly_site.access.tokens import Grant


@dataclass(frozen=True, slots=True)
class Login:
    """A person's session: it ends when the person signs out, changes the password or is locked out."""

    user_id: int
    session_key: str
    auth_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """`scopes`: what the caller may do in this mode. `token` and `login`: how it is known who that is."""

    scopes: Scopes
    token: "Grant | None" = None
    login: Login | None = None


NOBODY: Final = Caller(NOTHING)
