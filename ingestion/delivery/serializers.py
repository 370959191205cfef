"""Channels and routes over REST, with the rules of the admin and of `manage.py route`."""

from typing import Any, ClassVar, Final, cast

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError as Invalid
from django.db.models import Model, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from alerts.delivery.rules import CHANGES
from ingestion.delivery import acknowledge, setup
from ingestion.delivery.preview import Preview, is_night
from ingestion.models import Channel, Route, route_problems
from market.wire.messages import SEVERITIES, Rank, Severity, SourceKind
from market.wire.times import epoch_ms

# Messages that a preview lists, the last.
MOST_LISTED: Final = 500
_SEVERITIES: Final = [str(severity) for severity in SEVERITIES]
_TIME: Final[dict[str, Any]] = {"format": "%H:%M", "input_formats": ["%H:%M"], "required": False, "allow_null": True}


def owned(model: type[Model], user: Any) -> QuerySet[Any]:
    """The rows of a user; of staff, all."""
    found = model._default_manager.all()
    return found if user.is_staff else found.filter(owner=user)


class _Owned(serializers.PrimaryKeyRelatedField):  # type: ignore[type-arg]
    """A row of the caller's own."""

    def get_queryset(self) -> QuerySet[Any]:
        found = cast(QuerySet[Any], super().get_queryset())
        return owned(found.model, self.context["request"].user)


class _Person(serializers.SlugRelatedField):  # type: ignore[type-arg]
    """A user name; those who are no staff see only their own."""

    def get_queryset(self) -> QuerySet[Any]:
        user = self.context["request"].user
        found = cast(QuerySet[Any], super().get_queryset())
        return found if user.is_staff else found.filter(pk=user.pk)


class _Epoch(serializers.IntegerField):
    """A time as epoch milliseconds."""

    def to_representation(self, value: Any) -> int:
        return epoch_ms(value)


@extend_schema_field({"type": "string", "enum": _SEVERITIES})
class _SeverityField(serializers.ChoiceField):
    """The name of a severity; stored as its rank."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=_SEVERITIES, **options)

    def to_internal_value(self, data: Any) -> Any:
        return int(Severity(super().to_internal_value(data)).rank)

    def to_representation(self, value: Any) -> Any:
        return Rank(value).name


class _OfPerson(serializers.ModelSerializer[Any]):
    """Something with an owner: whoever makes it; staff may choose another."""

    def validate_owner(self, owner: User | None) -> User | None:
        user = self.context["request"].user
        if owner is None and not user.is_staff:
            raise serializers.ValidationError("Only staff leave it without an owner.")
        return owner

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance is None:
            attrs.setdefault("owner", self.context["request"].user)
        return attrs

    def _with(self, attrs: dict[str, Any]) -> Any:
        """The row as it would be stored."""
        model: Any = self.Meta.model
        row = model()
        if self.instance is not None:
            row.__dict__.update({key: value for key, value in self.instance.__dict__.items() if key != "_state"})
        for name, value in attrs.items():
            setattr(row, name, value)
        return row


def _owner() -> Any:
    return _Person(
        slug_field="username",
        queryset=User.objects.filter(is_active=True),
        required=False,
        allow_null=True,
        help_text="User name of the person whose it is, and in whose name messages are acknowledged. Default: you.",
    )


class ChannelSerializer(_OfPerson):
    """Where messages go."""

    owner = _owner()
    address = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=500,
        write_only=True,
        help_text="Telegram: the id of the chat. Discord: empty, or the id of a thread. Webhook: its https:// address.",
    )
    secret = serializers.CharField(
        required=False,
        allow_blank=True,
        write_only=True,
        max_length=2_000,
        help_text="Telegram: the token of the bot. Discord: the address of the webhook. Other services: the address as "
        "apprise writes it. Webhook: leave it out, and one is made. Left out in a change: the stored one stays.",
    )
    shown_address = serializers.CharField(read_only=True, help_text="The address; of a webhook its host alone.")
    masked_secret = serializers.CharField(source="masked", read_only=True, help_text="The last characters at most.")
    made_secret = serializers.CharField(
        read_only=True, help_text="Only in the answer to the request that made a secret: it is not shown again."
    )
    disabled_reason = serializers.CharField(read_only=True, help_text="Why it was switched off, if a service was gone.")
    edits = serializers.BooleanField(read_only=True, help_text="Whether a sent message can be changed.")

    class Meta:
        model = Channel
        fields: ClassVar[Any] = (
            "id", "name", "kind", "owner", "address", "secret", "shown_address", "masked_secret", "made_secret",
            "enabled", "disabled_reason", "edits",
        )  # fmt: skip
        extra_kwargs: ClassVar[Any] = {
            "id": {"help_text": "Number of the channel."},
            "name": {"help_text": "Unique on this site."},
            "kind": {"help_text": "The service."},
            "enabled": {"help_text": "Whether messages are sent to it; else they wait."},
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        self._entered = attrs.pop("secret", "")
        try:
            setup.prepare(self._with(attrs), self._entered)
        except Invalid as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Channel:
        return self._stored(Channel(**validated_data))

    def update(self, instance: Channel, validated_data: dict[str, Any]) -> Channel:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        return self._stored(instance)

    def _stored(self, channel: Channel) -> Channel:
        self.made = setup.prepare(channel, self._entered)
        channel.save()
        return channel

    def to_representation(self, instance: Channel) -> dict[str, Any]:
        made = getattr(self, "made", "")
        return super().to_representation(instance) | ({"made_secret": made} if made else {})


class RouteSerializer(_OfPerson):
    """Which anomalies go to a channel, and when."""

    owner = _owner()
    channel = _Owned(queryset=Channel.objects.all(), help_text="Number of the channel, one of yours.")
    escalate_to = _Owned(
        queryset=Route.objects.all(),
        required=False,
        allow_null=True,
        help_text="Number of the route that gets it as well if it is not acknowledged, one of yours.",
    )
    filters = serializers.DictField(
        required=False,
        help_text='As on /ws: {"symbols": ["BTCUSDT"], "severities": ["HIGH", "CRITICAL"]}. Empty: everything.',
    )
    changes = serializers.ListField(
        child=serializers.ChoiceField([str(change) for change in CHANGES]),
        required=False,
        help_text="What is worth a message. Default: all.",
    )
    sources = serializers.ListField(
        child=serializers.ChoiceField([kind.value for kind in SourceKind]),
        required=False,
        help_text="The kinds of prices. Default: live.",
    )
    quiet_from = serializers.TimeField(**_TIME, help_text="Start of the quiet hours, HH:MM in the time zone.")
    quiet_until = serializers.TimeField(**_TIME, help_text="End of the quiet hours, HH:MM in the time zone.")
    breaks_quiet = _SeverityField(
        required=False, allow_null=True, help_text="This severity and above are sent in the quiet hours, too."
    )
    daily_at = serializers.TimeField(**_TIME, help_text="One digest a day at this time, HH:MM, instead of messages.")
    since = _Epoch(read_only=True, help_text="It delivers what arrived after that, epoch milliseconds (UTC).")
    notices = serializers.SerializerMethodField(help_text="What its messages lack, and why, in sentences.")

    class Meta:
        model = Route
        fields: ClassVar[Any] = (
            "id", "name", "owner", "channel", "enabled", "filters", "changes", "sources", "time_zone", "quiet_from",
            "quiet_until", "breaks_quiet", "daily_at", "per_minute", "escalate_after_min", "escalate_to", "since",
            "notices",
        )  # fmt: skip
        extra_kwargs: ClassVar[Any] = {
            "id": {"help_text": "Number of the route."},
            "name": {"help_text": "Unique on this site."},
            "enabled": {"help_text": "Whether it delivers. Switched on, it starts with what arrives from then on."},
        }

    def get_notices(self, route: Route) -> list[str]:
        return acknowledge.notices(route)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        self.route: Route = self._with(attrs)
        if problems := route_problems(self.route):
            raise serializers.ValidationError(problems)
        return attrs


class PreviewedSerializer(serializers.Serializer[Any]):
    """A message that a route would have sent."""

    id = serializers.CharField(help_text="The id that the deliverer gives it, of a stored route.")
    at = serializers.IntegerField(help_text="When, epoch milliseconds (UTC).")
    title = serializers.CharField(source="text.title", help_text="Its first line.")
    text = serializers.CharField(source="text.body", help_text="The other lines.")
    anomalies = serializers.ListField(child=serializers.CharField(), help_text="Ids.")
    night = serializers.BooleanField(help_text="Whether it is between 22:00 and 07:00 in the route's time zone.")


class PreviewSerializer(serializers.Serializer[Any]):
    """What a route would have sent."""

    summary = serializers.CharField(help_text="In a sentence.")
    since = serializers.IntegerField(help_text="The first moment that was looked at, epoch milliseconds (UTC).")
    count = serializers.IntegerField(help_text="Number of messages that people would have noticed.")
    night = serializers.IntegerField(help_text="How many of them at night.")
    changes = serializers.IntegerField(help_text="Number of silent changes of sent messages.")
    messages = PreviewedSerializer(many=True, help_text=f"The last {MOST_LISTED} of them, oldest first.")

    def to_representation(self, instance: Preview) -> dict[str, Any]:
        ringing = instance.ringing
        listed = [
            {"id": one.id, "at": one.at, "title": one.text.title, "text": one.text.body, "anomalies": one.anomalies,
             "night": is_night(one.at, instance.zone)}
            for one in ringing[-MOST_LISTED:]
        ]  # fmt: skip
        return {
            "summary": instance.summary(),
            "since": instance.since,
            "count": len(ringing),
            "night": instance.night,
            "changes": len(instance.messages) - len(ringing),
            "messages": listed,
        }


class StoredSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="Of the message; the admin has it under Deliveries.")
    detail = serializers.CharField(help_text="What happens now, in a sentence.")


class SecretSerializer(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="The new secret: it is not shown again. The old one is signed with, too.")
