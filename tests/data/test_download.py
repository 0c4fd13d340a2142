"""Downloads from a server of our own that breaks off, lies about lengths, or ignores ranges."""

import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from srtlib.data.amazon.sources import FILES
from srtlib.data.download import CHUNK, download_file

DATA = bytes(range(256)) * 4_000


class Server(ThreadingHTTPServer):
    """What the next answers do, and which ranges were asked for."""

    cut: list[int]  # each takes one answer's body down to so many bytes
    ranges: bool = True
    announced: int = 0  # bytes more than there are
    etag: str = '"one"'
    asked: list[str | None]
    strange: dict[str, str | None]  # headers in place of the right ones, of answers below /strange; None: left out
    body: bytes = DATA  # of those answers
    status: int | None = None  # of those answers

    def handle_error(self, *_: Any) -> None:
        """Who hangs up on a strange answer is no error."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path == "/absent":
            self.send_error(404)
            return
        start = 0
        if asked and self.server.ranges and not self.server.status and self.headers.get("If-Range") == self.server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(DATA):
            self.send_error(416)
            return
        strange = self.path.startswith("/strange")
        body = (self.server.body if strange else DATA)[start:]
        headers: dict[str, str | None] = {
            "Content-Length": str(len(body) + self.server.announced),
            "ETag": self.server.etag,
            "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}" if start else None,
        } | (self.server.strange if strange else {})
        self.send_response((strange and self.server.status) or (206 if start else 200))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: self.server.cut.pop(0)] if self.server.cut else body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.cut, running.asked, running.strange = [], [], {}
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


def address(server: Server, path: str = "/file") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_a_whole_file_is_kept(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert download_file([address(server)], tmp_path / "to" / "file").read_bytes() == DATA
    assert server.asked == [None]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["file"]


def test_a_transfer_that_breaks_off_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut = [3 * CHUNK, CHUNK]
    assert download_file([address(server)], tmp_path / "file").read_bytes() == DATA
    assert server.asked == [None, f"bytes={3 * CHUNK}-", f"bytes={4 * CHUNK}-"]


def test_a_later_call_goes_on_where_the_last_ended(server: Server, tmp_path: Path) -> None:
    server.cut = [3 * CHUNK, 10, 10]
    with pytest.raises(OSError, match="file could not be fetched"):
        download_file([address(server)], tmp_path / "file")
    assert not (tmp_path / "file").exists()
    have = (tmp_path / "file.part").stat().st_size
    assert have >= 3 * CHUNK
    assert download_file([address(server)], tmp_path / "file").read_bytes() == DATA
    assert server.asked[-1] == f"bytes={have}-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000] + [0] * 2
    with pytest.raises(OSError, match="could not be fetched"):
        download_file([address(server)], tmp_path / "file")
    server.etag = '"two"'
    assert download_file([address(server)], tmp_path / "file").read_bytes() == DATA


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [100_000]
    assert download_file([address(server)], tmp_path / "file").read_bytes() == DATA


def test_a_wrong_length_is_refused(server: Server, tmp_path: Path) -> None:
    server.announced = 5
    with pytest.raises(OSError, match="file could not be fetched"):
        download_file([address(server)], tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_the_mirror_is_second(server: Server, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/file"
    for first in (address(server, "/absent"), dead):
        path = tmp_path / f"file{len(first)}"
        assert download_file([first, address(server)], path).read_bytes() == DATA
    with pytest.raises(OSError, match=r"404 .*127.0.0.1:9.*\); ask a friend$"):
        download_file([address(server, "/absent"), dead], tmp_path / "none", advice="ask a friend")


def test_the_mirror_does_not_go_on_from_another_file(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000, 0, 0]
    assert download_file([address(server), address(server, "/mirror")], tmp_path / "file").read_bytes() == DATA
    assert server.asked[-1] is None


# Answers that are not the file


@pytest.mark.parametrize("length", [None, "many", "-5", "1e6", "", "5, 6"])
def test_an_answer_without_a_length_is_not_taken(server: Server, tmp_path: Path, length: str | None) -> None:
    server.strange, server.body = {"Content-Length": length}, DATA[: len(DATA) // 2]
    with pytest.raises(OSError, match=r"file could not be fetched \(http.*[Ll]ength"):
        download_file([address(server, "/strange")], tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert download_file([address(server, "/strange"), address(server)], tmp_path / "file").read_bytes() == DATA


PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    ("name", "body", "kind"),
    [
        ("ratings.csv", PAGE, "text/html"),
        ("ratings.csv", b"\xef\xbb\xbf\n  " + PAGE, None),
        ("ratings.csv", b"Sorry, not today", "text/html; charset=utf-8"),
        ("meta.json.gz", PAGE, "application/gzip"),
        ("meta.json.gz", b'{"error": "quota"}', "application/json"),
        ("meta.json.gz", b"", None),
        ("items.parquet", PAGE, None),
    ],
)
def test_a_page_in_place_of_the_file_is_not_taken(
    server: Server, tmp_path: Path, name: str, body: bytes, kind: str | None
) -> None:
    server.strange, server.body = {"Content-Type": kind}, body
    with pytest.raises(OSError, match=f"{name} could not be fetched .*the answer (begins with|is a page)"):
        download_file([address(server, "/strange")], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_page_does_not_take_the_place_of_what_has_come_so_far(server: Server, tmp_path: Path) -> None:
    server.cut = [3 * CHUNK, 0, 0]
    with pytest.raises(OSError, match="file could not be fetched"):
        download_file([address(server, "/strange")], tmp_path / "file")
    server.body, server.status = PAGE, 200
    with pytest.raises(OSError, match="is a page that begins with"):
        download_file([address(server, "/strange")], tmp_path / "file")
    server.body, server.status = DATA, None
    assert download_file([address(server, "/strange")], tmp_path / "file").read_bytes() == DATA
    assert server.asked[-1] == f"bytes={3 * CHUNK}-"


END = len(DATA) - 1


@pytest.mark.parametrize(
    "content_range",
    [
        f"bytes 0-{END}/{END + 1}",
        f"bytes {3 * CHUNK + 1}-{END}/{END + 1}",
        f"bytes {3 * CHUNK}-{END - 1}/{END + 1}",
        f"bytes {3 * CHUNK}-{END + 5}/{END + 6}",
        f"bytes {3 * CHUNK}-{END}/*",
        "bytes */5",
        None,
    ],
)
def test_another_range_than_was_asked_for_is_not_taken(
    server: Server, tmp_path: Path, content_range: str | None
) -> None:
    server.cut, server.strange = [3 * CHUNK], {"Content-Range": content_range}
    assert download_file([address(server, "/strange")], tmp_path / "file").read_bytes() == DATA
    assert server.asked == [None, f"bytes={3 * CHUNK}-", None]  # from such a server, once more from the start


def test_only_the_statuses_of_a_file_are_taken(server: Server, tmp_path: Path) -> None:
    server.status = 203
    with pytest.raises(OSError, match="has status 203; expected 200"):
        download_file([address(server, "/strange")], tmp_path / "file")


def test_a_known_hash_is_checked(server: Server, tmp_path: Path) -> None:
    server.body = DATA[:-1] + b"!"
    sha256 = hashlib.sha256(DATA).hexdigest()
    urls = [address(server, "/strange"), address(server)]
    assert download_file(urls, tmp_path / "file", sha256).read_bytes() == DATA
    with pytest.raises(OSError, match=f"SHA-256 .*expected {sha256}"):
        download_file(urls[:1], tmp_path / "other", sha256)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_another_size_than_is_known_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=rf"announces {len(DATA):,} bytes; expected {len(DATA) + 1:,}\)$"):
        download_file([address(server)], tmp_path / "file", size=len(DATA) + 1)
    assert list(tmp_path.iterdir()) == []
    assert download_file([address(server)], tmp_path / "file", size=len(DATA)).read_bytes() == DATA


def test_all_files_of_amazon_come_encrypted() -> None:
    assert all(url.startswith("https://") for urls in FILES.values() for url in urls)


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_an_encrypted_address_leads_to_no_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *name], check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server(("127.0.0.1", 0), Handler) as safe:
        safe.cut, safe.asked, safe.strange = [], [], {"Location": address(server)}
        safe.socket = context.wrap_socket(safe.socket, server_side=True)
        threading.Thread(target=safe.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{safe.server_port}"
        assert download_file([f"{url}/file"], tmp_path / "file").read_bytes() == DATA
        safe.status = 302
        with pytest.raises(OSError, match=r"leads to http://.*, which is not encrypted"):
            download_file([f"{url}/strange"], tmp_path / "other")
        safe.shutdown()


def test_the_environments_proxy_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", address(server, ""))
    assert download_file(["http://data.invalid/file"], tmp_path / "file").read_bytes() == DATA
