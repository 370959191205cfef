"""Single sign-on: who may sign in by the word of a provider (OpenID Connect), and in which groups they are. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

# The address to register at the provider is /accounts/oidc/sso/login/callback/.
PROVIDER_ID: Final = "sso"
GROUPS: Final = ("viewer", "reviewer", "operator")
# Who is known by an address of one of the domains, and no more.
OF_DOMAIN: Final = "viewer"


def refused_settings(issuer: str, client_id: str, groups: Mapping[str, str], domains: Sequence[str]) -> str:
    """What is wrong with the settings of single sign-on; empty if nothing is."""
    if unknown := sorted(set(groups.values()) - set(GROUPS)):
        return f"OIDC_GROUPS: unknown group {', '.join(unknown)}; expected {', '.join(GROUPS)}."
    if not issuer:
        given = [name for name, value in (("OIDC_CLIENT_ID", client_id), ("OIDC_GROUPS", groups)) if value]
        return f"{given[0]} needs OIDC_ISSUER, the address of the provider." if given else ""
    if not issuer.startswith(("https://", "http://")):
        return (
            f"OIDC_ISSUER={issuer} is not an address; expected https://…, as the provider's discovery document has it."
        )
    if not client_id:
        return "OIDC_ISSUER needs OIDC_CLIENT_ID, which the provider gives to this site."
    if not groups and not domains:
        return (
            "OIDC_ISSUER needs OIDC_GROUPS (VALUE=GROUP,…) or OIDC_DOMAINS (example.org,…): they say who may sign in. "
            "OIDC_DOMAINS=* admits everybody whom the provider knows."
        )
    return ""


def admitted(claims: Mapping[str, Any], claim: str, groups: Mapping[str, str], domains: Collection[str]) -> set[str]:
    """The groups of a person with these claims; empty for a person who may not sign in.

    An address counts only if the provider says that it was verified.

    >>> ops = {"ops": "operator"}
    >>> admitted({"groups": ["ops", "other"]}, "groups", ops, ())
    {'operator'}
    >>> admitted({"email": "a@Example.org", "email_verified": True}, "groups", ops, ("example.org",))
    {'viewer'}
    >>> admitted({"email": "a@example.org"}, "groups", ops, ("example.org",))
    set()
    """
    value = claims.get(claim)
    values = value if isinstance(value, list) else [value]
    found = {groups[name] for name in values if isinstance(name, str) and name in groups}
    domain = str(claims.get("email") or "").rpartition("@")[2].lower()
    known = domain and domain in {name.lower() for name in domains} and claims.get("email_verified") is True
    if known or "*" in domains:
        found.add(OF_DOMAIN)
    return found
