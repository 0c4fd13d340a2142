"""Large files from the net: resumed where they broke off, checked for length, from a mirror where the first fails."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
CHUNK = 1 << 16  # bytes written at a time
TRIES = 3  # of each address, each resuming where the one before ended
MAGIC = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".zip": b"PK", ".parquet": b"PAR1"}  # how files of a kind begin


def download_file(
    urls: Sequence[str], path: Path, sha256: str | None = None, size: int | None = None, advice: str = ""
) -> Path:
    """Fetch a file from the first address that delivers it whole; one that is there already is kept.

    What has come so far is in `<path>.part`, from which a later call goes on (HTTP ranges, guarded by ETag or date of
    the file). The server must announce a length (and, where it goes on, the range that was asked for), which must come
    whole; and a page of HTML in place of the file is refused, whatever the status says. Proxies of the environment
    (HTTPS_PROXY, NO_PROXY) are used. Pooch, which the project uses for small files, cannot resume, and 12 GB need it.

    Args:
        urls: addresses of the same file, tried in order.
        path: where it goes. Its ending tells how it must begin.
        sha256, size: what the file's must be, where they are known; another size is refused before the bytes come.
        advice: what to do where none delivers, for the error.

    Raises OSError, naming what each address answered, when none delivers.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    complaints = []
    for url in urls:
        for _ in range(TRIES):
            try:
                _fetch(url, path, sha256, size)
                return path
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                complaint = f"{url}: {error}"
        complaints.append(complaint)
    raise OSError(f"{path.name} could not be fetched ({'; '.join(complaints)}){advice and f'; {advice}'}")


def _fetch(url: str, path: Path, sha256: str | None, size: int | None) -> None:
    part, origin = (path.with_name(f"{path.name}{suffix}") for suffix in (".part", ".part.from"))
    mark = origin.read_text(encoding="utf-8").split("\n") if part.exists() and origin.exists() else ["", ""]
    have = part.stat().st_size if mark[0] == url and mark[1] else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-", "If-Range": mark[1]} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise OSError(f"leads to {response.url}, which is not encrypted")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # longer than the file is, or complete but for the renaming: once more from the start
        response.raise_for_status()
        if response.status_code == requests.codes.partial_content:
            expected = _whole_of_range(response.headers, have, origin)
        elif response.status_code == requests.codes.ok:
            have, expected = 0, _length(response.headers)
        else:
            raise OSError(f"the answer has status {response.status_code}; expected 200")
        if size not in (None, expected):
            raise OSError(f"the answer announces {expected:,} bytes; expected {size:,}")
        chunks = response.raw.stream(CHUNK, decode_content=False)
        first = next(chunks, b"")
        if not have:
            _check_beginning(first, path.name, response.headers)
        guard = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        origin.write_text(f"{url}\n{'' if guard.startswith('W/') else guard}", encoding="utf-8")
        with (
            part.open("ab" if have else "wb") as stream,
            tqdm(total=expected, initial=have, unit="B", unit_scale=True, desc=path.name, disable=None) as bar,
        ):
            while first:
                stream.write(first)
                bar.update(len(first))
                first = next(chunks, b"")
    found = part.stat().st_size
    if found != expected:
        raise OSError(f"{found:,} bytes came, {expected:,} were announced")
    if sha256 is not None:
        _check_hash(part, sha256)
    part.replace(path)
    origin.unlink()


def _length(headers: requests.structures.CaseInsensitiveDict[str]) -> int:
    """Bytes that a whole answer has."""
    announced = headers.get("Content-Length", "")
    if not re.fullmatch(r"[0-9]+", announced):
        raise OSError(f"the answer announces {announced or 'no'!r} length; expected a number of bytes")
    return int(announced)


def _whole_of_range(headers: requests.structures.CaseInsensitiveDict[str], have: int, origin: Path) -> int:
    """Bytes that the whole file has, of an answer that goes on after the first `have`."""
    announced = headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)", announced)
    start, end, whole = map(int, found.groups()) if found else (-1, 0, 0)
    if (start, end) != (have, whole - 1) or _length(headers) != whole - have:
        origin.unlink(missing_ok=True)  # of such a server, once more from the start
        raise OSError(f"the answer is the range {announced!r}; expected all bytes from {have}")
    return whole


def _check_beginning(first: bytes, name: str, headers: requests.structures.CaseInsensitiveDict[str]) -> None:
    """Refuse what is not a file of its kind, such as a page that says why there is none."""
    magic = MAGIC.get(Path(name).suffix)
    if magic is not None and not first.startswith(magic):
        raise OSError(f"the answer begins with {first[:40]!r}; expected a {Path(name).suffix} file")
    is_page = first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or "html" in headers.get("Content-Type", "")
    if magic is None and is_page:
        raise OSError(f"the answer is a page that begins with {first[:40]!r}; expected {name}")


def _check_hash(part: Path, sha256: str) -> None:
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise OSError(f"what came has SHA-256 {found}; expected {sha256}")
