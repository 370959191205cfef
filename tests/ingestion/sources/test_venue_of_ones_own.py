"""The guide for a venue outside ccxt: its program passes its test, and the analysis takes its message."""

import os
import re
import subprocess
import sys
from pathlib import Path

from market.wire.decoding import decode_batch

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "venues-of-your-own.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_guide_works_as_it_is_written(tmp_path: Path) -> None:
    for language, text in BLOCK.findall(GUIDE.read_text()):
        if language == "json":
            assert decode_batch(text.encode()).symbols == ["BTCUSDT", "ETHUSDT"]
        else:
            (tmp_path / text.split()[1]).write_text(text)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_venue.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-1_000:]
    assert "1 passed" in done.stdout
