"""What stands on the panel, and whether it is true: pure rules over the facts that `screen.js` reads from the page."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

READ: Final = (Path(__file__).parent / "screen.js").read_text()

Screen = dict[str, Any]
Figure = dict[str, Any]

_SEVERITIES: Final = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
_ZONES: Final = ((40, "calm"), (60, "elevated"), (80, "high"), (math.inf, "extreme"))
_ZONES_OF: Final = dict(zip((name for _, name in _ZONES), _SEVERITIES, strict=True))
_UNIT_S: Final = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_WINDOW: Final = re.compile(r"(\d+) (s|min|m|h|d)\b(?! ago)")
_AGE: Final = re.compile(r"^(\d+)([smhd])$")
_CHANGE: Final = re.compile(r"[+−-](\d[\d,]*(?:\.\d+)?) ?%")
_CLOCK: Final = re.compile(r"(?<![\d:])(\d\d):(\d\d)(?::(\d\d))?")
_DATE: Final = re.compile(r"(\d{1,2}) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?: (\d{4}))?")
_INCIDENT: Final = re.compile(
    r"(?P<earlier>Earlier: |Also, over: )?(?P<verb>Fell|Rose|Moved) together · (?P<clock>[^·,]*\d\d:\d\d[^·,]*), "
    r"(?P<age>\d+) (?P<age_unit>s|min|h|d) ago"
    r"(?: · (?P<change>[+−]?[\d,.]+ %)(?: in (?P<window>\d+ (?:s|min|h|d)))?)?"
)
_BREADTH: Final = re.compile(r"([\d,]+) of ([\d,]+) (fell|rose|unchanged)(?:, ([\d,]+) fell)?")
_WAYS: Final = {"fell": -1, "rose": 1, "moved": 0, "down": -1, "up": 1, "▼": -1, "▲": 1, "": 0}


@dataclass(frozen=True)
class Violation:
    rule: str
    where: str
    said: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.said}"


@dataclass(frozen=True)
class Counts:
    """The server's counts of what is open: `symbols` and `alerts`, the least and the most of the last seconds."""

    symbols: tuple[int, int]
    alerts: tuple[int, int]


def read(page: Page) -> Screen:
    screen: Screen = page.evaluate(READ)
    return screen


def violations(screen: Screen, counts: Counts | None = None) -> list[Violation]:
    """Whatever on this screen contradicts itself, its window, its time or the server's counts."""
    found = [violation for rule in RULES for violation in rule(screen)]
    return found + (list(counted(screen, counts)) if counts else [])


def seen(screen: Screen) -> dict[str, int]:
    """How much of what the rules speak of is on this screen: a rule over nothing shows nothing."""
    now, say = screen["now"], screen["say"]
    return {
        "rows": len(screen["rows"]),
        "falling rows": sum(bool(row["change"]) and sign(row["change"]["text"]) < 0 for row in screen["rows"]),
        "rising rows": sum(bool(row["change"]) and sign(row["change"]["text"]) > 0 for row in screen["rows"]),
        "sparklines": sum(bool(row["line"]) for row in screen["rows"]),
        "sentences": sum(bool(re.search(r" (fell|rose) [\d,.]+", row["label"])) for row in screen["rows"]),
        "rarities": sum(bool(row["rarity"]) for row in screen["rows"]),
        "rows of incidents": sum(row["nested"] for row in screen["rows"]),
        "incidents": len(screen["incidents"]),
        "leading incidents": int(bool(say) and say["leads"] and bool(_INCIDENT.match(say["text"]))),
        "earlier incidents": int(bool(say) and bool(re.search("Earlier: |Also, over: ", say["text"]))),
        "windows of the strip": len(now["windows"]) if now else 0,
        "majors": len(now["majors"]) if now else 0,
        "breadth sentences": int(bool(now) and bool(_BREADTH.search(now["breadth"]))),
        "breadth bars": int(bool(screen["breadth"])),
        "short strips": int(bool(screen["strip"] and screen["strip"]["change"])),
        "stress indices": int(screen["index"]["summary"].isdecimal()),
        "stress components": len(screen["index"]["parts"]),
        "counts": int(bool(screen["counts"]["heading"])),
        "changes": len(screen["changes"]),
        "times": len(screen["clocks"]),
    }


# --- Numbers and times as they are written ----------------------------------------------------------------------------


def sign(text: str) -> int:
    """The sign of the first number of a text: −1, 0 or 1."""
    match = re.search(r"([+−-])?\d[\d,]*(?:\.\d+)?", text)
    if not match or not re.search(r"[1-9]", match[0]):
        return 0
    return {"+": 1, None: 0}.get(match[1], -1)


def number(text: str) -> float | None:
    match = re.search(r"[+−-]?\d[\d,]*(?:\.\d+)?", text)
    return float(match[0].replace(",", "").replace("−", "-")) if match else None


def seconds(text: str) -> int | None:
    """A window: `15 m`, `15 min`."""
    match = _WINDOW.search(text)
    return int(match[1]) * _UNIT_S[match[2]] if match else None


def market_time(screen: Screen) -> datetime | None:
    """The replay's own clock, which stands on the line of the source."""
    return moment(screen["source"])


def moment(text: str, today: datetime | None = None) -> datetime | None:
    """The first time in a text; without a date it is of `today`."""
    clock = _CLOCK.search(text)
    if not clock:
        return None
    hour, minute, second = (int(part or 0) for part in clock.groups())
    date = _DATE.search(text)
    if date:
        year = int(date[3] or (today.year if today else 1900))
        return datetime.strptime(f"{date[1]} {date[2]} {year}", "%d %b %Y").replace(
            hour=hour, minute=minute, second=second, tzinfo=UTC
        )
    return today.replace(hour=hour, minute=minute, second=second) if today else None


# --- Rules ------------------------------------------------------------------------------------------------------------


def signs(screen: Screen) -> Iterator[Violation]:
    """Sign, arrow, colour, sparkline and sentence of a row agree."""
    for row in screen["rows"]:
        if not row["change"]:
            yield Violation("change", row["symbol"], "the row has no change")
            continue
        muted = row["closed"]
        yield from _agrees(f"row of {row['symbol']}", row["change"], muted)
        way = sign(row["change"]["text"])
        for tone in row["line"]:
            if _WAYS[tone] != way:
                yield Violation("sparkline", row["symbol"], f"{row['change']['text']} beside a line that is {tone}")
        if row["lines"] and not row["line"] and way and not muted:
            yield Violation("sparkline", row["symbol"], f"{row['change']['text']} beside a line without colour")
        said = re.search(rf"{re.escape(row['symbol'])} (fell|rose) ([\d,.]+)", row["label"])
        shown = number(row["change"]["text"])
        if not said or shown is None or " and came back " in row["label"]:
            continue  # a wick's sentence is of how far the price went, and the change of where it is
        apart = abs(abs(shown) - float(said[2].rstrip(".,").replace(",", "")))
        # From 100 % on a change has no decimals.
        if (way and _WAYS[said[1]] != way) or apart > 0.51:
            yield Violation("sentence", row["symbol"], f"{row['change']['text']}, but “{said[0]}”")
    for incident in screen["incidents"]:
        if incident["change"]:
            yield from _agrees(f"incident “{incident['title']}”", incident["change"], incident["closed"], arrow=False)
            yield from _ring(incident["title"], incident["change"], incident["rings"])
            yield from _verb(incident["title"], incident["change"])
    for sync in screen["syncs"]:
        if sync["change"]:
            yield from _agrees(f"card “{sync['title']}”", sync["change"], muted=True)
            yield from _ring(sync["title"], sync["change"], sync["rings"])
            yield from _verb(sync["title"], sync["change"])
    for name, figure in _market_figures(screen):
        yield from _agrees(name, figure, muted=False)


def _market_figures(screen: Screen) -> Iterator[tuple[str, Figure]]:
    if screen["strip"] and screen["strip"]["change"]:
        yield "strip", screen["strip"]["change"]
    if screen["now"]:
        for window in screen["now"]["windows"]:
            if window["change"]:
                yield f"strip, {window['window']}", window["change"]
        for major in screen["now"]["majors"]:
            yield "strip, majors", major


def _agrees(where: str, figure: Figure, muted: bool, arrow: bool = True) -> Iterator[Violation]:
    way = sign(figure["text"])
    tone = _WAYS[figure["tone"]]
    if tone != way and not (muted and tone == 0):
        yield Violation("colour", where, f"{figure['text']} is {figure['tone'] or 'without colour'}")
    if arrow and _WAYS[figure["arrow"]] != way:
        yield Violation("arrow", where, f"{figure['text']} has {figure['arrow'] or 'no arrow'}")
    if figure["arrowTone"] and _WAYS[figure["arrowTone"]] != way:
        yield Violation("arrow", where, f"{figure['text']} has an arrow that is {figure['arrowTone']}")


def _ring(where: str, figure: Figure, rings: Sequence[str]) -> Iterator[Violation]:
    for tone in set(rings):
        if _WAYS[tone] != sign(figure["text"]):
            yield Violation("colour", f"ring of “{where}”", f"{figure['text']} in a ring that is {tone}")


def _verb(title: str, figure: Figure) -> Iterator[Violation]:
    verb = re.search(r"\b(fell|rose) together", title, re.IGNORECASE)
    if verb and _WAYS[verb[1].lower()] != sign(figure["text"]):
        yield Violation("incident", title, f"beside {figure['text']}")


def colours(screen: Screen) -> Iterator[Violation]:
    """Red and green are the sign of what they colour, wherever they stand."""
    for text in screen["coloured"]:
        way = _written_way(text["text"]) or _written_way(text["parent"])
        if way is None:
            yield Violation("colour", text["kind"], f"“{text['text']}” is {text['tone']} without a sign")
        elif way != _WAYS[text["tone"]]:
            yield Violation("colour", text["kind"], f"“{text['text']}” is {text['tone']}")
    breadth = screen["breadth"]
    for tone in ("up", "down"):
        if breadth and breadth[tone] and breadth[tone]["tone"] != tone:
            yield Violation("colour", "breadth", f"the {tone} part is {breadth[tone]['tone'] or 'without colour'}")


def _written_way(text: str) -> int | None:
    """The way that a text itself speaks of: its sign, arrow or verb."""
    match = re.search(r"([+−-])(?=\d)|([▲▼])|\b(fell|rose|rise|fall)\b", text, re.IGNORECASE)
    if not match:
        return None
    word = match[0].lower()
    return {"+": 1, "▲": 1, "rose": 1, "rise": 1}.get(word, -1)


def windows(screen: Screen) -> Iterator[Violation]:
    """Every change has its window beside it."""
    for row in screen["rows"]:
        if row["change"] and row["change"]["text"] not in ("", "–") and not seconds(row["change"]["text"]):
            yield Violation("window", row["symbol"], f"{row['change']['text']} without its window")
    for change in screen["changes"]:
        statement = change["statement"]
        if change["kind"] == "legend" or not _CHANGE.search(change["text"]):
            continue
        for sentence in _sentences(statement):
            if change["text"] in sentence and not _WINDOW.search(sentence):
                yield Violation("window", change["kind"], f"{change['text']} without its window: “{sentence[:160]}”")
                break


def _sentences(statement: str) -> list[str]:
    return re.split(r"(?<=[^\d])\. |(?<=\d\d:\d\d)\. |(?<=%)\. ", statement)


def incidents(screen: Screen) -> Iterator[Violation]:
    """An incident has its time; it leads only while it is happening, and never against the figures of now."""
    for place, text, leads in _incident_texts(screen):
        for named in re.finditer(
            r"(?:Earlier: |Also, over: |Over: )?(?:Fell|Rose|Moved|fell|rose|moved) together", text
        ):
            rest = text[named.start() :]
            if not _CLOCK.search(rest[:90]) and not re.search(r"\d+ ?(?:s|m|min|h|d) ago", rest[:90]):
                yield Violation("incident", place, f"a headline without its time: “{rest[:90]}”")
        found = list(_INCIDENT.finditer(text))
        for match in found:
            yield from _incident(screen, place, match, leads and match.start() == 0)
        yield from _sequence(screen, place, found)
    strip = screen["strip"]
    if strip and strip["lead"]:
        verb = strip["lead"].split()[0].lower()
        if strip["change"] and _WAYS.get(verb, 0) == -sign(strip["change"]["text"]) != 0:
            yield Violation("incident", "strip", f"“{strip['lead']}” beside {strip['change']['text']}")
        if _WAYS.get(verb, 0) != _WAYS[strip["leadTone"]]:
            yield Violation("colour", "strip", f"“{strip['lead']}” is {strip['leadTone'] or 'without colour'}")
        if not _CLOCK.search(strip["lead"]):
            yield Violation("incident", "strip", f"a headline without its time: “{strip['lead']}”")
    for incident in screen["incidents"]:
        if not re.search(r"\b\d+[smhd]\b ago|\b\d\d:\d\d\b", incident["text"]):
            yield Violation("incident", "list", f"without its time: “{incident['text']}”")
    for sync in screen["syncs"]:
        if not _CLOCK.search(sync["title"]):
            yield Violation("incident", "card", f"without its time: “{sync['title']}”")


def _sequence(screen: Screen, place: str, found: Sequence[re.Match[str]]) -> Iterator[Violation]:
    """Earlier is what is of an earlier time than what stands before it."""
    times = [moment(match["clock"], market_time(screen)) for match in found]
    for (before, after), match in zip(pairwise(times), found[1:], strict=True):
        if match["earlier"] == "Earlier: " and before and after and after > before:
            yield Violation("time", place, f"“{match[0]}” after one of {before:%H:%M}")


def _incident_texts(screen: Screen) -> Iterator[tuple[str, str, bool]]:
    if screen["say"]:
        yield "summary", screen["say"]["text"], screen["say"]["leads"]


def _incident(screen: Screen, place: str, match: re.Match[str], leads: bool) -> Iterator[Violation]:
    said = match[0]
    way = _WAYS[match["verb"].lower()]
    if match["change"] and sign(match["change"]) != way:
        yield Violation("incident", place, f"verb and change differ: “{said}”")
    age_s = int(match["age"]) * _UNIT_S[match["age_unit"]]
    now = market_time(screen)
    at = now and moment(match["clock"], now)
    if now and at and abs((now - at).total_seconds() - age_s) > _UNIT_S[match["age_unit"]] + 60:
        yield Violation("time", place, f"at {now:%H:%M:%S} it says “{said}”")
    if not leads:
        return
    window_s = seconds(match["window"] or "")
    if window_s is None:
        yield Violation("incident", place, f"leads without a window: “{said}”")
        return
    if age_s > window_s:
        yield Violation("incident", place, f"leads, and is older than its window: “{said}”")
    if match["earlier"]:
        yield Violation("incident", place, f"leads, and is called earlier: “{said}”")
    beside = nearest(screen, window_s)
    if beside is None:
        return
    if beside["change"] and sign(beside["change"]["text"]) == -way:
        yield Violation("incident", place, f"“{said}” leads, over {beside['window']} it is {beside['change']['text']}")
    breadth = _BREADTH.search(beside["title"])
    if breadth and way:
        moved = _moved(breadth, way)
        if moved is not None and 2 * moved < int(breadth[2].replace(",", "")):
            yield Violation("incident", place, f"“{said}” leads, over {beside['window']} it is {breadth[0]}")
    chosen = next((window for window in screen["now"]["windows"] if window["on"]), None)
    if chosen and chosen["change"] and sign(chosen["change"]["text"]) == -way != 0:
        yield Violation("incident", place, f"“{said}” leads above {chosen['change']['text']} in {chosen['window']}")


def nearest(screen: Screen, window_s: int) -> dict[str, Any] | None:
    """The window of the strip that is nearest by ratio; of two the shorter."""
    shown = screen["now"]["windows"] if screen["now"] else []

    def distance(window: dict[str, Any]) -> tuple[float, int]:
        own = seconds(window["window"]) or 1
        return round(abs(math.log(own / window_s)), 9), own

    return min(shown, key=distance, default=None)


def _moved(breadth: re.Match[str], way: int) -> int | None:
    """How many went that way: unknown where only the other ones are named."""
    count, total, verb, fell = breadth.groups()
    if fell:
        return int((count if way > 0 else fell).replace(",", ""))
    if verb == "unchanged":
        return None
    if _WAYS[verb] == way:
        return int(count.replace(",", ""))
    return int(total.replace(",", "")) - int(count.replace(",", ""))


def market(screen: Screen) -> Iterator[Violation]:
    """Strip, breadth, gauge, zone and sentences say the same."""
    now, strip, breadth, index = screen["now"], screen["strip"], screen["breadth"], screen["index"]
    chosen = next((window for window in now["windows"] if window["on"]), None) if now else None
    for place, figure, said in (
        ("strip", strip and strip["change"], strip and strip["breadth"]),
        ("summary", chosen and chosen["change"], now and now["breadth"]),
    ):
        if figure and said:
            yield from _breadth_agrees(place, figure, said)
    for window in now["windows"] if now else []:
        if window["change"]:
            yield from _breadth_agrees(f"window {window['window']}", window["change"], window["title"])
    if breadth:
        yield from _breadth_card(breadth, chosen, now)
    indices = {
        "summary": index["summary"],
        "strip": strip["index"] if strip else "",
        "gauge": next((text for text in index["gauge"] if text.isdecimal() and text not in ("0", "100")), ""),
    }
    known = {place: text for place, text in indices.items() if text.isdecimal()}
    if len(set(known.values())) > 1:
        yield Violation("stress", "index", ", ".join(f"{place} {text}" for place, text in known.items()))
    if known:
        shown = int(next(iter(known.values())))
        yield from _zone(screen, shown)
        points = [part for text in index["parts"] if (part := number(text)) is not None]
        if points and abs(sum(points) - shown) > 0.56:
            yield Violation("stress", "components", f"{sum(points):.1f} points make {shown}")


def _breadth_agrees(where: str, figure: Figure, said: str) -> Iterator[Violation]:
    match = _BREADTH.search(said)
    if not match:
        return
    way = sign(figure["text"])
    count, total, verb, fell = match.groups()
    whole, part = int(total.replace(",", "")), int(count.replace(",", ""))
    if fell or verb == "unchanged":
        return
    if way == -_WAYS[verb]:
        yield Violation("breadth", where, f"{figure['text']} beside “{match[0]}”")
    if 2 * part < whole:
        yield Violation("breadth", where, f"fewer than half: “{match[0]}”")


def _breadth_card(
    breadth: dict[str, Any], chosen: dict[str, Any] | None, now: dict[str, Any] | None
) -> Iterator[Violation]:
    counts = [
        int(count.replace(",", "")) for count in re.findall(r"[\d,]+(?= (?:fell|unchanged|rose))", breadth["label"])
    ]
    if len(counts) != 3:
        yield Violation("breadth", "card", f"unreadable: “{breadth['label']}”")
        return
    total = sum(counts)
    for count, part, share in zip(counts, ("down", "flat", "up"), breadth["shares"], strict=False):
        if (breadth[part] or {"grow": 0})["grow"] != count:
            yield Violation("breadth", "card", f"the {part} part is not {count}")
        percent = number(share)
        if percent is not None and total and abs(percent - 100 * count / total) > 1 and "<" not in share:
            yield Violation("breadth", "card", f"“{share}” of {count} in {total}")
    if not seconds(breadth["note"]):
        yield Violation("window", "breadth", f"“{breadth['note']}” names no window")
    elif chosen and seconds(breadth["note"]) != seconds(chosen["window"]):
        yield Violation("breadth", "card", f"“{breadth['note']}” beside the window {chosen['window']}")
    said = _BREADTH.search(now["breadth"]) if now else None
    if said:
        part, whole, verb, fell = said.groups()
        named = {"fell": counts[0], "unchanged": counts[1], "rose": counts[2]}[verb]
        shown = [int(text.replace(",", "")) for text in (part, whole, fell or str(counts[0]))]
        if shown != [named, total, counts[0]]:
            yield Violation("breadth", "card", f"“{breadth['label']}” beside “{said[0]}”")


def _zone(screen: Screen, shown: int) -> Iterator[Violation]:
    zone = next(name for below, name in _ZONES if shown < below)
    names = "calm|elevated|high|extreme"
    gauge = " ".join(screen["index"]["gauge"])
    words = {"summary": screen["index"]["words"], "gauge": gauge}
    for place, text in words.items():
        named = re.search(rf"\b({names})\b", text, re.IGNORECASE)
        if named and named[1].lower() != zone:
            yield Violation("stress", place, f"{shown} is called {named[1]}")
    say = screen["say"]["text"] if screen["say"] else ""
    named = re.search(rf": ({names}) stress, (\d+) of 100", say)
    if named and (named[1] != zone or int(named[2]) != shown):
        yield Violation("stress", "summary", f"{shown}, but “{named[0]}”")
    for entry in screen["earlier"]:
        named = re.search(rf"\b({names}) (?:stress|at its peak)\b", entry["text"], re.IGNORECASE)
        if named and _ZONES_OF[named[1].lower()] != entry["severity"].upper():
            yield Violation("stress", "earlier anomalies", f"“{entry['text']}” beside {entry['severity']}")
    if "within the usual" in say and (zone != "calm" or screen["say"]["leads"]):
        yield Violation("stress", "summary", f"“within the usual” at {shown}")


def order(screen: Screen) -> Iterator[Violation]:
    """The list is by severity, then rarity, and has one row per symbol of a venue."""
    rows = sorted((row for row in screen["rows"] if not row["pinned"]), key=lambda row: float(row["top"]))
    markets = [(row["symbol"], row["venue"]) for row in rows]
    for symbol, venue in sorted({market for market in markets if markets.count(market) > 1}):
        yield Violation("rows", symbol, f"{markets.count((symbol, venue))} rows of {venue or 'no venue'}")
    # An incident is sorted by its own severity, its rows among each other.
    heads = {
        incident["top"]: incident | {"symbol": incident["title"], "rarity": None} for incident in screen["incidents"]
    }
    inside: dict[float, list[dict[str, Any]]] = {}
    for row in rows:
        if row["nested"]:
            head = max((top for top in heads if top <= row["top"]), default=-math.inf)
            inside.setdefault(head, []).append(row)
    for members in inside.values():
        yield from _falls(members, "inside an incident")
    alone = {row["top"]: row for row in rows if not row["nested"]}
    yield from _falls([entry for _, entry in sorted((alone | heads).items())], "list")
    for row in rows:
        if row["symbol"] and row["name"] and not row["symbol"].startswith(row["name"]):
            yield Violation("rows", row["symbol"], f"is called {row['name']}")
        if row["once"] and not row["rarity"]:
            yield Violation("rarity", row["symbol"], f"“{row['once']}” of {row['rarity'] or 'unknown'} days")
        surge = {"VOLUME": "volume ", "VOLATILITY": "range "}.get(row["method"], "")
        if row["once"] and not re.match(f"{surge}(once|several)", row["once"]):
            yield Violation("rarity", row["symbol"], f"“{row['once']}” of a {row['method']} beside {row['change']}")


def _falls(rows: Sequence[dict[str, Any]], where: str) -> Iterator[Violation]:
    def gravity(row: dict[str, Any]) -> tuple[bool, int, float]:
        severity = row["severity"]
        rank = _SEVERITIES.index(severity) if severity in _SEVERITIES else -1
        return not row["closed"], rank, float(row["rarity"]) if row["rarity"] else -1.0

    for before, after in pairwise(rows):
        if gravity(before) < gravity(after):
            said = " before ".join(
                f"{row['symbol']} ({row['severity']}, {row['rarity'] or 'unknown'} days{', closed' * row['closed']})"
                for row in (before, after)
            )
            yield Violation("order", where, said)


def tokens(screen: Screen) -> Iterator[Violation]:
    """No NaN, Infinity, undefined or null in a text or a shape."""
    for said in screen["bad"]:
        yield Violation("token", "page", said)


def clocks(screen: Screen) -> Iterator[Violation]:
    """A time without a date is of the replay's own day, none is of the future, and what is called now is."""
    now = market_time(screen)
    if now is None:
        yield Violation("time", "source", f"the replay's clock is missing: “{screen['source']}”")
        return
    for text in screen["clocks"]:
        for match in _CLOCK.finditer(text["text"]):
            head = text["text"][max(0, match.start() - 14) : match.start()]
            at = moment(head + match[0], now)
            if at and at > now:
                yield Violation("time", text["kind"], f"at {now:%d %b %H:%M} it says “{text['text'][:120]}”")
    for place in ("now", "strip"):
        said = screen[place]["text"] if screen[place] else ""
        at = moment(said[:40], now) if said.startswith("Now ") else None
        if at and abs((at - now).total_seconds()) >= 60:
            yield Violation("time", place, f"at {now:%d %b %H:%M:%S} it says “{said[:40]}”")
    # Newest first: what comes after a date, or an earlier time, is not of today unless it says so.
    times = [at for entry in screen["earlier"] if (at := moment(entry["time"], now))]
    for before, after in pairwise(times):
        if after > before:
            yield Violation("time", "earlier anomalies", f"{after:%d %b %H:%M} comes after {before:%d %b %H:%M}")


def ages(screen: Screen) -> Iterator[Violation]:
    """The age of a row is the time since its candle closed, on the replay's clock. A brief one is up to 59 s behind."""
    now = market_time(screen)
    for row in screen["rows"]:
        age, at = _AGE.match(row["age"]), moment(row["time"])
        if not age:
            yield Violation("time", row["symbol"], f"age “{row['age']}”")
        elif now and at and at.year > 1900:
            unit_s = _UNIT_S[age[2]]
            late_s = (now - at).total_seconds() - int(age[1]) * unit_s
            if not -60 < late_s < unit_s + 1:
                yield Violation("time", row["symbol"], f"“{row['age']}” of {row['time']} at {now:%d %b %H:%M:%S}")


def header(screen: Screen) -> Iterator[Violation]:
    """Every control is in the header or in its menu; symbol, change, window and age are never cut off."""
    found = screen["header"]
    if not found:
        yield Violation("header", "page", "there is none")
        return
    for lost in found["lost"]:
        yield Violation("header", lost, "is beyond the edge")
    if "More controls" not in found["controls"]:
        for control in ("Filters", "Layout", "Pause|Resume", "Settings", "Sound"):
            if not any(re.match(control, name) for name in found["controls"]):
                yield Violation("header", control, "is neither in the header nor in a menu")
    for pair in found["crowded"]:
        yield Violation("header", "overlap", pair)
    if screen["overflow"] > 0:
        yield Violation("width", "page", f"{screen['overflow']} px wider than the window")
    for part in screen["strip"]["cut"] if screen["strip"] else ():
        yield Violation("width", "strip", f"{part} is cut off: “{screen['strip']['text']}”")
    for text in screen["beyond"]:
        yield Violation("width", "text", f"“{text}” goes beyond the edge")
    for row in screen["rows"]:
        for what in row["cut"]:
            yield Violation("width", row["symbol"], f"{what} is cut off")
        for pair in row["crowded"]:
            yield Violation("width", row["symbol"], f"overlap: {pair}")
    for what in ("symbol", "age"):
        if any(not row["name" if what == "symbol" else what] for row in screen["rows"]):
            yield Violation("width", "list", f"a row has no {what}")


def places(screen: Screen) -> Iterator[Violation]:
    """One count, wherever it stands."""
    counts = screen["counts"]
    alerts = _alerts_of(counts["heading"])
    if alerts is None:
        return
    for place, text in (("tab", counts["tab"]), ("footer", re.sub(r" open.*", "", counts["footer"]))):
        if text and number(text) != alerts:
            yield Violation("count", place, f"{text}, but the heading says “{counts['heading']}”")
    of_24h = re.search(r"([\d,]+) alerts? in 24 h", counts["footer"])
    listed = sum(not row["age"].endswith("d") for row in screen["rows"] if not row["pinned"])
    if of_24h and int(of_24h[1].replace(",", "")) < listed:
        yield Violation("count", "footer", f"“{of_24h[0]}”, but {listed} rows are younger")
    if counts["toggles"]:
        shown = [number(label) or 0 for label in counts["toggles"]]
        if sum(shown) != alerts:
            yield Violation("count", "severities", f"{sum(shown):.0f}, but the heading says “{counts['heading']}”")


# What the heading says of no open alert: those in the list are over.
_NONE: Final = "none open"


def _alerts_of(heading: str) -> float | None:
    if _NONE in heading:
        return 0.0
    match = re.search(r"([\d,]+)\+? alerts?", heading)
    return float(match[1].replace(",", "")) if match else None


def counted(screen: Screen, counts: Counts) -> Iterator[Violation]:
    """The counts of the heading are those of the server, a few seconds ago at most."""
    heading = screen["counts"]["heading"]
    if not heading:
        return
    match = re.search(r"([\d,]+)\+? symbols?, ([\d,]+)\+? alerts?", heading.replace(_NONE, "0 symbols, 0 alerts"))
    if not match:
        yield Violation("count", "heading", f"unreadable: “{heading}”")
        return
    for what, text, (least, most) in zip(
        ("symbols", "alerts"), match.groups(), (counts.symbols, counts.alerts), strict=True
    ):
        if not least <= int(text.replace(",", "")) <= most:
            said = f"{least}" if least == most else f"{least} to {most}"
            yield Violation("count", "heading", f"“{heading}”, the server: {said} {what}")


RULES: Final[Sequence[Callable[[Screen], Iterator[Violation]]]] = (
    signs,
    colours,
    windows,
    incidents,
    market,
    order,
    tokens,
    header,
    places,
    clocks,
    ages,
)
