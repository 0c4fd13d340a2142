"""Large files from the net: resumed where they broke off, checked for length, from a mirror where the first fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import requests
from tqdm import tqdm

TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
CHUNK = 1 << 16  # bytes; what is lost of a transfer that breaks off
TRIES = 3  # of each address, each resuming where the one before ended


def download(urls: Sequence[str], path: Path) -> Path:
    """Fetch a file from the first address that delivers it whole; one that is there already is kept.

    What has come so far is in `<path>.part`, from which a later call goes on (HTTP ranges, guarded by ETag or date of
    the file). The length must be what the server announced, else the file does not appear. Proxies of the environment
    (HTTPS_PROXY, NO_PROXY) are used. Pooch, which the project uses for small files, cannot resume, and 12 GB need it.

    Raises OSError, naming what each address answered, when none delivers.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    complaints = []
    for url in urls:
        for _ in range(TRIES):
            try:
                _fetch(url, path)
                return path
            except (requests.RequestException, OSError) as error:
                complaint = f"{url}: {error}"
        complaints.append(complaint)
    raise OSError(f"{path.name} could not be fetched ({'; '.join(complaints)}); put it there by hand, or use --raw")


def _fetch(url: str, path: Path) -> None:
    part, origin = (path.with_name(f"{path.name}{suffix}") for suffix in (".part", ".part.from"))
    mark = origin.read_text(encoding="utf-8").split("\n") if part.exists() and origin.exists() else ["", ""]
    have = part.stat().st_size if mark[0] == url and mark[1] else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-", "If-Range": mark[1]} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # longer than the file is, or complete but for the renaming: once more from the start
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0
        expected = have + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        guard = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        origin.write_text(f"{url}\n{'' if guard.startswith('W/') else guard}", encoding="utf-8")
        with (
            part.open("ab" if have else "wb") as stream,
            tqdm(total=expected, initial=have, unit="B", unit_scale=True, desc=path.name, disable=None) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
    found = part.stat().st_size
    if expected is not None and found != expected:
        raise OSError(f"{found:,} bytes came, {expected:,} were announced")
    part.replace(path)
    origin.unlink()
