"""Our own charts as PNG, for messages: no style sheet of a page, no font of the system."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 320
# For screens with more than one dot to a pixel.
ZOOM: Final = 1.5
_NICE: Final = 10
_MOST_CHARACTERS: Final = 500_000
_FONT: Final = str(Path(__file__).parent / "fonts" / "DejaVuSans-figures.ttf")
_START: Final = "<svg "
# The colours of `static/market/pages.css` on a dark ground.
_STYLE: Final = """
svg { fill: none; font-family: "DejaVu Sans"; font-size: 12px; }
.close { stroke: #e7ebf1; stroke-width: 1.5; }
.expected { stroke: #8a96a7; stroke-dasharray: 3 3; }
.grid { stroke: #323b4a; }
.band { fill: #63b3ff; fill-opacity: 0.18; }
.event { fill: #d68cff; fill-opacity: 0.14; }
.opened { stroke: #d68cff; stroke-dasharray: 4 3; }
circle { fill: #e7ebf1; }
text { fill: #adb7c5; }
"""


def png(svg: str) -> bytes:
    """Draw a chart that `market.charts` made for `WIDTH` and `HEIGHT`; nothing else may be drawn.

    It takes some milliseconds and holds the interpreter, so it belongs into a thread. Raises `ValueError` for what is
    no such chart, or cannot be drawn.
    """
    if not svg.startswith(_START) or len(svg) > _MOST_CHARACTERS or f'viewBox="0 0 {WIDTH} {HEIGHT}"' not in svg[:500]:
        raise ValueError("This is not a chart of that size.")
    from resvg_py import svg_to_bytes

    named = f'{_START}xmlns="http://www.w3.org/2000/svg" {svg.removeprefix(_START)}'
    return bytes(
        svg_to_bytes(
            svg_string=named,
            background="#10141b",
            zoom=ZOOM,
            style_sheet=_STYLE,
            skip_system_fonts=True,
            font_files=[_FONT],
            font_family="DejaVu Sans",
        )
    )


def give_way() -> None:
    """For a process that draws and nothing else: others go first, and it ends with its parent, not by the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE)
