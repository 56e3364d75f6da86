from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from perception.landmark_models import HAND, HAND_BUILT, MODELS, POSE_BUILT, POSE_LITE, Finds
from scripts.main import main
from scripts.programs.model_download import download
from scripts.programs.model_errors import SourceUnreachable, WheelUnfit, WrongBytes
from scripts.programs.model_fetch import ModelFetcher, Source, address

FILE = bytes(range(256)) * 2_000
SHA256 = hashlib.sha256(FILE).hexdigest()
Calls = list[tuple[int, int]]


@dataclass
class Server:
    """A real web server that has files, cuts them off, or is slow."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    pause_s: float = 0.0
    ranges: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[Server]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = owner.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range", "")
                owner.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if asked and start >= len(data):
                    self.send_error(416)
                    return
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                end = len(data) if owner.cut_after is None else min(len(data), start + owner.cut_after)
                with suppress(ConnectionError):  # whoever asked was stopped
                    for begin in range(start, end, 50_000):
                        self.wfile.write(data[begin : min(begin + 50_000, end)])
                        time.sleep(owner.pause_s)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    with Server({"/model": FILE}).running() as server:
        yield server


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_its_bytes_are_counted(server: Server, tmp_path: Path) -> None:
    counts: Calls = []
    download(f"{server.url}/model", SHA256, tmp_path / "a.task", lambda *count: counts.append(count))
    assert (tmp_path / "a.task").read_bytes() == FILE
    assert names(tmp_path) == ["a.task"]
    assert counts[-1] == (len(FILE), len(FILE))


def test_a_cut_download_goes_on_where_it_was_cut(server: Server, tmp_path: Path) -> None:
    server.cut_after = 200_000
    with pytest.raises(SourceUnreachable, match="the same command goes on from there"):
        download(f"{server.url}/model", SHA256, tmp_path / "a.task", lambda done, total: None)
    assert names(tmp_path) == ["a.task.part"], "no file that looks whole"
    server.cut_after = None
    download(f"{server.url}/model", SHA256, tmp_path / "a.task", lambda done, total: None)
    assert server.ranges == ["", "bytes=200000-"]
    assert (tmp_path / "a.task").read_bytes() == FILE
    assert names(tmp_path) == ["a.task"]


def test_wrong_bytes_are_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WrongBytes, match=f"SHA-256 {SHA256}, expected {'0' * 64}"):
        download(f"{server.url}/model", "0" * 64, tmp_path / "a.task", lambda done, total: None)
    assert names(tmp_path) == []


def test_the_rest_of_another_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.task.part").write_bytes(b"x" * (len(FILE) + 1))
    with pytest.raises(SourceUnreachable, match="416"):
        download(f"{server.url}/model", SHA256, tmp_path / "a.task", lambda done, total: None)
    download(f"{server.url}/model", SHA256, tmp_path / "a.task", lambda done, total: None)
    assert (tmp_path / "a.task").read_bytes() == FILE


def test_a_missing_page_and_a_missing_server_are_told_apart(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match="the server says 404 Not Found"):
        download(f"{server.url}/nothing", SHA256, tmp_path / "a.task", lambda done, total: None)
    with pytest.raises(SourceUnreachable, match=r"cannot be reached: .*refused"):
        download("http://127.0.0.1:9/model", SHA256, tmp_path / "a.task", lambda done, total: None)
    assert names(tmp_path) == []


def test_every_address_is_of_a_model_with_a_hash() -> None:
    assert len({model.sha256 for model in MODELS}) == len({model.name for model in MODELS}) == len(MODELS)
    assert address(POSE_LITE).endswith("/pose_landmarker/pose_landmarker_lite/float16/1/pose_landmarker_lite.task")
    assert POSE_LITE.sha256 == "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a"


def test_url_alone_does_not_fall_back_and_says_what_would(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert main(["models", "fetch", "--mirror", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert "tandem models fetch --source wheel" in said
    assert names(data / "models") == []


def test_a_server_with_another_file_fails_and_keeps_nothing(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    path = address(POSE_LITE, "")
    with Server({path: FILE}).running() as server:
        assert main(["models", "fetch", "--mirror", server.url, "--json"]) == 1
    assert f"expected {POSE_LITE.sha256}" in capsys.readouterr().err
    assert names(data / "models") == []


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(data: Path) -> None:
    path = address(POSE_LITE, "")
    with Server({path: FILE}, pause_s=0.3).running() as server:
        command = [sys.executable, "-m", "scripts.main", "models", "fetch", "--mirror", server.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as fetching:
            part = data / "models" / "pose_landmarker_lite.task.part"
            until_s = time.monotonic() + 20.0
            while not (part.exists() and part.stat().st_size > 0) and time.monotonic() < until_s:
                time.sleep(0.05)
            fetching.send_signal(signal.SIGINT)
            _, said = fetching.communicate(timeout=20.0)
    assert (fetching.returncode, said.splitlines()[-1]) == (130, "tandem models fetch: interrupted")
    assert 0 < part.stat().st_size < len(FILE)
    assert names(part.parent) == [part.name]


def test_auto_says_that_it_builds_what_it_cannot_fetch(landmark_models: tuple[Path, Path], tmp_path: Path) -> None:
    for path in landmark_models:
        shutil.copy(path, tmp_path)
    said: list[str] = []
    fetcher = ModelFetcher(tmp_path, said.append, lambda done, total: None, "http://127.0.0.1:9")
    kept = fetcher.fetch(Source.AUTO, (Finds.PEOPLE, Finds.HANDS))
    assert [(one.model, one.fetched) for one in kept] == [(POSE_BUILT, False), (HAND_BUILT, False)]
    assert "cannot be reached" in said[-1]
    assert "building the models from mediapipe==0.10.21 of the package index instead" in said[-1]


def test_models_that_are_here_are_listed_and_not_fetched_again(
    landmark_models: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "models").mkdir(parents=True)
    for path in landmark_models:
        shutil.copy(path, data / "models")
    assert main(["models", "fetch", "--source", "wheel", "--json"]) == 0
    fetched = json.loads(capsys.readouterr().out.splitlines()[-1])["models"]
    assert [(row["name"], row["fetched"]) for row in fetched] == [
        ("pose_landmarker_built", False),
        ("hand_landmarker_built", False),
    ]
    assert main(["models", "list", "--json"]) == 0
    states = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["models"]}
    assert states == {
        POSE_LITE.name: "missing", "pose_landmarker_full": "missing", POSE_BUILT.name: "here",
        HAND.name: "missing", HAND_BUILT.name: "here",
    }  # fmt: skip


def test_a_list_of_missing_models_is_a_list_and_says_what_fetches_them(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list"]) == 0
    assert "no model that finds people is here: `tandem models fetch`" in capsys.readouterr().out


def test_a_damaged_model_is_named_and_fails(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "models").mkdir(parents=True)
    (data / "models" / POSE_LITE.file_name).write_bytes(FILE)
    assert main(["models", "list"]) == 1
    assert "damaged: pose_landmarker_lite. `tandem models fetch` replaces it" in capsys.readouterr().out


def test_a_wheel_without_networks_is_refused(tmp_path: Path, data: Path) -> None:
    wheel = tmp_path / "mediapipe-1.2.2.whl"
    wheel.write_bytes(b"no zip")
    fetcher = ModelFetcher(data, lambda words: None, lambda done, total: None, wheel=wheel)
    with pytest.raises(WheelUnfit, match=r"no wheel of mediapipe==0\.10\.21 with its networks"):
        fetcher.fetch(Source.WHEEL, (Finds.PEOPLE,))
    assert main(["models", "fetch", "--wheel", str(wheel)]) == 2
    assert main(["models", "fetch", "--wheel", str(tmp_path / "none.whl")]) == 2
