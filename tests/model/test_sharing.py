"""Models pulled from a server of our own and from a hub of our own, whole or not at all, and pushed there."""

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.model import released, sharing
from srtlib.model.folder import items_table, seal, write_items
from srtlib.model.making import new_model
from srtlib.model.released import model_folder, pulled_root, released_models, released_names, write_index
from srtlib.model.sharing import pull_model, push_model
from srtlib.model.srt import SRT
from srtlib.params import ModelParams
from srtlib.serving.recommender import Recommender

HERE = "127.0.0.1"
COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", HERE)
    monkeypatch.delenv("SRT_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(dataset: Dataset) -> SRT:
    return new_model(ModelParams(d_model=8, n_layers=1, vocab_size=200), dataset)


@pytest.fixture
def release(model: SRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of released models with the model `tiny`; the project has the table of it, and no model."""
    root = tmp_path / "release"
    model.save_pretrained(root / "tiny")
    seal(root / "tiny")
    (root / "tiny" / "README.md").write_text("---\nlibrary_name: srtlib\n---\n# tiny\n")
    write_index(root)
    (tmp_path / "project" / "models").mkdir(parents=True)
    (root / "index.json").rename(tmp_path / "project" / "models" / "index.json")
    monkeypatch.setattr(released, "project_root", lambda: tmp_path / "project")
    return root


def serve(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer((HERE, 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://{HERE}:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address(release: Path) -> Iterator[str]:
    yield from serve(partial(Quiet, directory=str(release)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(first: SRT, second: SRT) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Released models


def test_a_pulled_model_is_taken_by_its_name(model: SRT, release: Path, address: str, dataset: Dataset) -> None:
    assert released_models()[["name", "where"]].to_numpy().tolist() == [["tiny", "srt models pull tiny"]]
    assert released_names() == []
    with pytest.raises(FileNotFoundError, match=r"tiny is not a model folder: .*srt models pull NAME"):
        SRT.from_pretrained("tiny")
    folder = pull_model("tiny", address)
    assert folder == pulled_root() / "tiny" == model_folder("tiny")
    assert files(pulled_root()) == files(release)
    assert same(SRT.from_pretrained("tiny"), model)
    assert len(Recommender.pretrained("tiny", dataset.catalogue).items) == dataset.n_items
    (row,) = released_models().to_dict("records")
    assert (row["d_model"], row["trained_on"], row["where"]) == (8, "small", str(folder))


def test_what_is_here_is_kept_without_the_net(release: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRT_MODELS", f"{address}/")
    folder = pull_model("tiny")
    monkeypatch.setattr(sharing, "download_file", None)
    assert pull_model("tiny") == folder
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=rf"^{folder} is there, and its config.json is not the released one; remove"):
        pull_model("tiny")
    assert (folder / "config.json").read_text() == "{}", "nothing is deleted unasked"


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def another(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def a_page(path: Path) -> None:
    path.write_text("<html>Please log in</html>".ljust(path.stat().st_size))


@pytest.mark.parametrize("file", ["README.md", "SHA256SUMS", "config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (longer, r"announces [\d,]+ bytes; expected [\d,]+\)$"),
        (shorter, r"announces [\d,]+ bytes; expected [\d,]+\)$"),
        (another, "SHA-256 .*expected"),
        (a_page, "begins with|expected [0-9,]+|SHA-256"),
        (Path.unlink, "404"),
    ],
)
def test_what_is_not_the_released_file_leaves_nothing(
    damage: Callable[[Path], object], said: str, file: str, release: Path, address: str
) -> None:
    damage(release / "tiny" / file)
    with pytest.raises(OSError, match=f"(?s)^{file} could not be fetched .*({said})") as error:
        pull_model("tiny", address)
    assert "\n" not in str(error.value)
    assert not pulled_root().exists()


def test_without_a_net_nothing_is_left(release: Path) -> None:
    with pytest.raises(OSError, match=r"^README.md could not be fetched .*refused") as error:
        pull_model("tiny", f"http://{HERE}:9")
    assert "\n" not in str(error.value)
    assert not pulled_root().exists()


@pytest.mark.parametrize("address", [None, "", "example.org/models", "ftp://example.org", "/somewhere", "file:///x"])
def test_an_address_is_one_of_the_web(release: Path, address: str | None) -> None:
    with pytest.raises(ValueError, match=r"^the address of released models is .*; expected --from https://"):
        pull_model("tiny", address)
    assert not pulled_root().exists()


@pytest.mark.parametrize("name", ["", "other", "../tiny", "/tiny", "a/b/c", "../a/b", "./a", "a/..", "a b/c", "tiny/"])
def test_other_names_are_refused_before_anything_is_written(name: str, release: Path, address: str) -> None:
    with pytest.raises(ValueError, match=r"is no released model \(tiny\), and no name on the hub, such as org/name$"):
        pull_model(name, address)
    assert not pulled_root().exists()


def test_after_a_kill_it_starts_again(release: Path, address: str) -> None:
    """A kill leaves the folder beside, with a file or two and a part: no model, and swept up."""
    left = pulled_root() / ".tiny.0123abcd"
    left.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (left / name).write_bytes((release / "tiny" / name).read_bytes())
    (left / "tokenizer.json.part").write_bytes(b"{")
    assert released_names() == []
    pull_model("tiny", address)
    assert files(pulled_root()) == files(release)


def test_a_damaged_folder_in_the_data_home_is_named(release: Path) -> None:
    folder = pulled_root() / "broken"
    folder.mkdir(parents=True)
    for text in ("", "[]", "{}", '{"model": {}}', '{"model": 1}'):
        (folder / "config.json").write_text(text)
        with pytest.raises(ValueError, match=f"^{folder} is damaged .*; remove it$"):
            released_models()


# The hub


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as its own client asks for, of one repository."""

    files: dict[str, bytes]
    asked: list[tuple[str, Any]]

    def do_POST(self) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        self.asked.append((self.path, lines[0]))
        if self.path == "/api/repos/create":
            self._answer({"url": f"http://{self.headers['Host']}/org/name"})
        elif self.path == "/api/models/org/name/preupload/main":
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self._answer({"files": [{"path": file["path"], **modes} for file in lines[0]["files"]]})
        elif self.path == "/api/models/org/name/commit/main":
            for value in [line["value"] for line in lines if line["key"] == "deletedFile"]:
                del self.files[value["path"]]
            for value in [line["value"] for line in lines if line["key"] == "file"]:
                self.files[value["path"]] = base64.b64decode(value["content"])
            self._answer({"commitUrl": f"http://{self.headers['Host']}/org/name/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._answer({"errors": [], "warnings": []})  # of the card's front matter

    def do_GET(self) -> None:
        file = self.files.get(self.path.rpartition("/")[2])
        if self.path.startswith("/api/models/org/name/tree/"):
            sizes = {"type": "file", "oid": COMMIT}
            self._answer([{"path": name, "size": len(data), **sizes} for name, data in self.files.items()])
        elif self.path.startswith("/api/models/org/name"):
            self._answer({"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]})
        elif self.path.startswith("/org/name/resolve/") and file is not None:
            self._answer(file)
        else:
            self._answer({"error": "Repository not found"}, 404)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _answer(self, body: Any, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra srtlib[hub] is not installed")
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    Hub.files, Hub.asked = {}, []
    for url in serve(Hub):
        point_at(url, constants, monkeypatch)
        yield Hub


def point_at(url: str, constants: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def folder(model: SRT, dataset: Dataset, tmp_path: Path) -> Path:
    """A complete one, with items and card."""
    path = tmp_path / "model"
    model.save_pretrained(path)
    write_items(path, items_table(dataset, dataset))
    (path / "README.md").write_text("---\nlibrary_name: srtlib\n---\n# A model\n")
    return path


def test_what_is_pushed_is_what_is_pulled(hub: type[Hub], folder: Path, dataset: Dataset) -> None:
    (folder / "secret.txt").write_text("of no model")
    assert push_model(folder, "org/name").endswith("/org/name")
    made = dict(hub.asked)["/api/repos/create"]
    assert made.get("private") or made["visibility"] == "private"
    (folder / "secret.txt").unlink()
    assert hub.files == files(folder)
    assert pull_model("org/name") == pulled_root() / "org" / "name" == model_folder("org/name")
    assert files(pulled_root() / "org" / "name") == files(folder)
    history = {"ann": ["i1", "i2"]}
    offers = [Recommender.load(place).recommend(history) for place in (folder, "org/name")]
    pd.testing.assert_frame_equal(*offers)
    assert "org/name" in released_models()["name"].tolist()
    hub.files = {}
    assert pull_model("org/name") == pulled_root() / "org" / "name", "what is here is kept"


def test_a_push_takes_the_place_of_the_model_before_and_of_nothing_else(hub: type[Hub], folder: Path) -> None:
    hub.files |= {"LICENSE": b"theirs", "items.parquet": b"of before"}
    (folder / "items.parquet").unlink()
    seal(folder)
    push_model(folder, "org/name")
    assert hub.files == {**files(folder), "LICENSE": b"theirs"}


def without(name: str) -> Callable[[dict[str, bytes]], object]:
    return lambda there: there.pop(name)


def with_another(name: str) -> Callable[[dict[str, bytes]], object]:
    return lambda there: there.update({name: there[name] + b" "})


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (dict.clear, FileNotFoundError, "is not a complete model folder: no SHA256SUMS$"),
        (without("SHA256SUMS"), FileNotFoundError, "no SHA256SUMS$"),
        (without("config.json"), FileNotFoundError, "no config.json$"),
        (without("tokenizer.json"), FileNotFoundError, "no tokenizer.json$"),
        (with_another("model.safetensors"), ValueError, "/model.safetensors is damaged: its SHA-256"),
        (with_another("items.parquet"), ValueError, "/items.parquet is damaged: its SHA-256"),
        (lambda there: there.update({"SHA256SUMS": b"\n"}), ValueError, "/SHA256SUMS, line 1: "),
        (lambda there: there.update({"SHA256SUMS": b""}), ValueError, "/SHA256SUMS does not name config.json"),
    ],
)
def test_what_is_no_model_on_the_hub_leaves_nothing(
    damage: Callable[[dict[str, bytes]], object], error: type[Exception], said: str, hub: type[Hub], folder: Path
) -> None:
    hub.files = files(folder)
    damage(hub.files)
    with pytest.raises(error, match=f"^org/name on the hub.*{said}"):
        pull_model("org/name")
    assert not pulled_root().exists()


def test_what_the_hub_refuses_is_one_line(hub: type[Hub], folder: Path) -> None:
    with pytest.raises(OSError, match=r"^org/other on the hub: .*404") as error:
        pull_model("org/other")
    assert "\n" not in str(error.value)
    assert not pulled_root().exists()
    with pytest.raises(OSError, match=r"^org/a--b on the hub: Cannot have -- or \.\."):
        pull_model("org/a--b")


def test_without_a_net_the_hub_is_not_reached(hub: type[Hub], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    point_at(f"http://{HERE}:9", constants, monkeypatch)
    for call in (pull_model, partial(push_model, folder)):
        with pytest.raises(OSError, match=r"^org/name on the hub: .*refused") as error:
            call("org/name")
        assert "\n" not in str(error.value)
    assert not pulled_root().exists()


def test_only_a_complete_model_with_a_card_is_pushed(hub: type[Hub], folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^'name' is no name on the hub; expected one such as org/name$"):
        push_model(folder, "name")
    with pytest.raises(FileNotFoundError, match=r"^nowhere is not a complete model folder: no SHA256SUMS$"):
        push_model("nowhere", "org/name")
    (folder / "README.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no README.md, the model card"):
        push_model(folder, "org/name")
    (folder / "README.md").touch()
    for name in ("items.parquet", "model.safetensors"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1])
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            push_model(folder, "org/name")
        (folder / name).write_bytes(data)
    assert hub.asked == []


def test_an_address_is_none_of_the_hub(release: Path) -> None:
    with pytest.raises(ValueError, match=r"^org/name is on the hub; an address is that of released models$"):
        pull_model("org/name", "https://example.org")


def test_without_the_extra_one_line_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (pull_model, partial(push_model, folder)):
        with pytest.raises(ImportError, match=r'huggingface_hub.*: the hub needs the extra hub: pip install "srtlib'):
            call("org/name")
    assert not pulled_root().exists()
