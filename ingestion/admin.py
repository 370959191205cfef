"""The admin of deliveries: channels with masked secrets, routes, and every message with its attempts."""

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from alerts.delivery.rules import CHANGES
from ingestion.delivery import acknowledge, setup, store
from ingestion.delivery.preview import FAULTS, Busy, is_night, preview_now, sample
from ingestion.models import Attempt, Channel, Outgoing, Route
from market.admin import CarefulAdmin
from market.wire.messages import SourceKind
from market.writes import named, wrote

# Messages that the preview of a form lists, the last.
_LISTED: Final = 50


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """The stored secret is never in the form, nor the address of a webhook: what is not changed stays."""

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

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["address"] = self.instance.shown_address
        self._address = self.instance.address

    def clean_address(self) -> str:
        entered: str = self.cleaned_data["address"]
        return self._address if entered == self.initial["address"] else entered

    def _post_clean(self) -> None:
        """The rules of REST and of the command, on the row as it would be stored."""
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            self.made = setup.prepare(self.instance, self.cleaned_data.get("new_secret", ""))
        except ValidationError as error:
            for field, said in getattr(error, "error_dict", {None: error.messages}).items():
                self.add_error("new_secret" if field == "secret" else field, said)


@admin.register(Channel)
class ChannelAdmin(CarefulAdmin):
    form = ChannelForm
    list_display = ["name", "kind", "shown_address", "masked_secret", "owner", "enabled", "disabled_reason"]
    list_select_related = ["owner"]
    list_filter = ["kind", "enabled"]
    readonly_fields = ["masked_secret", "disabled_reason"]
    actions = ["send_test", "rotate"]

    @admin.display(description="Stored secret")
    def masked_secret(self, row: Channel) -> str:
        return row.masked() or "none"

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        if obj.owner is None and not change:
            obj.owner = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
        obj.made = form.made  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._shown(request, [obj]) if obj.made else super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return self._shown(request, [obj]) if obj.made else super().response_change(request, obj)

    def _shown(self, request: HttpRequest, found: list[Channel], *, replaced: bool = False) -> HttpResponse:
        """The secrets that were made, in this answer alone: a message would be stored for the next page."""
        context = self.admin_site.each_context(request) | {
            "title": "Secret", "secrets": [(one.name, one.secret) for one in found], "opts": self.opts,
            "replaced": replaced,
        }  # fmt: skip
        return TemplateResponse(request, "ingestion/secret.html", context, headers={"Cache-Control": "no-store"})

    @admin.action(description="Send a test message", permissions=["change"])
    def send_test(self, request: HttpRequest, found: QuerySet[Channel]) -> None:
        for channel in found:
            store.send_test(channel)
        self.message_user(request, "Stored; the deliver role sends it within seconds. See Deliveries.")

    @admin.action(description="Replace the secret of a webhook", permissions=["change"])
    def rotate(self, request: HttpRequest, found: QuerySet[Channel]) -> HttpResponse | None:
        """Messages have the signatures of both until the next replacement."""
        webhooks = list(found.filter(kind=Channel.Kind.WEBHOOK))
        if not webhooks:
            self.message_user(request, "None of these is a webhook; other services make their secrets.", messages.ERROR)
            return None
        with transaction.atomic():
            for channel in webhooks:
                setup.rotate(channel)
            wrote(request, "change", map(named, webhooks), fields=["secret"])
        return self._shown(request, webhooks, replaced=True)


class RouteForm(forms.ModelForm):  # type: ignore[type-arg]
    changes = forms.MultipleChoiceField(
        choices=[(str(change), str(change)) for change in CHANGES],
        widget=forms.CheckboxSelectMultiple,
        help_text="What is worth a message.",
    )
    sources = forms.MultipleChoiceField(
        choices=[(kind.value, kind.value) for kind in SourceKind],
        widget=forms.CheckboxSelectMultiple,
        help_text="The kinds of prices; what is not live begins with SIMULATED or REPLAY.",
    )

    class Meta:
        model = Route
        fields = (
            "name", "owner", "channel", "enabled", "filters", "changes", "sources", "time_zone", "quiet_from",
            "quiet_until", "breaks_quiet", "daily_at", "per_minute", "escalate_after_min", "escalate_to",
        )  # fmt: skip
        widgets = {"filters": forms.Textarea(attrs={"rows": 3, "cols": 80})}

    @property
    def previews(self) -> bool:
        return "_preview" in self.data

    def is_valid(self) -> bool:
        """A form that is sent to see the preview is shown again, and not saved."""
        return super().is_valid() and not self.previews


@admin.register(Route)
class RouteAdmin(CarefulAdmin):
    form = RouteForm
    change_form_template = "ingestion/route_form.html"
    readonly_fields = ["notices"]
    actions = ["send_test"]
    list_display = ["name", "channel", "enabled", "filters", "time_zone", "quiet_from", "quiet_until", "owner"]
    list_filter = ["enabled"]
    list_select_related = ["channel", "owner"]
    search_fields = ["name__istartswith"]

    class Media:
        js = [Script("market/timezone.js", type="module")]

    @admin.display(description="What its messages lack")
    def notices(self, row: Route) -> str:
        if row._state.adding:
            return "Shown once it is saved."
        return " ".join(acknowledge.notices(row)) or "Nothing: they have links, and can be acknowledged."

    @admin.action(description="Send a test message", permissions=["change"])
    def send_test(self, request: HttpRequest, found: QuerySet[Route]) -> None:
        for route in found.select_related("channel"):
            store.send_test(route.channel, sample(route))
        self.message_user(request, "Stored; the deliver role sends it within seconds. See Deliveries.")

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """A preview takes seconds and writes nothing: it is made outside the transaction, which would lock others."""
        if request.method == "POST" and "_preview" in request.POST:
            return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **options: Any) -> HttpResponse:
        form = context["adminform"].form
        if form.is_bound and form.previews and not form.errors:
            context |= _previewed(form.instance)
        return super().render_change_form(request, context, *args, **options)

    def save_model(self, request: HttpRequest, obj: Route, form: Any, change: bool) -> None:
        """What the deliverer remembers of a route is its own: it writes that meanwhile."""
        if obj.owner is None and not change:
            obj.owner = request.user  # type: ignore[assignment]
        if change:
            store.enabled_again(obj, form.changed_data)
            obj.save(update_fields=[field for field in form.changed_data if field != "book"])
        else:
            obj.save()


def _previewed(route: Route) -> dict[str, Any]:
    """The preview of a route that was entered, as the form shows it."""
    found: dict[str, Any] = {"sample": sample(route)}
    try:
        preview = preview_now(route)
    except Busy as error:
        return found | {"no_preview": error}
    except FAULTS:
        return found | {"no_preview": "NATS does not answer, or has no past messages."}
    ringing = preview.ringing
    if ringing:
        found["sample"] = ringing[-1].text
    listed = [(one.at, one.text.title, is_night(one.at, preview.zone)) for one in ringing[-_LISTED:]]
    return found | {"preview": preview, "listed": listed, "left_out": max(0, len(ringing) - _LISTED)}


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
