"""Tokens of programs, what they sent under an `Idempotency-Key`, and the audit."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from market.scopes import Scope


class Token(models.Model):
    """What a program shows instead of a password. The secret is not stored: `digest` is its SHA-256, in hex.

    `in_url`: a secret for an address of `/publish`, which does nothing else. `user`: in whose name it reviews; it ends
    with that account. `rate`: requests per second over HTTP, null: `API_RATE`. Times are UTC.
    """

    name = models.CharField(max_length=80, help_text="Which program it is for.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    start = models.CharField("starts with", max_length=12, editable=False)
    scopes = models.JSONField(help_text="What it may do.")
    in_url = models.BooleanField("in an address", default=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        help_text="In whose name it reviews; it may never do more than that person.",
    )
    rate = models.FloatField(null=True, blank=True, help_text="Most requests per second; empty: API_RATE.")
    max_connections = models.PositiveIntegerField(
        null=True, blank=True, help_text="Most connections to /ws per web process; empty: as many as an address may."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="UTC; empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(revoked_at=None),
                name="token_name",
                violation_error_message="A token with this name is in use. Revoke it first, or choose another name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "valid"

    def clean(self) -> None:
        refuse_scopes(self.scopes, in_url=self.in_url, has_user=self.user is not None)


def refuse_scopes(scopes: Any, *, in_url: bool, has_user: bool) -> None:
    """Raise `ValidationError` for scopes that a token cannot have."""
    known = [scope.value for scope in Scope]
    if not isinstance(scopes, list) or not scopes or not set(scopes) <= set(known):
        raise ValidationError({"scopes": f"Found {scopes}; expected some of {', '.join(known)}."})
    if in_url and scopes != [Scope.PUBLISH]:
        raise ValidationError(
            {"scopes": f"A secret in an address may be seen by others: it has the scope {Scope.PUBLISH} alone."}
        )
    if {Scope.REVIEW_WRITE, Scope.ROUTES_WRITE, Scope.PUSH_WRITE} & set(scopes) and not has_user:
        raise ValidationError({"user": "A token that writes does so in the name of a user: choose one."})
    if Scope.ROUTES_READ in scopes and not has_user:
        raise ValidationError({"user": "A token that reads routes reads those of a user: choose one."})


class SentBefore(models.Model):
    """The answer to a publication with an `Idempotency-Key`, for 24 hours. `status` null: it is being made.

    `digest`: SHA-256 of channel and body, in hex.
    """

    token = models.ForeignKey(Token, on_delete=models.CASCADE)
    key = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="sent_before_key")]

    def __str__(self) -> str:
        return self.key


class _Append(models.QuerySet["AuditEntry"]):
    def update(self, **_: Any) -> int:
        raise TypeError("The audit is append-only: its entries are not changed.")

    def bulk_update(self, *_: Any, **__: Any) -> int:
        return self.update()

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("The audit is append-only: its entries are not deleted before AUDIT_RETENTION.")


class AuditEntry(models.Model):
    """Who did what, when and from where. `detail`: JSON. Kept for `AUDIT_RETENTION`; entries never change."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    address = models.CharField("from", max_length=60, blank=True)

    objects = _Append.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name_plural = "audit"

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.subject}"

    def save(self, *args: Any, **options: Any) -> None:
        if not self._state.adding:
            raise TypeError("The audit is append-only: its entries are not changed.")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("The audit is append-only: its entries are not deleted before AUDIT_RETENTION.")
