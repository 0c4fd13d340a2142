"""Tables from CSV, TSV, JSON lines and Parquet files, gzipped or not, as they are written: nothing is guessed.

Every cell of a CSV file is text in one fixed dialect (quoted by ", a quote within doubled), and so is every number of a
JSON file, digit by digit. An empty cell is missing; NA and null are words.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from srtlib.data.engines.lines import unpacked

LONGEST_ROW = 16 << 20  # bytes
LARGEST_ARRAY = 256 << 20  # characters of a JSON file that is one array
SEPARATORS = ",;\t|"


def read_table(path: Path | str, encoding: str = "utf-8") -> pd.DataFrame:
    """A table of interactions or items from a file whose name ends in .csv, .tsv, .json, .jsonl or .parquet, or in
    that and .gz, in whatever case.

    Args:
        path: of the file; gzip inside gzip is unpacked too.
        encoding: of a text file, as Python names it.

    Returns:
        A row per row of the file. Columns of CSV and TSV files are text; those of JSON files hold text, lists, dicts
        and booleans; those of Parquet files have the file's types, integers beside missing ones whole.

    Raises FileNotFoundError, and ValueError, naming the file and the line, for what cannot be read and for a packed
    file that unpacks to more than text does.
    """
    table, _ = read_columns(Path(path), None, encoding)
    table.attrs["source"] = str(path)  # for the errors of those who read it
    return table


def read_columns(path: Path, wanted: Collection[str] | None, encoding: str = "utf-8") -> tuple[pd.DataFrame, list[str]]:
    """`read_table`, holding only the columns that are wanted; and the names of all that there are.

    Args:
        path: of the file.
        wanted: names of columns, some of which may be absent; None stands for all.
        encoding: of a text file.

    Raises what `read_table` does.
    """
    require_file(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in READERS:
        raise ValueError(f"{path.name} is of no known kind; expected {', '.join(READERS)}, or the same with .gz")
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # base64 and its like make no text
    except (LookupError, UnicodeError):
        raise ValueError(f"encoding {encoding!r} is not known; expected a name such as utf-8 or latin-1") from None
    try:
        table, names = READERS[suffix](path, wanted, codec)
    except UnicodeError:
        raise ValueError(_undecodable(path, codec)) from None
    except OSError as error:
        raise ValueError(f"{path} is damaged or cut short: {_line(error)}; expected a whole file") from None
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: column {twice[0]!r} is there twice; expected one of each name")
    return table, names


def require_file(path: Path) -> None:
    """Raise FileNotFoundError where nothing is there, IsADirectoryError where a folder is.

    Args:
        path: of the file.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; expected a file")


# ---- CSV ------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, wanted: Collection[str] | None, codec: str) -> tuple[pd.DataFrame, list[str]]:
    separator, names = _header(path, codec)
    if sum(map(len, names)) > LONGEST_ROW // 2:
        raise ValueError(f"{path}: line 1 is longer than {LONGEST_ROW >> 20} MB; expected names of columns")
    if not names:
        raise ValueError(f"{path} is empty; expected a line of column names and a row for each line after it")
    kept = [name for name in names if wanted is None or name in wanted]
    with unpacked(path) as stream:
        try:
            table = pacsv.read_csv(
                stream,
                pacsv.ReadOptions(
                    use_threads=False, block_size=LONGEST_ROW, encoding="utf8" if codec == "utf-8" else codec
                ),
                pacsv.ParseOptions(delimiter=separator, newlines_in_values=True),
                pacsv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    include_columns=kept or names[:1],
                ),
            )
        except pa.ArrowInvalid as error:
            raise ValueError(_complaint(path, codec, separator, len(names), str(error))) from None
    # The reader takes a quote that never ends for one that ends with the file.
    if _has_odd_quotes(path) and (fault := _first_fault(path, codec, separator, len(names))) and "not end" in fault:
        raise ValueError(fault)
    return table.to_pandas(), names


def _header(path: Path, codec: str) -> tuple[str, list[str]]:
    """What separates the columns, and their names: a tab in .tsv, else of , ; tab and | the first that stands there."""
    with _text(path, codec) as stream:
        first = stream.readline(LONGEST_ROW)
        while first and not first.strip():
            first = stream.readline(LONGEST_ROW)
        known = "\t" if ".tsv" in path.name.lower() else SEPARATORS
        separator = next((separator for separator in known if separator in first), known[0])
        return separator, next(_records(first, stream, separator), [])


def _records(first: str, stream: io.TextIOBase, separator: str) -> Any:
    """A reader of the rows that begin with the line `first`."""

    def lines() -> Iterator[str]:
        yield first
        while line := stream.readline(LONGEST_ROW):
            yield line

    return csv.reader(lines(), delimiter=separator, strict=True)


def _complaint(path: Path, codec: str, separator: str, width: int, error: str) -> str:
    """What is wrong with a CSV file and where, once it could not be read."""
    if "UTF8" in error:
        return _undecodable(path, codec)
    if "straddling" in error:
        return f"{path}: a row is longer than {LONGEST_ROW >> 20} MB; expected a line for each row, and quotes that end"
    fault = _first_fault(path, codec, separator, width)
    return fault or f"{path} cannot be read as CSV: {_line(error)}"


def _first_fault(path: Path, codec: str, separator: str, width: int) -> str | None:
    """The first row of a CSV file that is not as it should be."""
    with _text(path, codec) as stream:
        records, line = _records(stream.readline(LONGEST_ROW), stream, separator), 1
        try:
            for record in records:
                if record and len(record) != width:
                    return f"{path}: line {line}: {len(record)} fields; expected {width}, as in the first line"
                line = records.line_num + 1
        except csv.Error as error:
            fault = "a quote that begins there does not end" if "end of data" in str(error) else str(error)
            return f"{path}: line {line}: {fault}; expected quotes around a field, doubled within it"
    return None


def _has_odd_quotes(path: Path) -> bool:
    count = 0
    with unpacked(path) as stream:
        while block := stream.read(LONGEST_ROW):
            count += block.count(b'"')
    return count % 2 == 1


# ---- JSON -----------------------------------------------------------------------------------------------------------


def _read_json(path: Path, wanted: Collection[str] | None, codec: str) -> tuple[pd.DataFrame, list[str]]:
    names: dict[str, None] = {}
    columns: dict[str, list[Any]] = {}
    n_rows = 0
    with _text(path, codec) as stream:
        for row in _objects(path, stream):
            names |= dict.fromkeys(row)
            for name, value in row.items():
                if wanted is None or name in wanted:
                    column = columns.setdefault(name, [])
                    column += [None] * (n_rows - len(column))
                    column.append(value)
            n_rows += 1
    if not n_rows:
        raise ValueError(f"{path} is empty; expected a JSON object on each line")
    table = {
        name: pd.Series([*column, *[None] * (n_rows - len(column))], dtype=object) for name, column in columns.items()
    }
    return pd.DataFrame(table, index=range(n_rows)), list(names)


def _objects(path: Path, stream: io.TextIOBase) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, or of one array."""
    number = 0
    while line := stream.readline(LONGEST_ROW):
        number += 1
        if number == 1 and line.lstrip().startswith("["):
            text = line + stream.read(LARGEST_ARRAY)
            if len(text) >= LARGEST_ARRAY:
                raise ValueError(f"{path}: an array of {LARGEST_ARRAY >> 20} MB; expected an object on each line")
            for place, value in enumerate(_decoded(text, path, 1), 1):
                yield _checked(value, f"{path}: object {place}")
            return
        if len(line) == LONGEST_ROW:
            raise ValueError(
                f"{path}: line {number} is longer than {LONGEST_ROW >> 20} MB; expected an object on each line"
            )
        if line.strip():
            yield _checked(_decoded(line, path, number), f"{path}: line {number}")


class _TwiceError(Exception):
    """A name that stands twice in an object."""


def _decoded(text: str, path: Path, line: int) -> Any:
    """The value of a JSON text that begins on a line of a file: numbers as they are written, NaN as None."""
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"{path}: line {line + error.lineno - 1}, character {error.colno}"
        raise ValueError(f"{where}: no JSON ({error.msg}); expected an object on each line") from None
    except RecursionError:
        raise ValueError(f"{path}: line {line}: nested too deeply; expected an object of names and values") from None
    except _TwiceError as error:
        raise ValueError(
            f"{path}: line {line}: {error} is there twice in an object; expected one of each name"
        ) from None


def _checked(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {str(value)[:40]!r} is no JSON object; expected names and values in braces")
    return value


def _of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(repr(twice))
    return found


DECODER = json.JSONDecoder(
    object_pairs_hook=_of_pairs,
    parse_float=str,
    parse_int=str,
    parse_constant=lambda name: None if name == "NaN" else name,
)


# ---- Parquet, and what all have in common ---------------------------------------------------------------------------


def _read_parquet(path: Path, wanted: Collection[str] | None, _: str) -> tuple[pd.DataFrame, list[str]]:
    with unpacked(path) as stream:
        source = stream if stream.seekable() else pa.BufferReader(stream.read())
        try:
            file = pq.ParquetFile(source)
            names = file.schema_arrow.names
            table = file.read(None if wanted is None else [name for name in names if name in wanted])
            whole = {type_: pd.ArrowDtype(type_) for type_ in table.schema.types if pa.types.is_integer(type_)}
            # Its metadata may be damaged, too, and pandas reads them though it is told not to.
            return table.replace_schema_metadata().to_pandas(types_mapper=whole.get, ignore_metadata=True), names
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read as Parquet: {_line(error)}; expected a whole file") from None


@contextmanager
def _text(path: Path, codec: str) -> Iterator[io.TextIOWrapper]:
    """The text of a file, without a byte-order mark."""
    with unpacked(path) as stream, io.TextIOWrapper(stream, "utf-8-sig" if codec == "utf-8" else codec) as text:
        yield text


def _undecodable(path: Path, codec: str) -> str:
    """Where a file is not in its encoding."""
    decoder, line = codecs.getincrementaldecoder(codec)(), 1
    with unpacked(path) as stream:
        try:
            while block := stream.read(LONGEST_ROW):
                line += decoder.decode(block).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
        except UnicodeError:  # some codecs do not say where
            pass
    return f"{path}: line {line} is not {codec}; expected that encoding, or the name of another (--encoding latin-1)"


def _line(error: Exception | str) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


READERS: dict[str, Callable[[Path, Collection[str] | None, str], tuple[pd.DataFrame, list[str]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
}
