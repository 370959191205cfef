"""Sentences that users read are plain English: no private verb, no riddle.

Checked is every string literal of two words or more in the Python code: help texts, log lines, errors, terminal output,
descriptions of metrics and of the API, problems of /status. Docstrings and comments are not; a review reads those.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from django.conf import settings

ROOT: Final = Path(settings.BASE_DIR)
PACKAGES: Final = ("anomaly_site", "alerts", "market", "ingestion", "frontend")

# What is refused → what to write instead.
PRIVATE: Final = {
    r"\b(?:tells?|told|telling)\b": "report, send, state, replay, determine",
    r"\b(?:hears?|heard)\b": "receive",
    r"\btook\b(?! \S+ (?:ms|s|min|seconds|minutes)\b)": "accept, last, need (a duration is fine: took 5 s)",
    r"\b(?:nobody|whoever|somebody)\b": "name who: a client, a publisher, no role",
    r"\bof (?:its|their) own accord\b": "automatically",
    r"\b(?:serves|goes|plays|works) on(?= (?:where|from|with|as)\b|[.,;:]|$)": "stays in use, continues, resumes",
    r"\bmarket plays\b|\bwhat plays\b": "is in use, source of candles",
    r"\bwhat (?:came|comes|there is)\b": "name it: the messages, the candles",
    r"\bis (?:no |not )?(?:to be had|news)\b|\bthere is serves\b": "is unavailable, is not new",
    r"\bcannot be (?:told|said|had)\b": "is unknown, is unavailable",
    r"\bis no (?:symbol|venue|name|number)\b": "is not a …; expected …",
    r"\bthat (?:it|they) (?:has|have) not\b(?! \w)": "that is missing",
    r"\bonce it has\b(?! \w)": "state the condition: if the map is older than …",
    r"\bso (?:many|long)\b(?! (?:as|that)\b)": "name the option: N days, S seconds",
    r"\bsays? so\b|\bwithout a word\b|\bsa(?:ys|id) nothing\b": "state what is reported, sends nothing",
    r"\b(?:made|begun|counted) anew\b": "created again",
}
_PRIVATE: Final = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in PRIVATE.items()]


def _literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of the string literals that are not docstrings. An f-string is one text, with … for each value."""
    pending: list[ast.AST] = [tree]
    while pending:
        match node := pending.pop():
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring
            case ast.JoinedStr():
                yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
                pending += [part for part in node.values if not isinstance(part, ast.Constant)]
            case ast.Constant(value=str(text)):
                yield node.lineno, text
            case _:
                pending += ast.iter_child_nodes(node)


def refused(source: str) -> list[str]:
    """`line: words (instead: …) in the sentence`, for each use of a private verb or riddle."""
    texts = sorted((line, " ".join(text.split())) for line, text in _literals(ast.parse(source)))
    return [
        f"{line}: {found[0]!r} (instead: {instead}) in {text!r}"
        for line, text in texts
        if " " in text
        for pattern, instead in _PRIVATE
        if (found := pattern.search(text))
    ]


FILES: Final = sorted(
    str(path.relative_to(ROOT))
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if not {"migrations", "node_modules"} & set(path.parts)
)


@pytest.mark.parametrize("path", [*FILES, "manage.py"])
def test_sentences_are_plain(path: str) -> None:
    assert refused((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        'logger.warning("The past could not be told: %s", error)',
        'raise CommandError(f"{path}: nobody reads it.")',
        'raise SourceError(\n    f"{name} " "is no venue"\n)',
        'parser.add_argument("--x", help="stop after so long")',
        'help = """\nThe map there is\nserves on.\n"""',
        'yield _gauge("anomalies_sector_map_expired", "1 once it has.", {})',
        'write("a" if some else f"left out of {events} events are {skipped} of symbols that it has not")',
        'problems.append(f"The {source} market plays.")',
        'hints = {404: "Whoever asks gets no answer."}',
        'print("It took the first one")',
    ],
)
def test_a_riddle_is_refused(source: str) -> None:
    assert refused(source)


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """The past is told here."""',
        'logger.info("Replay failed: %s", names["told"])  # nobody reads comments',
        'print(f"It took {seconds:.1f} s")',
        'print("The server serves on port 3001, as long as it has not been stopped")',
        'print("A message that it has not received yet is replayed once it has reconnected")',
    ],
)
def test_plain_english_is_not(source: str) -> None:
    assert refused(source) == []
