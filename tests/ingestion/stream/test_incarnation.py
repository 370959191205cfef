"""A stream that went back is found out, whatever happened to it, and nothing that it still has is passed over.

The store, the position and the messages are modelled: what decides is the code that the readers run.
"""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.stream.incarnation import Position, StreamView, resumed

CREATED = 1_796_000_000_000


@dataclass(frozen=True)
class Message:
    key: int  # what it says: id and revision
    time_us: int


@dataclass
class Stream:
    """A JetStream stream: messages by their sequence numbers. Retention removes the first ones."""

    created: int = CREATED
    messages: dict[int, Message] = field(default_factory=dict)
    last: int = 0

    def append(self, message: Message) -> None:
        self.last += 1
        self.messages[self.last] = message

    def view(self, offset: int) -> StreamView:
        message = self.messages.get(offset)
        return StreamView(self.created, self.last, message.time_us if message else None)

    def copy(self) -> "Stream":
        return replace(self, messages=dict(self.messages))


@dataclass
class Reader:
    """A bridge: its store, and where it stands."""

    position: Position = field(default_factory=Position)
    stored: dict[int, tuple[int, int]] = field(default_factory=dict)  # key → (epoch, offset)
    sent: list[int] = field(default_factory=list)
    places: set[tuple[int, int]] = field(default_factory=set)

    def read(self, stream: Stream) -> None:
        """(Re)open the stream and read to its end."""
        before = self.position.epoch
        found = resumed(self.position, stream.view(self.position.offset))
        assert found.position.epoch >= before, "epochs never fall"
        assert bool(found.fault) == (before not in (0, found.position.epoch)), "a new epoch has a reason"
        self.position = found.position
        for offset in sorted(stream.messages):
            if offset <= self.position.offset:
                continue
            message = stream.messages[offset]
            place = self.position.epoch, offset
            assert place not in self.places, "no offset is used twice within an epoch"
            self.places.add(place)
            if not self.position.went_back or message.key not in self.stored:
                self.sent.append(message.key)
            self.stored[message.key] = place
            self.position = self.position._replace(offset=offset, time_us=message.time_us)


# What happens to the stream, how much of it, and whether the reader looks at it afterwards.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "copy", "restore", "truncate", "wipe", "expire", "clock"]),
        st.integers(1, 6),
        st.sampled_from(["", "read", "read", "upgrade"]),
    ),
    min_size=4,
    max_size=30,
)


@settings(max_examples=400)
@given(STEPS)
def test_whatever_happens_to_a_stream_what_it_still_has_is_stored_and_sent_once(
    steps: list[tuple[str, int, str]],
) -> None:
    stream, reader, clock_ms, ticks = Stream(), Reader(), CREATED, 0
    saved = stream.copy()
    for what, amount, then in steps:
        match what:
            case "append":
                for _ in range(amount):
                    ticks += 1
                    # No two messages have the same sequence number and microsecond: ticks set them apart.
                    stream.append(Message(ticks, clock_ms * 1_000 + ticks))
            case "truncate":  # a damaged last block
                stream.last = max(0, stream.last - amount)
                stream.messages = {n: message for n, message in stream.messages.items() if n <= stream.last}
            case "copy":
                saved = stream.copy()
            case "restore":
                stream = saved.copy()
            case "wipe":
                ticks += 1
                stream = Stream(created=clock_ms + ticks)
            case "expire":
                for offset in sorted(stream.messages)[:amount]:
                    del stream.messages[offset]
            case "clock":
                clock_ms += (amount - 3) * 3_600_000
        if then:
            reader.read(stream)
            if then == "upgrade" and not reader.position.went_back:
                # A position of 0.1 does not name the message: what happened before the first look is not found out.
                reader.position = reader.position._replace(created=0, time_us=0)
                reader.read(stream)
            kept = {message.key for message in stream.messages.values()}
            assert kept <= reader.stored.keys(), "everything the stream still has is stored"
    assert len(reader.sent) == len(set(reader.sent)), "nothing is sent twice"
    assert set(reader.sent) == reader.stored.keys()


def test_a_stream_that_ends_before_the_position_went_back() -> None:
    found = resumed(Position(CREATED, 150, CREATED, 7), StreamView(CREATED, 100, None))
    assert found.position == Position(CREATED + 1, 0, CREATED)
    assert found.fault == "it ends at message 100, and message 150 was read before"
    assert found.repeated_until == 100


def test_a_stream_with_another_message_at_the_position_went_back() -> None:
    found = resumed(Position(CREATED, 150, CREATED, 7), StreamView(CREATED, 160, 8))
    assert (found.position.epoch, found.position.offset) == (CREATED + 1, 0)
    assert found.fault == "message 150 is not the one that was read before"


def test_what_retention_removed_is_a_gap() -> None:
    position = Position(CREATED, 150, CREATED, 7)
    assert resumed(position, StreamView(CREATED, 400, None)) == (position, "", 0)


def test_a_position_of_version_0_1_learns_which_message_stands_there() -> None:
    found = resumed(Position(CREATED, 150), StreamView(CREATED, 160, 8))
    assert found == (Position(CREATED, 150, CREATED, 8), "", 0)


def test_a_stream_created_while_the_clock_was_behind_still_gets_a_higher_epoch() -> None:
    found = resumed(Position(CREATED, 150, CREATED, 7), StreamView(CREATED - 3_600_000, 3, None))
    assert found.position.epoch == CREATED + 1
    assert found.repeated_until == 0
