"""What the notebooks of the book need and nothing else does."""

from collections.abc import Mapping

from srtlib.runs.published import published_store


def check_parameters(namespace: Mapping[str, object], *known: str) -> None:
    """Refuse a notebook parameter that the notebook does not have (papermill would only warn, then run the defaults).

    Call it right after the parameters cell with `globals()`: any plain value there under another name is a
    parameter that was mistyped.

    >>> check_parameters({"size": "S", "sizee": "M"}, "size")
    Traceback (most recent call last):
    ...
    ValueError: unknown parameter sizee; expected one of size
    """
    plain = (str, int, float, bool, list, dict, tuple, type(None))
    interactive = {"In", "Out"}
    unknown = [
        name
        for name, value in namespace.items()
        if type(value) in plain and name not in known and name not in interactive and not name.startswith("_")
    ]
    if unknown:
        raise ValueError(f"unknown parameter {', '.join(unknown)}; expected one of {', '.join(known)}")


def skip_cells_without(runs: str) -> None:
    """In a notebook about the published runs: where they cannot be had, say why and let no later cell run.

    Does nothing if `runs` is not "published": a path that is not there is an error, not a reason to skip.
    """
    try:
        if runs == "published":
            published_store()
    except FileNotFoundError as error:
        from IPython.core.getipython import get_ipython

        if (shell := get_ipython()) is None:
            raise
        print(f"Skipped: {error}")
        shell.input_transformers_cleanup.insert(0, lambda lines: [])
