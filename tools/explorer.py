"""Write the page of `losskit explore`: put its parts together and let a browser draw the first state of every exhibit into it.

Without arguments it writes the shipped file; with --check it fails where the shipped file is not what the parts give; with
--record NAME it first runs the experiments behind src/losskit/explore/page/recorded/NAME.json again (minutes).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import losskit
from losskit.explore.page import SHIPPED, put_together

RECORDED = SHIPPED.parent / "recorded"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=5000"
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def browser() -> str:
    """The chromium of this machine."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        sys.exit("no chromium is installed; on Debian: apt install chromium")
    return found


def drawn(page: str) -> str:
    """The page after its scripts have run once, ready to run them again."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(page, encoding="utf-8")
        command = [browser(), *FLAGS.split(), f"--user-data-dir={folder}/profile", "--dump-dom", source.as_uri()]
        dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    # what the scripts say about themselves is theirs to say again
    return re.sub(r'<html([^>]*?) class="js" data-theme="\w+"', r"<html\1", dumped, count=1).rstrip() + "\n"


def same(one: str, other: str) -> bool:
    """Equal, but for the last digits of numbers, which another build of the browser may round otherwise."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(a == b or abs(float(a) - float(b)) <= 1e-9 * max(1.0, abs(float(a))) for a, b in pairs)


def main() -> int:
    """Record, write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", nargs="*", default=[], metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.record:
        values = import_module(f"explorer_recorded.{name}").record()
        (RECORDED / f"{name}.json").write_text(json.dumps(values, separators=(",", ":")) + "\n", encoding="utf-8")
    page = drawn(put_together(losskit.__version__))
    if arguments.check:
        fresh = SHIPPED.exists() and same(SHIPPED.read_text(encoding="utf-8"), page)
        print("the explorer is what its parts give" if fresh else "the explorer is stale: run tools/explorer.py")
        return 0 if fresh else 1
    SHIPPED.write_text(page, encoding="utf-8")
    print(f"{SHIPPED.name}: {len(page.encode()) / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
