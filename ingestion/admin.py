"""The admin of deliveries: channels with masked secrets, routes, and every message with its attempts."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from ingestion.delivery import store
from ingestion.delivery.http import Refused
from ingestion.delivery.sending import check_channel
from ingestion.delivery.webhook import new_secret, refused_secret
from ingestion.models import Attempt, Channel, Outgoing, Route
from market.admin import CarefulAdmin


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """The stored secret is never in the form: an empty field keeps it."""

    new_secret = forms.CharField(
        required=False,
        label="Secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Telegram: the token of the bot. Discord: the address of the webhook. Other services: the address as "
        "apprise writes it. Webhook: leave it empty, and one is made. Empty: keep the one that is stored.",
    )

    class Meta:
        model = Channel
        fields = ("name", "kind", "owner", "address", "enabled")

    def clean(self) -> dict[str, Any] | None:
        found = super().clean()
        kind, address = self.cleaned_data.get("kind") or "", self.cleaned_data.get("address", "")
        secret = self.cleaned_data.get("new_secret") or self.instance.secret
        if kind == Channel.Kind.WEBHOOK and self.cleaned_data.get("new_secret") and (why := refused_secret(secret)):
            raise ValidationError({"new_secret": why})
        try:
            check_channel(Channel(kind=kind, address=address, secret=secret))
        except Refused as error:
            raise ValidationError(str(error)) from None
        return found


@admin.register(Channel)
class ChannelAdmin(CarefulAdmin):
    form = ChannelForm
    list_display = ["name", "kind", "address", "masked_secret", "enabled", "disabled_reason"]
    list_filter = ["kind", "enabled"]
    readonly_fields = ["masked_secret", "disabled_reason"]
    actions = ["send_test", "rotate"]

    @admin.display(description="Stored secret")
    def masked_secret(self, row: Channel) -> str:
        return row.masked() or "none"

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        if entered := form.cleaned_data.get("new_secret"):
            obj.secret, obj.previous_secret = entered, ""
        elif obj.kind == Channel.Kind.WEBHOOK and not obj.secret:
            obj.secret = new_secret()
            self.message_user(request, f"Its secret, which is not shown again: {obj.secret}", messages.WARNING)
        if obj.enabled:
            obj.disabled_reason = ""
        super().save_model(request, obj, form, change)

    @admin.action(description="Send a test message", permissions=["change"])
    def send_test(self, request: HttpRequest, found: QuerySet[Channel]) -> None:
        for channel in found:
            store.send_test(channel)
        self.message_user(request, "Stored; the deliver role sends it within seconds. See Deliveries.")

    @admin.action(description="Replace the secret of a webhook", permissions=["change"])
    def rotate(self, request: HttpRequest, found: QuerySet[Channel]) -> None:
        """Messages have the signatures of both until the next replacement."""
        for channel in found.filter(kind=Channel.Kind.WEBHOOK):
            channel.previous_secret, channel.secret = channel.secret, new_secret()
            channel.save(update_fields=["secret", "previous_secret"])
            said = f"The new secret of {channel.name}, not shown again: {channel.secret}. The old one stays valid."
            self.message_user(request, said, messages.WARNING)


@admin.register(Route)
class RouteAdmin(CarefulAdmin):
    list_display = ["name", "channel", "enabled", "filters", "time_zone", "quiet_from", "quiet_until", "owner"]
    list_filter = ["enabled"]
    list_select_related = ["channel", "owner"]
    search_fields = ["name__istartswith"]

    def save_model(self, request: HttpRequest, obj: Route, form: Any, change: bool) -> None:
        """What the deliverer remembers of a route is its own: it writes that meanwhile."""
        if obj.owner is None and not change:
            obj.owner = request.user  # type: ignore[assignment]
        if change:
            store.enabled_again(obj, form.changed_data)
            obj.save(update_fields=[field for field in form.changed_data if field != "book"])
        else:
            obj.save()


class AttemptInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Attempt
    fields = ("at", "revision", "succeeded", "status", "milliseconds", "error")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Outgoing)
class OutgoingAdmin(CarefulAdmin):
    """Every message with its attempts, until `DELIVERY_RETENTION` is over."""

    list_display = ["planned_at", "title", "channel", "state", "attempts", "next_at", "error"]
    list_display_links = ["planned_at", "title"]
    list_filter = ["state", "channel"]
    list_select_related = ["channel"]
    date_hierarchy = "planned_at"
    inlines = [AttemptInline]
    actions = ["send_again"]
    readonly_fields = tuple(field.name for field in Outgoing._meta.fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.action(description="Send dead letters again", permissions=["change"])
    def send_again(self, request: HttpRequest, found: QuerySet[Outgoing]) -> None:
        count = store.send_again(found.values_list("pk", flat=True))
        self.message_user(request, f"{count} dead letter(s) will be sent again, under the same ids.")
