"""Django's pages of users and groups, as careful as our own; tokens, and the audit."""

from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from anomaly_site.access import tokens
from anomaly_site.models import AuditEntry, Token
from market.admin import CarefulAdmin
from market.callers import user_scopes
from market.scopes import MEANINGS
from market.writes import named, wrote

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class CarefulUserAdmin(CarefulAdmin, UserAdmin):  # type: ignore[type-arg]
    pass


@admin.register(Group)
class CarefulGroupAdmin(CarefulAdmin, GroupAdmin):
    pass


class _TokenForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), f"{scope}: {meaning}") for scope, meaning in MEANINGS.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="What it may do.",
    )
    # Who makes the token.
    maker: Any

    def clean(self) -> dict[str, Any]:
        """Nobody makes a token that may do more than its maker, or that writes in the name of another user."""
        found = super().clean() or {}
        if not self.maker.is_superuser:
            beyond = set(found.get("scopes", ())) - user_scopes(self.maker)
            if beyond:
                raise forms.ValidationError(f"You may not do this yourself: {', '.join(sorted(beyond))}.")
            if found.get("user") not in (None, self.maker):
                raise forms.ValidationError("Only a superuser makes tokens in the name of another user.")
        return found


@admin.register(Token)
class TokenAdmin(CarefulAdmin):
    """Tokens are made here, shown once, and revoked; what a token may do is never changed."""

    form = _TokenForm
    list_display = ["name", "begins", "scopes", "in_url", "user", "standing", "last_used_at", "expires_at"]
    list_filter = ["in_url"]
    search_fields = ["name__istartswith"]
    actions = ["revoke"]
    fields = ["name", "scopes", "in_url", "user", "expires_at", "rate", "max_connections"]
    raw_id_fields = ["user"]

    @admin.display(description="Starts with")
    def begins(self, row: Token) -> str:
        return f"{row.start}…"

    @admin.display(description="State")
    def standing(self, row: Token) -> str:
        return row.state

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Token, form: Any, change: bool) -> None:
        obj.secret = tokens.new_secret(obj)  # type: ignore[attr-defined]
        obj.save()

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token, on a page that no browser keeps."""
        context = self.admin_site.each_context(request) | {"title": "Token", "token": obj, "opts": self.opts}
        return TemplateResponse(request, "anomaly_site/token.html", context)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        form = super().get_form(request, obj, change=change, **options)
        return type("TokenForm", (form,), {"maker": request.user})

    @admin.action(description="Revoke", permissions=["add"])
    def revoke(self, request: HttpRequest, found: QuerySet[Token]) -> None:
        revoked = [token for token in found if tokens.revoke(token)]
        wrote(request, "revoke", map(named, revoked))
        self.message_user(request, f"Revoked {len(revoked)} token(s). Their open connections end within 5 seconds.")


@admin.register(AuditEntry)
class AuditAdmin(CarefulAdmin):
    """Who changed what. Nothing here can be changed."""

    list_display = ["at", "actor", "address", "action", "subject", "detail"]
    list_filter = ["action"]
    search_fields = ["actor__istartswith", "subject__icontains"]
    date_hierarchy = "at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


if apps.is_installed("allauth"):
    from allauth.account.models import EmailAddress
    from allauth.socialaccount.models import SocialApp, SocialToken

    # Single sign-on is set by environment variables alone, and no address gets mail.
    admin.site.unregister([EmailAddress, SocialApp, SocialToken])
