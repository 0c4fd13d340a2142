"""What the notebooks of the book need and nothing else does."""

import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd

from srtlib.data.reading import require_file
from srtlib.figures.style import LABELS, short, words
from srtlib.laws.machines import in_words
from srtlib.paths import project_root

CONDITIONS = ("machine", "threads", "load", "python", "torch", "commit", "date")
HEADINGS = {
    **{name: text.replace("training compute", "compute").removesuffix(", all items") for name, text in LABELS.items()},
    "C": "compute [FLOP]",
    "compile": "compiled",
    "copy_bytes_per_s": "copying [byte/s]",
    "cuda": "CUDA",
    "d_ff": "feed-forward width",
    "catalogue_bytes": "its arrays [byte]",
    "cpu_s": "processor time [s]",
    "ewc_lambda": "EWC λ",
    "extrapolated": "flagged",
    "flops_paper": "the paper's count [FLOP]",
    "flops_per_step": "FLOP per step",
    "hours": "time",
    "hr@10": "HR@10",
    "test_hr@10": "test HR@10",
    "test_hr@5": "test HR@5",
    "test_unseen_hr@10": "test HR@10, new items",
    "item_popularity_p50": "popularity, median",
    "metadata_not_json": "metadata that is not JSON",
    "n_items": "items",
    "n_users": "users",
    "params_non_embedding": "without embeddings",
    "ndcg": "NDCG",
    "ndcg@5": "NDCG@5",
    "ndcg@10": "NDCG@10",
    "peak_bytes": "peak memory [byte]",
    "numpy": "NumPy",
    "peers_numpy": "their NumPy",
    "peers_torch": "their PyTorch",
    "popularity_ndcg@10": "NDCG@10 of the most popular",
    "pretraining_epochs": "epochs of pre-training",
    "python": "Python",
    "recbole": "RecBole",
    "rectools": "RecTools",
    "rmse": "RMSE",
    "rmse_held_out": "RMSE, held out",
    "sequence_length_max": "longest sequence",
    "sequence_length_p50": "sequence, median",
    "srtlib_cpu_s": "srtlib's time [s]",
    "source_valid_ndcg@10": "the source's validation NDCG@10",
    "matmul_flops_per_s": "its best product [FLOP/s]",
    "targets_per_s": "targets/s",
    "torch": "PyTorch",
}
UNBOUNDED = "no bound"
COUNTS = {"params", "N", "D", "more", "tokens", "bytes", "peak", "catalogue"}
NAMES = {  # columns of names that a program gave
    "approach", "at_bound", "at_the_edge", "benchmark", "cost", "data", "dataset", "encoder", "estimator", "form",
    "law", "method", "metric", "parameter", "set", "source", "starts_from", "statistic", "target", "variation",
}  # fmt: skip


class Readable(pd.DataFrame):
    """A table of texts, as `readable` makes it; its HTML says which columns hold words: these keep left."""

    def _repr_html_(self) -> str:
        """The class `words-i` stands for the i-th column, that of the rows' names being the first.

        >>> "dataframe words-2" in Readable({"title": ["MUG"], "low": ["no bound"]}, index=["12349"])._repr_html_()
        True
        """
        columns = [self.iloc[:, i].tolist() for i in range(self.shape[1])]
        return self.to_html(classes=[f"words-{i}" for i, texts in enumerate(columns, start=2) if _are_words(texts)])


def _are_words(texts: Sequence[str]) -> bool:
    return any(text[:1].isalpha() for text in texts if text != UNBOUNDED)


def readable(table: pd.DataFrame, level: str = "", percent: Sequence[str] = ()) -> Readable:
    """A table for readers: words for the names of columns, numbers to three digits, the first column in bold.

    Args:
        table: what to show. Integers are shown whole, but numbers of parameters and bytes and the counts that a law
            predicts, N and D, as people write them; truth values as yes or no; low and high in one column, as an
            interval. Columns of empty texts are left out.
        level: what to call the numbers of a pivot table.
        percent: columns of shares.

    Returns:
        A table of texts; a running index gives way to the first column.

    >>> readable(pd.DataFrame({"d_model": [64], "valid_ndcg@5": [0.04], "flops": [4.130552e17], "at_bound": [True]}))
    width validation NDCG@5 compute [FLOP] at bound
    64               0.0400    4.13 × 10¹⁷      yes
    """
    if table.index.name is None and pd.api.types.is_integer_dtype(table.index):
        table = table.set_index(table.columns[0])
    columns = {name: [_text(value, str(name), name in percent) for value in table[name]] for name in table}
    index = [_text(value, str(table.index.name)) for value in table.index]
    shown = pd.DataFrame(columns, index=pd.Index(index, name=_words(table.index.name)))
    if table.columns.name is None:
        shown = _with_intervals(shown).rename(columns=_words)
        shown.columns.name, shown.index.name = shown.index.name, None
        return Readable(shown.loc[:, (shown != "").any()])
    names = [_words(name) if isinstance(name, str) else _heading(name) for name in table.columns]
    return Readable(shown.set_axis(pd.Index(names, name=_words(level or table.columns.name)), axis=1))


def _heading(number: object) -> str:
    return f"{number:,g}" if isinstance(number, float) else _text(number, "")


def without_shared(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """A table without the columns in which all of its rows agree, and what these say.

    >>> without_shared(pd.DataFrame({"system": ["a", "b"], "repeats": [3, 3]}))[0]
    'in every row: repeats 3'
    """
    shared = table.columns[(table.astype(str).nunique() == 1) & (len(table) > 1)]
    said = ", ".join(f"{_words(name)} {_text(table[name].iloc[0], name)}" for name in shared)
    return f"in every row: {said}", table.drop(columns=shared)


def _with_intervals(shown: pd.DataFrame) -> pd.DataFrame:
    """Two columns of bounds as one."""
    for name in [str(column).removesuffix("low") for column in shown if str(column).endswith("low")]:
        if f"{name}high" in shown:
            low, high = shown[f"{name}low"], shown.pop(f"{name}high")
            shown[f"{name}low"] = [f"{a} to {b}" if a != "–" else a for a, b in zip(low, high, strict=True)]
            shown = shown.rename(columns={f"{name}low": f"{_words(name[:-1])}, interval".removeprefix(", ")})
    return shown


def _words(name: object) -> str:
    return "" if name is None else HEADINGS.get(str(name), words(str(name)))


def _text(value: object, column: str, percent: bool = False) -> str:
    """One cell.

    >>> _text(0.043, "hours"), _text(3e-7, "N_low"), _text("amazon_beauty_2014", "set"), _text(-1e-5, "effect", True)
    ('2.58 minutes', '< 1', 'beauty 2014', '0.0%')
    >>> [_text(v, "x") for v in (-0.123456, 12345, 1.5e-9, float("inf"), float("nan"), 0.0, None)]
    ['−0.123', '12,345', '1.50 × 10⁻⁹', 'no bound', '–', '0', '–']
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, pd.Timestamp):
        return value.date().isoformat()
    if not isinstance(value, int | float | np.number):
        return ", ".join(map(_words, str(value).split(", "))) if column in NAMES else str(value)
    if column == "hours":
        return in_words(float(value))
    if percent:
        written = f"{100 * value:.3g}%" if column == "share" else f"{value:.1%}".replace("-0.0%", "0.0%")
    else:
        written = _number(float(value), isinstance(value, int | np.integer), column)
    return written.replace("-", "\N{MINUS SIGN}")


def _number(number: float, whole: bool, column: str) -> str:
    if np.isinf(number):
        return UNBOUNDED
    if column.split("_")[0] in COUNTS and 0 < number < 1e15:
        return short(number) if number >= 1 else "< 1"
    if (whole and abs(number) < 1e9) or number == 0:
        return f"{number:,.0f}"
    if 1e-4 <= abs(number) < 1e7:
        return f"{float(f'{number:.3g}'):,.0f}" if abs(number) >= 100 else f"{number:#.3g}"
    return scientific(number)


def scientific(number: float) -> str:
    """Three digits and a power of ten, as tables have them.

    >>> scientific(3.7131e11)
    '3.71 × 10¹¹'
    """
    mantissa, power = f"{number:.2e}".split("e")
    return f"{mantissa} × 10{str(int(power)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def checks(claims: Mapping[str, object]) -> str:
    """Which claims hold, a line each.

    Args:
        claims: a truth value for each.

    >>> print(checks({"NDCG@5 grows with data": True, "depth helps": False}))
    Holds: NDCG@5 grows with data.
    Does not hold: depth helps.
    """
    return "\n".join(f"{'Holds' if holds else 'Does not hold'}: {claim}." for claim, holds in claims.items())


def check_parameters(namespace: Mapping[str, object], *known: str) -> None:
    """Refuse a notebook parameter that the notebook does not have (papermill would only warn, then run the defaults).

    Args:
        namespace: `globals()`, right after the parameters cell: any plain value there is a parameter.
        known: the parameters that the notebook has.

    Raises ValueError that names those that are mistyped.

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


def own_tables(interactions: str, items: str) -> tuple[Path, Path]:
    """The two files that a reader names, of interactions and of items; those of `online_retail` where none is named.

    Args:
        interactions: a path, or nothing.
        items: a path, or nothing.

    Raises ValueError where one of the two is missing, OSError where a file is not there.

    >>> own_tables("mine.csv", "")
    Traceback (most recent call last):
    ...
    ValueError: interactions is 'mine.csv' and items is ''; expected both files, or neither for an example
    """
    if not interactions and not items:
        example = project_root() / "datasets" / "online_retail"
        return example / "interactions.parquet", example / "items.parquet"
    if not interactions or not items:
        both = "expected both files, or neither for an example"
        raise ValueError(f"interactions is {interactions!r} and items is {items!r}; {both}")
    tables = Path(interactions), Path(items)
    for path in tables:
        require_file(path)
    return tables


def benchmark(name: str, folder: str | Path = "", what: str = "") -> pd.DataFrame:
    """What a benchmark recorded, without the conditions that its rows share.

    Args:
        name: of benchmarks/`name`.py.
        folder: of the JSON lines; default: benchmarks/results.
        what: the kind of rows, where it records several, which their column `what` names; default: all.

    Returns:
        One row per measurement; where nothing is recorded, the table says how to.

    >>> benchmark("nonsense").iloc[0, 0]
    'python benchmarks/nonsense.py records it'
    """
    path = _recorded(name, folder)
    if not path.is_file():
        return pd.DataFrame({"not measured yet": [f"python benchmarks/{name}.py records it"]})
    shared = [*CONDITIONS, "what"] if what else [*CONDITIONS]
    return _read(path, what).drop(columns=shared, errors="ignore")


def conditions(names: Sequence[str], folder: str | Path = "") -> pd.DataFrame:
    """Machine, threads, load, versions, commit and date of benchmarks.

    Args:
        names: as for `benchmark`.
        folder: as for `benchmark`.

    Returns:
        One row per benchmark that is recorded; columns: `CONDITIONS`.
    """
    paths = {name: _recorded(name, folder) for name in names}
    rows = {name: _read(path).iloc[0] for name, path in paths.items() if path.is_file()}
    return pd.DataFrame(rows).T.reindex(columns=[*CONDITIONS]).rename_axis("benchmark")


def _read(path: Path, what: str = "") -> pd.DataFrame:
    lines = [line for line in path.read_text().splitlines() if not what or json.loads(line)["what"] == what]
    text = dict.fromkeys(("machine", "python", "torch", "numpy", "cuda", "commit"), "str")  # 5544499, and 3.10 no 3.1
    return pd.read_json(StringIO("\n".join(lines)), lines=True, dtype={**text, "load": "float"})


def _recorded(name: str, folder: str | Path) -> Path:
    return Path(folder or project_root() / "benchmarks" / "results") / f"{name}.jsonl"
