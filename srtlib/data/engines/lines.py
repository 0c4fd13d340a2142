"""Lines of gzipped text and their numbers, as a stream that an engine reads in bounded memory, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

SCHEMA = pa.schema({"number": pa.int64(), "line": pa.string()})
BLOCK = 8 << 20  # bytes read at a time
GZIP = b"\x1f\x8b"


def numbered_lines(path: Path) -> pa.RecordBatchReader:
    r"""The lines of a gzipped text file that are not blank, and their numbers from 1, in batches of about 8 MB.

    Gzip inside gzip is unpacked as often as needed; a file that is not gzipped is read as it is. Windows line ends are
    taken off, and bytes that are not UTF-8 become U+FFFD. While it is read, the stream raises ValueError for a file
    that is damaged or cut short.

    >>> import gzip, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "two.gz"
    ...     _ = path.write_bytes(gzip.compress(b"first\r\n\r\nthird\r\n"))
    ...     numbered_lines(path).read_all().to_pylist()
    [{'number': 1, 'line': 'first'}, {'number': 3, 'line': 'third'}]
    """
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(path))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    number = 1
    for block in _blocks(path):
        lines = pa.array(
            block.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\r").split("\n"), pa.string()
        )
        numbers = pa.array(np.arange(number, number + len(lines)))
        number += len(lines)
        batch = pa.record_batch([numbers, lines], schema=SCHEMA)
        yield batch.filter(pc.not_equal(pc.utf8_trim_whitespace(lines), ""))


def _blocks(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines, without the last line's end."""
    rest = b""
    try:
        with pa.OSFile(str(path)) as raw, _bar(path) as bar:
            stream = _unpacked(raw, _layers(path))
            while block := stream.read(BLOCK):
                bar.update(raw.tell() - bar.n)
                block, end, rest = (rest + block).rpartition(b"\n")
                if end:
                    yield block
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}; expected a whole gzip file") from None
    if rest:
        yield rest


def unpacked(path: Path) -> pa.NativeFile:
    """The bytes of a file, unpacked as often as it is gzipped."""
    return _unpacked(pa.OSFile(str(path)), _layers(path))


def _layers(path: Path) -> int:
    """How many times the file is gzipped: the metadata has been published gzipped twice."""
    layers = 0
    while True:
        with pa.OSFile(str(path)) as raw:
            if _unpacked(raw, layers).read(2) != GZIP:
                return layers
        layers += 1


def _unpacked(stream: pa.NativeFile, layers: int) -> pa.NativeFile:
    for _ in range(layers):
        stream = pa.CompressedInputStream(stream, "gzip")
    return stream


def _bar(path: Path) -> tqdm:
    return tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=None)
