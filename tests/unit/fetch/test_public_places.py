"""Data sets from public addresses: several for each, and the first one dead, silent, slow or lying."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch.retry import RetryPolicy
from tests.equipment import data_sets
from tests.equipment.data_sets import COMPLETE, CONTENTS, fetch, kinds, listing, mirror
from tests.equipment.http_server import Behaviour, Server, cut, reply

IMAGES = "/mnist/train-images-idx3-ubyte.gz"
LABELS = "/mnist/train-labels-idx1-ubyte.gz"
ARCHIVE = "/cifar10/complete.tar.gz"
PAGE = b"<!DOCTYPE html><html><body>Please log in to this network.</body></html>"


@pytest.fixture
def good(server: Server) -> str:
    """A public place that has everything."""
    for name, content in CONTENTS.items():
        server.put(f"/good/mnist/{name}.gz", gzip.compress(content))
    server.put("/good/cifar10/complete.tar.gz", COMPLETE)
    return server.url("/good")


@pytest.fixture
def silent() -> Iterator[str]:
    """The base of a host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    """The base of a host that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: never silent, and never done."""
    handler.send_response(200)
    handler.end_headers()
    for byte in COMPLETE:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)
    handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Zeros without end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def endless_gzip(handler: BaseHTTPRequestHandler) -> None:
    """A gzip file of empty members without end: much is sent, and nothing comes out."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(gzip.compress(b"") * 1000)


def stall(handler: BaseHTTPRequestHandler) -> None:
    """The head of an answer, and then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(COMPLETE)))
    handler.end_headers()
    handler.wfile.flush()
    time.sleep(3)


LIES: dict[str, Behaviour] = {
    "404": reply(404, PAGE),
    "503": reply(503),
    "html": reply(200, PAGE, Content_Type="text/html"),
    "empty": reply(200),
    "other gzip": reply(200, gzip.compress(b"another content")),
    "bomb": reply(200, gzip.compress(bytes(50 << 20))),
    "same size": reply(200, bytes(len(COMPLETE))),
    "cut": cut(COMPLETE, 50),
    "cut without a length": lambda handler: (handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + COMPLETE[:50]), None)[1],
    "endless": endless,
    "endless gzip": endless_gzip,
    "stall": stall,
    "trickle": trickle,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("path", [IMAGES, ARCHIVE])
def test_bad_first_place_is_passed_over(
    server: Server, good: str, cache: Cache, retry: RetryPolicy, path: str, lie: str
) -> None:
    for other in (IMAGES, LABELS, ARCHIVE):
        server.put(f"/first{other}", server.files[f"/good{other}"])
    server.behave(f"/first{path}", LIES[lie])
    start = time.monotonic()
    tree = fetch(cache, public=[server.url("/first"), good], retry=retry, strict=True)
    assert time.monotonic() - start < 10
    assert server.asked(f"/first{path}")
    files = listing(tree)
    assert {name: files[f"mnist/MNIST/raw/{name}"] for name in CONTENTS} == CONTENTS
    assert files["cifar10/cifar-10-batches-py/data_batch_1"] == b"all of it"
    assert not list((cache.root / "partial").iterdir())


def test_redirects(server: Server, good: str, cache: Cache, retry: RetryPolicy) -> None:
    server.behave(f"/moved{IMAGES}", reply(302, Location=f"{good}{IMAGES}"))
    server.behave(
        "/moved/mnist/train-labels-idx1-ubyte.gz", reply(301, Location="/good/mnist/train-labels-idx1-ubyte.gz")
    )
    server.behave(f"/moved{ARCHIVE}", reply(302, Location=f"/moved{ARCHIVE}"))
    tree = fetch(cache, public=[server.url("/moved"), good], retry=retry, strict=True)
    assert kinds(tree) == {"mnist": "complete", "cifar10": "complete"}
    assert len(server.asked(f"/good{IMAGES}")) == 1


def test_dead_and_silent_hosts_cost_one_time_limit(
    good: str, dead: str, silent: str, cache: Cache, retry: RetryPolicy, server: Server
) -> None:
    start = time.monotonic()
    tree = fetch(cache, public=[dead, silent, good], retry=retry, strict=True)
    assert kinds(tree) == {"mnist": "complete", "cifar10": "complete"}
    assert time.monotonic() - start < retry.connect + 1
    assert all(len(server.asked(path)) == 1 for path in (f"/good{IMAGES}", f"/good{ARCHIVE}"))


def test_without_any_public_place_it_ends_soon_with_a_sample_and_says_why(
    dead: str, silent: str, tmp_path: Path, cache: Cache, retry: RetryPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    tree = fetch(cache, mirror(tmp_path / "m", "cifar10-sample"), public=[dead, silent], retry=retry)
    assert kinds(tree) == {"mnist": "stand-in", "cifar10": "sample"}
    assert time.monotonic() - start < retry.connect + 1
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: data: a sample of CIFAR-10" in said
    assert "warning: data: not MNIST but a stand-in" in said
    reason = f"{dead[7:]}: [Errno 111] Connection refused; {silent[7:]}: no answer within 2 s"
    assert f"CIFAR-10, complete: {reason}" in said
    assert f"MNIST, complete: {reason}" in said


def test_places_that_answer_and_have_nothing_are_named(
    server: Server, cache: Cache, retry: RetryPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behave(f"/other{ARCHIVE}", reply(200, PAGE))
    assert kinds(fetch(cache, sets=["cifar10"], public=[server.url("/one"), server.url("/other")], retry=retry)) == {
        "cifar10": "stand-in"
    }
    said = " ".join(capsys.readouterr().err.split())
    assert f"{server.host}: HTTP 404; {server.host}: sends a web page instead" in said


def test_public_place_in_trouble_is_no_error(
    server: Server, tmp_path: Path, cache: Cache, retry: RetryPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behave(f"/busy{ARCHIVE}", reply(503))
    tree = fetch(
        cache, mirror(tmp_path / "m", "cifar10-sample"), sets=["cifar10"], public=[server.url("/busy")], retry=retry
    )
    assert kinds(tree) == {"cifar10": "sample"}
    assert f"CIFAR-10, complete: {server.host}: HTTP 503" in " ".join(capsys.readouterr().err.split())


def test_compressed_file_is_begun_anew_after_a_cut(server: Server, cache: Cache, retry: RetryPolicy) -> None:
    images, labels = (gzip.compress(content, 0) for content in CONTENTS.values())
    server.put(f"/only{IMAGES}", images)
    server.put(f"/only{LABELS}", labels)
    server.behave(f"/only{IMAGES}", cut(images, len(images) - 100), server.serve)
    fetch(cache, sets=["mnist"], public=[server.url("/only")], retry=retry, strict=True)
    assert ["Range" in headers for headers in server.asked(f"/only{IMAGES}")] == [False, False]


def test_strict_stops_when_no_public_place_answers(dead: str, cache: Cache, retry: RetryPolicy) -> None:
    with pytest.raises(CourseboxError, match="no source has the complete data set cifar10, and STRICT=1 takes no"):
        fetch(cache, public=[dead], retry=retry, strict=True)


def test_mirrors_come_first_and_public_places_are_not_asked_in_vain(
    server: Server, good: str, silent: str, tmp_path: Path, cache: Cache, retry: RetryPolicy
) -> None:
    fetch(cache, mirror(tmp_path / "m", "mnist", "cifar10"), public=[silent, good], retry=retry, strict=True)
    assert not server.requests
    server.put("/own/cifar10/complete.tar.gz", COMPLETE)
    fetch(Cache(tmp_path / "two"), server.url("/own"), sets=["cifar10"], public=[good], retry=retry, strict=True)
    assert [path for path, _ in server.requests] == ["/own/cifar10/complete.tar.gz"]


def test_public_places_help_where_a_mirror_is_damaged_or_silent(
    server: Server, good: str, tmp_path: Path, cache: Cache, retry: RetryPolicy
) -> None:
    folder = mirror(tmp_path / "m", "mnist", "cifar10")
    (folder / "cifar10" / "complete.tar.gz").write_bytes(b"damaged")
    (folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    server.behave("/own/cifar10/complete.tar.gz", reply(503))
    tree = fetch(cache, folder, server.url("/own"), public=[good], retry=retry)
    assert kinds(tree) == {"mnist": "complete", "cifar10": "complete"}


def test_next_place_goes_on_where_the_last_one_broke_off(
    server: Server, good: str, cache: Cache, retry: RetryPolicy
) -> None:
    server.behave(f"/first{ARCHIVE}", cut(COMPLETE, 50), reply(404))
    fetch(cache, sets=["cifar10"], public=[server.url("/first"), good], retry=retry, strict=True)
    assert [headers["Range"] for headers in server.asked(f"/good{ARCHIVE}")] == ["bytes=50-"]


def test_server_that_unpacks_on_its_way(server: Server, cache: Cache, retry: RetryPolicy) -> None:
    for name, content in CONTENTS.items():
        server.put(f"/plain/mnist/{name}.gz", content)
    tree = fetch(cache, sets=["mnist"], public=[server.url("/plain")], retry=retry)
    assert kinds(tree) == {"mnist": "complete"}


def test_data_set_without_a_synthetic_one(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: one.model_copy(update={"synthetic": None}) for name, one in data_sets.described().items()}
    monkeypatch.setattr(data_sets, "described", lambda *bases: known)
    with pytest.raises(CourseboxError) as caught:
        fetch(cache, sets=["cifar10"])
    assert caught.value.message == "no source has the data set cifar10 (no mirror has it)"
