"""The admin pages of market anomalies and sector maps, and the base class of both anomaly admins."""

from typing import Any, ClassVar, Final, cast

import msgspec
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from market import selectors, services
from market.models import (
    Anomaly,
    MarketAnomaly,
    ReviewState,
    SectorMember,
    SectorOverride,
    StoredSectorMap,
    SymbolAlias,
)
from market.sentences import OF_A_LATER_VERSION, headline, sentence, stress_reading
from market.templatetags.anomalies import change, chip, percent, span, when
from market.wire.decoding import decode_market
from market.wire.messages import SEVERITIES, InvalidMessage, MarketStress, SectorAnomaly, SynchronizedMovement
from market.writes import named, wrote


def within_window(window: str | None) -> SafeString | str:
    """A change's window, to stand behind it; empty if unknown."""
    return format_html(' <span class="window">· {}</span>', span(window)) if window else ""


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts at most 5,000 anomalies: counting a million would take longer than showing the page."""

    @cached_property
    def count(self) -> int:
        found: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        if not issubclass(found.model, Anomaly):  # the entries of the page "History"
            return super().count
        return found.order_by().values("timestamp")[:5_000].count()  # a column every index has


def _review_action(state: ReviewState, title: str) -> Any:
    @admin.action(description=title, permissions=["change"])
    def act(model_admin: "AnomalyAdmin", request: HttpRequest, found: QuerySet[Anomaly]) -> None:
        with transaction.atomic():
            count = services.review(found, state, reviewer=cast(User, request.user), at=timezone.now())
            label = found.model._meta.label_lower
            wrote(request, "review", (f"{label} {pk}" for pk in _ids(found)), review_state=state)
        model_admin.message_user(request, f"Set {count} row(s) to “{state.label}”.", messages.SUCCESS)

    act.__name__ = f"set_{state}"
    return act


def _ids(found: QuerySet[Any]) -> list[Any]:
    return list(found.order_by().values_list("pk", flat=True))


class CarefulAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """An admin whose lists take from an address only what they offer, and that answers nonsense with 400.

    Django takes every look-up of every column: `payload__regex` reads a million rows, and those of related tables tell
    what the list does not show.
    """

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        listed = (each[0] if isinstance(each, tuple) else each for each in self.get_list_filter(request))
        named = (name for name in listed if isinstance(name, str))
        offered = {f"{name}__{end}" for name in named for end in ("exact", "isnull", "id__exact")}
        if lookup in offered:
            return True
        most = {f"{self.date_hierarchy}__{part}": most for part, most in _MOST_OF_DATES.items()}.get(lookup, 0)
        text = str(value)
        return bool(self.date_hierarchy and text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        wrote(request, "add", [named(obj)], changes=message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        wrote(request, "change", [named(obj)], changes=message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        wrote(request, "delete", [named(obj) for obj in queryset])
        return super().log_deletions(request, queryset)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if "\0" in object_id:  # the admin has an escape of its own for it: `_00`
            return None
        return super().get_object(request, object_id, from_field or None)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        to_python = self.opts.pk.to_python
        try:
            valid = all("\0" not in str(to_python(one)) for one in chosen)
        except (ValidationError, ValueError, OverflowError):
            valid = False
        if not valid:
            raise BadRequest("The form names rows that there cannot be. Load the list again.")
        return super().response_action(request, queryset, *args)


_MOST_OF_DATES: Final = {"year": 9_999, "month": 12, "day": 31}


class AnomalyAdmin(CarefulAdmin):
    """Shows an anomaly as it was published; only its review can be changed."""

    actions = [
        _review_action(ReviewState.ACKNOWLEDGED, "Acknowledge"),
        _review_action(ReviewState.RESOLVED, "Resolve"),
        _review_action(ReviewState.FALSE_POSITIVE, "Mark as false positive"),
        _review_action(ReviewState.NEW, "Reset to new"),
    ]
    date_hierarchy = "timestamp"
    list_per_page = 50
    list_select_related = ["reviewed_by"]
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    readonly_fields = ["explained", "reviewed_by", "reviewed_at", "message"]
    fieldsets = [
        (None, {"fields": ["explained"]}),
        ("Review", {"fields": ["review_state", "review_note", "reviewed_by", "reviewed_at"]}),
        ("Message as published", {"fields": ["message"], "classes": ["collapse"]}),
    ]

    class Media:
        css = {"all": ["market/admin.css"]}
        js = [Script("market/timezone.js", type="module")]

    # Address of the anomaly's own page.
    page: ClassVar[str]

    def view_on_site(self, obj: Anomaly) -> str:
        return reverse(self.page, args=[obj.pk])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return selectors.calendar(self.model)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def delete_model(self, request: HttpRequest, obj: Anomaly) -> None:
        self.delete_queryset(request, self.get_queryset(request).filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        services.forget(queryset)

    def save_model(self, request: HttpRequest, obj: Anomaly, form: Any, change: bool) -> None:
        """Save only the review: saving the whole row would undo revisions stored since the page was opened."""
        services.review(
            self.get_queryset(request).filter(pk=obj.pk),
            ReviewState(obj.review_state),
            note=obj.review_note,
            reviewer=cast(User, request.user),
            at=timezone.now(),
        )
        wrote(request, "review", [named(obj)], review_state=obj.review_state, review_note=obj.review_note)

    @admin.display(description="Time", ordering="timestamp")
    def time(self, row: Anomaly) -> SafeString:
        return when(row.timestamp)

    @admin.display(description="State", ordering="state")
    def life(self, row: Anomaly) -> SafeString:
        return format_html('<span class="state {}">{}</span>', row.state, row.get_state_display())

    @admin.display(description="Severity", ordering="severity")
    def severity_chip(self, row: Anomaly) -> SafeString:
        return chip(SEVERITIES[row.severity])

    @admin.display(description="Review", ordering="review_state")
    def review(self, row: Anomaly) -> SafeString:
        reviewer = row.reviewed_by.get_username() if row.reviewed_by else ""
        return format_html(
            '<span class="review {}">{}</span> {}', row.review_state, row.get_review_state_display(), reviewer
        )

    @admin.display(description="")
    def message(self, row: Anomaly) -> SafeString:
        return format_html('<pre class="message">{}</pre>', msgspec.json.format(row.payload, indent=2))


@admin.register(MarketAnomaly)
class MarketAnomalyAdmin(AnomalyAdmin):
    page = "market-anomaly"
    list_display = ["time", "severity_chip", "what", "move", "life", "review"]
    list_display_links = ["time", "what"]
    list_filter = ["severity", "type", "state", "direction", "review_state", "source"]
    search_fields = ["sector__istartswith", "id__exact"]
    search_help_text = "Start of a sector's name, or id of a market anomaly"

    @admin.display(description="Type", ordering="type")
    def what(self, row: MarketAnomaly) -> str:
        return f"{row.get_type_display()}: {row.sector}" if row.sector else row.get_type_display()

    @admin.display(description="Move")
    def move(self, row: MarketAnomaly) -> SafeString | str:
        message = _decoded(row)
        if message is None:
            return ""
        within = within_window(message.window)
        match message:
            case SynchronizedMovement() as moved:
                share = percent(moved.synchronization_ratio)
                of = "the symbols" if moved.universe is None else f"{moved.universe:,}"
                return format_html("{}{}, {} of {}", change(moved.average_change_pct), within, share, of)
            case SectorAnomaly() as sector:
                return format_html("{}{}", change(sector.performance_pct), within)
            case MarketStress() as stress:
                return stress_reading(stress)

    @admin.display(description="")
    def explained(self, row: MarketAnomaly) -> str:
        message = _decoded(row)
        if message is None:
            return OF_A_LATER_VERSION
        words = {"headline": headline(message), "sentence": sentence(message)}
        return render_to_string("market/admin/explanation.html", {"message": message, "type": row.type} | words)


def _decoded(row: MarketAnomaly) -> SynchronizedMovement | MarketStress | SectorAnomaly | None:
    """The message; None for one of a later version, whose type this one does not know."""
    try:
        return decode_market(row.payload.encode(), received_at=0)
    except InvalidMessage:
        return None


# --- Sectors ---------------------------------------------------------------------------------------------------------


@admin.register(SectorOverride)
class SectorOverrideAdmin(CarefulAdmin):
    list_display = ["base", "sectors", "note", "updated_at"]
    search_fields = ["base__istartswith", "sectors__icontains"]


@admin.register(SymbolAlias)
class SymbolAliasAdmin(CarefulAdmin):
    """Followed by every process within 15 seconds; rows stored before keep their symbol and venue."""

    list_display = ["name", "kind", "means", "note", "updated_at"]
    list_filter = ["kind"]
    search_fields = ["name__istartswith", "means__istartswith"]


class _ReadOnlyAdmin(CarefulAdmin):
    """Fetched data is read-only. A new fetch replaces it, and an override corrects it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(StoredSectorMap)
class StoredSectorMapAdmin(_ReadOnlyAdmin):
    """The newest map is in use. Deleting it puts the one before it in use again."""

    list_display = ["__str__", "fetched_at", "coins"]

    @admin.display(description="Coins")
    def coins(self, row: StoredSectorMap) -> int:
        return row.members.count()


@admin.register(SectorMember)
class SectorMemberAdmin(_ReadOnlyAdmin):
    list_display = ["base", "name", "rank", "in_sectors", "namesakes"]
    search_fields = ["base__iexact", "name__icontains"]
    search_help_text = "Ticker (BTC), or part of a coin's name"
    list_per_page = 200

    def get_queryset(self, request: HttpRequest) -> QuerySet[SectorMember]:
        return selectors.sector_members()

    @admin.display(description="Sectors")
    def in_sectors(self, row: SectorMember) -> str:
        return ", ".join(row.sectors)
