"""Downloads from a server of our own that breaks off, lies about lengths, or ignores ranges."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from srtlib.data.amazon.download import CHUNK, download

DATA = bytes(range(256)) * 4_000


class Server(ThreadingHTTPServer):
    """What the next answers do, and which ranges were asked for."""

    cut: list[int]  # each takes one answer's body down to so many bytes
    ranges: bool = True
    announced: int = 0  # bytes more than there are
    etag: str = '"one"'
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path == "/absent":
            self.send_error(404)
            return
        start = 0
        if asked and self.server.ranges and self.headers.get("If-Range") == self.server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(DATA):
            self.send_error(416)
            return
        body = DATA[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) + self.server.announced))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(body[: self.server.cut.pop(0)] if self.server.cut else body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.cut, running.asked = [], []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def address(server: Server, path: str = "/file") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_a_whole_file_is_kept(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert download([address(server)], tmp_path / "to" / "file").read_bytes() == DATA
    assert server.asked == [None]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["file"]


def test_a_transfer_that_breaks_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = [3 * CHUNK, CHUNK]
    assert download([address(server)], tmp_path / "file").read_bytes() == DATA
    assert server.asked == [None, f"bytes={3 * CHUNK}-", f"bytes={4 * CHUNK}-"]


def test_a_later_call_goes_on_where_the_last_ended(server: Server, tmp_path: Path) -> None:
    server.cut = [3 * CHUNK, 10, 10]
    with pytest.raises(OSError, match="file could not be fetched"):
        download([address(server)], tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.part").stat().st_size == 3 * CHUNK
    assert download([address(server)], tmp_path / "file").read_bytes() == DATA
    assert server.asked[-1] == f"bytes={3 * CHUNK}-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000] + [0] * 2
    with pytest.raises(OSError, match="could not be fetched"):
        download([address(server)], tmp_path / "file")
    server.etag = '"two"'
    assert download([address(server)], tmp_path / "file").read_bytes() == DATA


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [100_000]
    assert download([address(server)], tmp_path / "file").read_bytes() == DATA


def test_a_wrong_length_is_refused(server: Server, tmp_path: Path) -> None:
    server.announced = 5
    with pytest.raises(OSError, match="file could not be fetched"):
        download([address(server)], tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_the_mirror_is_second(server: Server, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/file"
    for first in (address(server, "/absent"), dead):
        path = tmp_path / f"file{len(first)}"
        assert download([first, address(server)], path).read_bytes() == DATA
    with pytest.raises(OSError, match=r"404 .*127.0.0.1:9.*put it there by hand, or use --raw"):
        download([address(server, "/absent"), dead], tmp_path / "none")


def test_the_mirror_does_not_go_on_from_another_file(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000, 0, 0]
    assert download([address(server), address(server, "/mirror")], tmp_path / "file").read_bytes() == DATA
    assert server.asked[-1] is None


def test_the_environments_proxy_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", address(server, ""))
    assert download(["http://data.invalid/file"], tmp_path / "file").read_bytes() == DATA
