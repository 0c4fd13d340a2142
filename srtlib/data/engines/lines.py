"""Lines of gzipped text and their numbers, as a stream that an engine reads in bounded memory, whatever they hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SCHEMA = pa.schema({"number": pa.int64(), "line": pa.string()})
BLOCK = 8 << 20  # bytes read at a time
GZIP = b"\x1f\x8b"
DEEPEST = 3  # times a file may be gzipped
LONGEST = 32 << 20  # bytes of a line
SWELL, FREE = 100, 32 << 20  # bytes that a packed byte may become, once so many bytes are unpacked; text makes 3 to 10
STRANGE = {b"BZh": "bzip2", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "Zstandard", b"PAR1": "Parquet"}
STEP, WINDOW = 8 << 20, 1 << 16  # bytes: every so many, a window must hold a line's end


def numbered_lines(path: Path) -> pa.RecordBatchReader:
    r"""The lines of a gzipped text file that are not blank, and their numbers from 1, in batches of about 8 MB.

    Gzip inside gzip is unpacked up to three times; a file that is not gzipped is read as it is. Windows line ends are
    taken off, and bytes that are not UTF-8 become U+FFFD. While it is read, the stream raises ValueError for a file
    that is damaged or cut short, holds no text, has a line of more than 32 MB, or unpacks to more than text does.

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


def check_rows(path: Path) -> None:
    """Refuse a file that is no text, or has a line so long that an engine may lose it unsaid: ValueError.

    A look at 1% of the file is enough.
    """
    with path.open("rb") as stream:
        for start in range(0, path.stat().st_size, STEP):
            stream.seek(start)
            window = stream.read(WINDOW)
            if start == 0:
                _check_text(path, window)
            if len(window) == WINDOW and b"\n" not in window and b"\r" not in window:
                raise ValueError(f"{path}: the line at byte {start:,} is longer than {WINDOW:,} bytes; expected rows")


def _blocks(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines, without the last line's end."""
    rest, number, n_bytes = b"", 1, 0
    try:
        with pa.OSFile(str(path)) as raw, _bar(path) as bar:
            stream = _unpacked(raw, _layers(path))
            while block := stream.read(BLOCK):
                if not n_bytes:
                    _check_text(path, block[:WINDOW])
                n_bytes += len(block)
                bar.update(raw.tell() - bar.n)
                _check_swell(path, n_bytes, raw.tell())
                block, end, rest = (rest + block).rpartition(b"\n")
                number += block.count(b"\n") + len(end)
                if len(rest) > LONGEST:
                    raise ValueError(f"{path}: line {number:,} is longer than {LONGEST:,} bytes; expected JSON lines")
                if end:
                    yield block
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}; expected a whole gzip file") from None
    if rest:
        yield rest


def unpacked(path: Path) -> io.BufferedReader:
    """The bytes of a file, unpacked as often as it is gzipped; a stream that can seek where the file is not gzipped.

    While it is read, the stream raises ValueError for a file that unpacks to more than text does.
    """
    layers = _layers(path)
    return io.BufferedReader(_Unpacked(path, layers), BLOCK) if layers else path.open("rb")


class _Unpacked(io.RawIOBase):
    """The bytes of a gzipped file, as long as they are no more than text makes."""

    def __init__(self, path: Path, layers: int) -> None:
        self._path, self._n_bytes = path, 0
        self._packed = pa.OSFile(str(path))
        self._stream = _unpacked(self._packed, layers)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count: int = self._stream.readinto(buffer)
        self._n_bytes += count
        _check_swell(self._path, self._n_bytes, self._packed.tell())
        return count

    def close(self) -> None:
        self._stream.close()
        self._packed.close()
        super().close()


def _check_swell(path: Path, n_bytes: int, n_packed: int) -> None:
    """Refuse what fills memory: so many bytes of so many packed ones."""
    if n_bytes > max(FREE, SWELL * n_packed):
        raise ValueError(f"{path} unpacks to more than {SWELL} times its size; expected text")


def _layers(path: Path) -> int:
    """How many times the file is gzipped: the metadata has been published gzipped twice."""
    for layers in range(DEEPEST + 1):
        with pa.OSFile(str(path)) as raw:
            if _unpacked(raw, layers).read(2) != GZIP:
                return layers
    raise ValueError(f"{path} is gzipped more than {DEEPEST} times; expected text, gzipped or not")


def _check_text(path: Path, head: bytes) -> None:
    kinds = {**STRANGE, GZIP: "gzip"}
    if kind := next((kind for magic, kind in kinds.items() if head.startswith(magic)), None):
        raise ValueError(f"{path} holds {kind}; expected text")
    if b"\0" in head:
        raise ValueError(f"{path} holds zero bytes; expected text in UTF-8")


def _unpacked(stream: pa.NativeFile, layers: int) -> pa.NativeFile:
    for _ in range(layers):
        stream = pa.CompressedInputStream(stream, "gzip")
    return stream


def _bar(path: Path) -> tqdm:
    return tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc=path.name, disable=None)
