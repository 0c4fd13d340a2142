"""Pages of the library reference. A block of a page names a package, and some of its modules or, by none, all that no
other block names:

:::{modules} srtlib.laws
frontiers planner
:::

It becomes a table of the names that the package offers from them (its `__init__.pyi`), and a section for each.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^:::\{modules\} (\S+)\n(.*?)^:::$", flags=re.MULTILINE | re.DOTALL)
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


def modules(package: str, chosen: str) -> list[str]:
    """The modules that a block stands for.

    Args:
        package: its dotted name.
        chosen: their names, or nothing.
    """
    folder = ROOT / package.replace(".", "/")
    public = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    elsewhere = {name for other, named in blocks() if other == package for name in named.split()}
    return [f"{package}.{name}" for name in chosen.split() or public if name not in elsewhere or chosen]


def blocks() -> list[tuple[str, str]]:
    """Package and names of modules of every block of every page."""
    pages = sorted((ROOT / "book" / "api").glob("*.md"))
    return [found for page in pages for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def public_names(package: str) -> dict[str, str]:
    """Name -> module, of what a package offers besides modules.

    Args:
        package: its dotted name.
    """
    stub = ROOT / package.replace(".", "/") / "__init__.pyi"
    imports = [node for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    found = {alias.name: f"{package}.{node.module}" for node in imports if node.module for alias in node.names}
    return {
        name: module for name, module in found.items() if (ROOT / module.replace(".", "/")).with_suffix(".py").exists()
    }


def summary(module: str, name: str) -> str:
    """The first sentence of what is written about a name; nothing if it has no entry in the reference.

    Args:
        module: that it stands in.
        name: of a function, a class or a value.
    """
    analyzer = ModuleAnalyzer.for_module(module)
    values = {name: " ".join(lines) for (_, name), lines in analyzer.find_attr_docs().items()}
    body = ast.parse(analyzer.code).body
    named = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name]
    written = ast.get_docstring(named[-1]) if named else values.get(name)
    return re.split(r"\.\s", " ".join((written or "").split("\n\n")[0].split()))[0].rstrip(".:;")


def _section(block: re.Match[str]) -> str:
    package, shown = block[1], modules(block[1], block[2])
    offered = {name: module for name, module in public_names(package).items() if module in shown or not block[2]}
    rows = [
        f"| {{py:obj}}`{name} <{module}.{name}>` | {summary(module, name).replace('|', chr(92) + '|')} |"
        for name, module in sorted(offered.items())
    ]
    table = ["", f"| `from {package} import` | |", "|---|---|", *rows, ""] if rows else []
    return "\n".join(table) + "".join(SECTION.format(name=name) for name in shown)


def _expand(app: Any, page: str, source: list[str]) -> None:
    if page.startswith("book/api/"):
        source[0] = BLOCK.sub(_section, source[0])


def _keep_entries_short(app: Any, config: Any) -> None:
    config.add_module_names = False  # an entry stands below its module's name
    config.html_domain_indices = False  # the pages are the list of modules
    config.napoleon_use_rtype = False  # what comes before a colon in a section Returns is no type here


def _is_field_of_a_tuple(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    return True if str(getattr(value, "__doc__", "")).startswith("Alias for field number") else None


def _shorten(app: Any, what: str, name: str, value: Any, options: Any, arguments: str, result: str) -> tuple[str, str]:
    if fields := getattr(value, "model_fields", None):
        return f"(*, {', '.join(_field(*field) for field in fields.items())})", result
    for pattern, short in SHORT:
        arguments, result = (re.sub(pattern, short, text) if text else text for text in (arguments, result))
    return arguments, result


def _field(name: str, field: Any) -> str:
    """A field of a model of pydantic, without what its value is checked for."""
    of = re.sub(r"[\w.]*Annotated\[(\w+), \w+\(.*?\)\]", r"\1", inspect.formatannotation(field.annotation))
    default = repr(field.default)
    return f"{name}: {of}" + ("" if field.is_required() else f" = {default if len(default) < 40 else '...'}")


def setup(app: Any) -> dict[str, bool]:
    app.connect("config-inited", _keep_entries_short)
    app.connect("source-read", _expand)
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _is_field_of_a_tuple)
    return {"parallel_read_safe": True}
