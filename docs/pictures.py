"""Draw the pictures of the README through a headless Chromium: `python docs/pictures.py EVALUATION_HTML`."""  # noqa: INP001

from __future__ import annotations

import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

FOLDER = Path(__file__).parent / "pictures"
#: Pixels of a picture of the evaluation, which shows the beginning of the page.
_EVALUATION = (1100, 735)
_ARCHITECTURE = (1100, 450)
#: A page has few colours, and a palette of them is a third of the size.
_COLOURS = 96
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_STYLE = """
body { margin: 0; padding: 18px 22px; font: 15px/1.35 'DejaVu Sans', sans-serif; color: #1d2b36; background: #fff; }
.row { display: flex; align-items: stretch; margin: 10px 0; }
.box { flex: 1; border: 1.5px solid #33658a; border-radius: 7px; padding: 8px 10px; background: #eef4f8; text-align: center; }
.box small { display: block; color: #51636f; font-size: 12px; margin-top: 2px; }
.plan { background: #fff3d6; border-color: #c98b00; }
.store { background: #e8f3ea; border-color: #3d7a4a; }
.arrow { align-self: center; padding: 0 7px; color: #51636f; font-size: 19px; }
.note { color: #51636f; font-size: 13px; margin: 12px 2px 4px; }
.arrow { width: 20px; text-align: center; }
.between { flex: 1; text-align: center; color: #51636f; font-size: 13px; }
.layers { flex-direction: column; gap: 5px; }
.layers .box { display: flex; justify-content: space-between; padding: 5px 14px; }
"""
#: A box of the way of the data: its kind, title, and what it is.
_Box = tuple[str, str, str]
_LEARNING: tuple[_Box, ...] = (
    ("plan", "params.yaml", "the plan: one file"),
    ("", "sources", "files, queries"),
    ("store", "ledger of rows", "each row once"),
    ("", "feature views", "SQL, point in time"),
    ("", "training set", "rows known by then"),
    ("", "candidates", "fitted, measured"),
)
_ANSWERING: tuple[_Box, ...] = (
    ("", "monitoring", "drift, parity, cohorts"),
    ("store", "prediction log", "before the answer"),
    ("", "service", "BentoML, HTTP"),
    ("store", "online tables", "PostgreSQL"),
    ("store", "releases", "signed bundles"),
    ("", "gate", "is it better?"),
)
_BETWEEN = ("&uarr; a person changes it", "", "", "&darr; materialize", "", "&darr; register")
_LAYERS = (
    ("panthera", "command line"),
    ("serving | monitoring", "answer and log | compare what was served"),
    ("models", "train, evaluate, release"),
    ("feature_repo", "take rows in, build features, Feast's stores"),
    ("core", "plan, settings, PostgreSQL, experiment"),
)


def _row(boxes: tuple[_Box, ...], arrows: tuple[str, ...]) -> str:
    drawn = [
        f"<div class='box {kind}'>{escape(title)}<small>{escape(what)}</small></div>" for kind, title, what in boxes
    ]
    between = [f"<div class='arrow'>{arrow}</div>" for arrow in (*arrows, "")][: len(boxes) - 1]
    return f"<div class='row'>{drawn[0]}{''.join(map(''.join, zip(between, drawn[1:], strict=True)))}</div>"


def architecture() -> str:
    """Return the page of the way of the data and of the layers."""
    layers = "".join(f"<div class='box'>{escape(name)}<small>{escape(what)}</small></div>" for name, what in _LAYERS)
    between = "".join(f"<div class='between'>{words}</div>" for words in _BETWEEN)
    left = "&larr;"
    return (
        f"<!doctype html><meta charset='utf-8'><style>{_STYLE}</style><div class='note'>The way of the data</div>"
        f"{_row(_LEARNING, ('&rarr;',) * 5)}<div class='row'>{between}</div>{_row(_ANSWERING, (left, left, left, '+', left))}"
        f"<div class='note'>Layers: imports go down only</div><div class='row layers'>{layers}</div>"
    )


def draw(page: Path, target: Path, size: tuple[int, int]) -> None:
    """Write the beginning of a page as a picture of `size` pixels."""
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"error: found none of {', '.join(_BROWSERS)}; install one, on Debian the package chromium")
    window = f"--window-size={size[0]},{size[1]}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", window, f"--screenshot={target}"]
    subprocess.run([browser, *flags, page.absolute().as_uri()], check=True, capture_output=True)  # noqa: S603
    Image.open(target).convert("RGB").crop((0, 0, *size)).quantize(_COLOURS).save(target, optimize=True)


def main() -> None:
    """Draw both pictures."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit(
            "usage: python docs/pictures.py EVALUATION_HTML, such as reports/evaluation.html of the demo's project folder"
        )
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "architecture.html"
        page.write_text(architecture())
        draw(page, FOLDER / "architecture.png", _ARCHITECTURE)
    draw(Path(sys.argv[1]), FOLDER / "evaluation.png", _EVALUATION)


if __name__ == "__main__":
    main()
