"""What the theme's pages lack: contrast of some words, and silence when they are opened from a folder."""

import re
from pathlib import Path
from typing import Any

ICON = Path(__file__).resolve().parents[1] / "_static" / "favicon.svg"
FONT_AHEAD = re.compile(r'\s*<link rel="preload" as="font"[^>]*>')


def _load_no_font_ahead(app: Any, error: Exception | None) -> None:
    """From a folder a browser loads the fonts that a style names, but refuses one that is to be loaded ahead."""
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if FONT_AHEAD.search(text):
            page.write_text(FONT_AHEAD.sub("", text), encoding="utf-8")


def _leave_nothing_to_ask_for(app: Any, config: Any) -> None:
    """The theme complains of a page without a mode, a browser asks the server for an icon that no page names."""
    config.html_context.setdefault("default_mode", "auto")
    config.html_favicon = str(ICON)


def setup(app: Any) -> dict[str, bool]:
    app.connect("config-inited", _leave_nothing_to_ask_for)
    app.connect("build-finished", _load_no_font_ahead)
    return {"parallel_read_safe": True}
