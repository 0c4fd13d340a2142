"""Pages of the library reference: book/api/<wing>.md gets a section for every module of its wing."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECTION = """
## {name}

```{{eval-rst}}
.. automodule:: {name}
   :members:
```
"""
SHORT = [  # what types of numpy stand for, written out -> their names
    (r"[~\w.]*_?Buffer \| [~\w.]*_SupportsArray.*?complex \| bytes \| str\]", "ArrayLike"),
    (r"([~\w.]*ndarray)\[tuple\[[~\w.]*Any, \.\.\.\], [~\w.]*dtype\[([~\w.]+)\]\]", r"\1[\2]"),
]


def modules(wing: str) -> list[str]:
    """The public modules of srtlib/<wing>/, or for "core" those at the top of srtlib/."""
    folder = ROOT / "srtlib" / ("" if wing == "core" else wing)
    paths = folder.glob("*.py") if wing == "core" else folder.rglob("*.py")
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if not path.name.startswith("_")
    )


def _add_sections(app: Any, page: str, source: list[str]) -> None:
    if page.startswith("book/api/"):
        source[0] += "".join(SECTION.format(name=name) for name in modules(page.rpartition("/")[2]))


def _is_field_of_a_tuple(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    return True if str(getattr(value, "__doc__", "")).startswith("Alias for field number") else None


def _shorten(app: Any, what: str, name: str, value: Any, options: Any, arguments: str, result: str) -> tuple[str, str]:
    for pattern, short in SHORT:
        arguments, result = (re.sub(pattern, short, text) if text else text for text in (arguments, result))
    return arguments, result


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", _add_sections)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _is_field_of_a_tuple)
    return {"parallel_read_safe": True}
