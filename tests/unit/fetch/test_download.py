"""download: whatever a server does, a file has its name in the cache only with the right content."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import threading
from collections import namedtuple
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.fetch import download as download_module
from coursebox.fetch import store as store_module
from coursebox.fetch.download import Download, Downloads, Fallback, download
from coursebox.fetch.retry import RetryPolicy
from tests.equipment.http_server import Server, cut, reply

CONTENT = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Get = Callable[..., Downloads]


@pytest.fixture
def get(cache: Cache, retry: RetryPolicy) -> Get:
    """Download CONTENT from the given addresses."""

    def run(*addresses: str, size: int | None = len(CONTENT), limit: int = 1 << 20) -> Downloads:
        want = Download("file.deb", SHA256, size, lambda: addresses, limit)
        return download([want], cache, retry=retry)

    return run


def left_over(cache: Cache) -> list[Path]:
    """Everything that is neither an object nor the list of verified ones."""
    return [path for path in cache.root.rglob("*") if path.is_file() and path.parent.name == "partial"]


def is_whole(cache: Cache) -> bool:
    return cache.object(SHA256).read_bytes() == CONTENT and not left_over(cache)


def test_file_gets_its_digest_as_name(server: Server, cache: Cache, get: Get) -> None:
    got = get(server.put("/file.deb", CONTENT))
    assert got.paths == {SHA256: cache.object(SHA256)}
    assert not got.gone
    assert is_whole(cache)
    assert stat.S_IMODE(cache.object(SHA256).stat().st_mode) == 0o444


def test_nothing_is_asked_or_read_again_when_all_is_there(
    server: Server, get: Get, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.put("/file.deb", CONTENT)
    get(url)
    monkeypatch.setattr(store_module, "sha256_file", lambda path: pytest.fail(f"{path} was read again"))
    get(url)
    assert len(server.requests) == 1
    assert "nothing to fetch, 1 file there" in capsys.readouterr().err


def test_same_file_wanted_twice_is_fetched_once(server: Server, cache: Cache, retry: RetryPolicy) -> None:
    url = server.put("/file.deb", CONTENT)
    wants = [Download(name, SHA256, len(CONTENT), lambda: [url]) for name in ("one", "two")]
    assert download(wants, cache, retry=retry).paths == {SHA256: cache.object(SHA256)}
    assert len(server.requests) == 1


def test_many_files_in_parallel(server: Server, cache: Cache, retry: RetryPolicy) -> None:
    contents = [bytes([number]) * (1000 + number) for number in range(60)]
    wants = []
    for number, content in enumerate(contents):
        url = server.put(f"/{number}", content)
        wants.append(Download(str(number), hashlib.sha256(content).hexdigest(), len(content), lambda url=url: [url]))
    got = download(wants, cache, retry=retry)
    assert sorted(path.read_bytes() for path in got.paths.values()) == sorted(contents)


def test_stalling_server_is_left_for_the_next(server: Server, cache: Cache, get: Get) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        server.closing.wait(20)

    get(server.behave("/stall", stall), server.put("/file.deb", CONTENT))
    assert is_whole(cache)
    assert len(server.asked("/stall")) == 3


def test_stalling_server_alone_is_an_error_that_may_pass(server: Server, cache: Cache, get: Get) -> None:
    with pytest.raises(CourseboxError) as caught:
        get(server.behave("/stall", lambda handler: server.closing.wait(20) and None))
    assert caught.value.message == f"1 of 1 file could not be fetched: file.deb ({server.host}: stalls)"
    assert caught.value.hint == "check the network and run it again: what has come is kept, and it goes on from there"
    assert not cache.object(SHA256).exists()


def test_trickling_server_is_left_for_the_next(server: Server, cache: Cache, get: Get) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        while not server.closing.wait(0.05):
            handler.wfile.write(b"x")

    get(server.behave("/slow", trickle), server.put("/file.deb", CONTENT))
    assert is_whole(cache)


def test_cut_download_goes_on_where_it_broke_off(server: Server, cache: Cache, get: Get) -> None:
    url = server.put("/file.deb", CONTENT)
    server.behave("/file.deb", cut(CONTENT, 100_000, tag=f'"{len(CONTENT)}"'), server.serve)
    get(url)
    first, second = server.asked("/file.deb")
    assert "Range" not in first
    assert second["Range"] == "bytes=100000-"
    assert second["If-Range"] == f'"{len(CONTENT)}"'
    assert is_whole(cache)


def test_server_that_always_cuts_but_gets_on_is_good_enough(server: Server, cache: Cache, get: Get) -> None:
    def piece(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT) - start))
        handler.end_headers()
        handler.wfile.write(CONTENT[start : start + 40_000])
        handler.close_connection = True

    get(server.behave("/file.deb", piece))
    assert is_whole(cache)
    assert len(server.requests) == 8


def test_server_that_always_cuts_at_the_same_place_is_left(server: Server, cache: Cache, get: Get) -> None:
    get(server.behave("/cut", cut(CONTENT, 0)), server.put("/file.deb", CONTENT))
    assert is_whole(cache)
    assert len(server.asked("/cut")) == 3


def test_what_one_source_cut_the_next_completes(server: Server, cache: Cache, get: Get) -> None:
    server.behave("/cut", cut(CONTENT, 70_000), reply(404))
    get(server.url("/cut"), server.put("/file.deb", CONTENT))
    assert server.asked("/file.deb")[0]["Range"] == "bytes=70000-"
    assert is_whole(cache)


def test_server_without_ranges_begins_anew(server: Server, cache: Cache, get: Get) -> None:
    server.behave("/file.deb", cut(CONTENT, 100_000), reply(200, CONTENT))
    get(server.url("/file.deb"))
    assert server.asked("/file.deb")[1]["Range"] == "bytes=100000-"
    assert is_whole(cache)


def test_content_that_changed_meanwhile_is_not_patched_together(server: Server, cache: Cache, get: Get) -> None:
    old = bytes(len(CONTENT))
    server.put("/file.deb", CONTENT)
    server.behave("/file.deb", cut(old, 100_000, tag='"old"'), server.serve)
    get(server.url("/file.deb"))
    assert server.asked("/file.deb")[1]["If-Range"] == '"old"'
    assert is_whole(cache)


def test_server_that_patches_two_contents_together_is_asked_for_the_whole(
    server: Server, cache: Cache, get: Get
) -> None:
    old = bytes(len(CONTENT))

    def rest(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"][6:-1])
        span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        reply(206, CONTENT[start:], Content_Range=span)(handler)

    server.put("/file.deb", CONTENT)
    server.behave("/file.deb", cut(old, 100_000), rest, server.serve)
    get(server.url("/file.deb"))
    assert "Range" not in server.asked("/file.deb")[2]
    assert is_whole(cache)


@pytest.mark.parametrize("span", ["bytes 0-99/307200", "bytes 100000-307199/999999", "lines 1-2/3", ""])
def test_another_part_than_asked_for_is_not_taken(server: Server, cache: Cache, get: Get, span: str) -> None:
    wrong = reply(206, CONTENT[100_000:], Content_Range=span)
    server.put("/file.deb", CONTENT)
    server.behave("/file.deb", cut(CONTENT, 100_000), wrong, server.serve)
    get(server.url("/file.deb"))
    assert is_whole(cache)


def test_server_that_always_sends_another_part(server: Server, get: Get) -> None:
    span = f"bytes 100000-{len(CONTENT) - 1}/{len(CONTENT)}"
    server.behave("/file.deb", cut(CONTENT, 50_000), reply(206, CONTENT[100_000:], Content_Range=span))
    with pytest.raises(CourseboxError, match=r"gives another part than was asked for \(HTTP 206\)"):
        get(server.url("/file.deb"))


@pytest.mark.parametrize(
    ("announced", "why"),
    [
        (len(CONTENT) - 7, "has 307193 bytes, and 307200 are expected"),
        (10**12, "has 1000000000000 bytes, and 307200 are expected"),
    ],
)
def test_wrong_length_is_refused_before_reading(
    server: Server, cache: Cache, get: Get, announced: int, why: str
) -> None:
    url = server.behave("/liar", reply(200, CONTENT, Content_Length=str(announced)))
    assert get(url).gone == {SHA256: f"{server.host}: {why}"}
    get(url, server.put("/file.deb", CONTENT))
    assert is_whole(cache)


def test_endless_body_ends_at_the_files_size(server: Server, cache: Cache, get: Get) -> None:
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not server.closing.is_set():
            handler.wfile.write(bytes(1 << 16))
            sent.append(1 << 16)

    url = server.behave("/endless", endless)
    assert get(url).gone == {SHA256: f"{server.host}: sends more than 307200 bytes"}
    assert sum(sent) < 64 << 20  # what the sockets' buffers hold, and no more
    assert get(url, size=None, limit=500_000).gone == {SHA256: f"{server.host}: sends more than 500000 bytes"}
    assert not left_over(cache)


def test_body_without_length_is_taken_when_it_is_right(server: Server, cache: Cache, get: Get) -> None:
    def plain(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(CONTENT)
        handler.close_connection = True

    get(server.behave("/plain", plain), size=None)
    assert is_whole(cache)


def test_wrong_bytes_of_the_right_length_are_never_stored(server: Server, cache: Cache, get: Get) -> None:
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    url = server.put("/wrong", flipped)
    assert get(url).gone == {SHA256: f"{server.host}: has another content (SHA-256)"}
    assert not cache.object(SHA256).exists()
    assert not left_over(cache)
    get(url, server.put("/file.deb", CONTENT))
    assert is_whole(cache)


def test_compressed_transfer_is_not_unpacked(server: Server, cache: Cache, get: Get) -> None:
    """A server may call the .gz file that is wanted a gzip-coded something else."""
    get(server.behave("/file.gz", reply(200, CONTENT, Content_Encoding="gzip")))
    assert is_whole(cache)


def test_redirect_is_followed(server: Server, cache: Cache, get: Get) -> None:
    target = server.put("/file.deb", CONTENT)
    get(server.behave("/moved", reply(302, Location=target)))
    assert is_whole(cache)


def test_redirects_without_end_do_end(server: Server, cache: Cache, get: Get) -> None:
    url = server.behave("/round", reply(302, Location="/round"))
    with pytest.raises(CourseboxError, match="redirects without end"):
        get(url)
    assert len(server.requests) == 6
    get(url, server.put("/file.deb", CONTENT))
    assert is_whole(cache)


@pytest.mark.parametrize("status", [404, 410])
def test_no_is_an_answer(server: Server, get: Get, status: int) -> None:
    assert get(server.behave("/no", reply(status))).gone == {SHA256: f"{server.host}: HTTP {status}"}
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "asks for a password"), (403, "does not let"), (407, "the proxy asks"), (451, "legal reasons"),
     (511, "a login first"), (400, "HTTP 400)"), (418, "HTTP 418)")],
)  # fmt: skip
def test_a_refusal_is_not_a_file_that_is_gone(server: Server, cache: Cache, get: Get, status: int, said: str) -> None:
    """It is told at once, another source is asked, and nothing else takes the file's place."""
    with pytest.raises(CourseboxError, match=re.escape(said)):
        get(server.behave("/no", reply(status)))
    assert len(server.requests) == 1
    get(server.url("/no"), server.put("/file.deb", CONTENT))
    assert is_whole(cache)


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "application/xhtml+xml"])
@pytest.mark.parametrize("content", [b"<html>please log in</html>", bytes(len(CONTENT)), b""])
def test_a_login_page_is_not_a_file_that_is_gone(
    server: Server, cache: Cache, get: Get, kind: str, content: bytes
) -> None:
    with pytest.raises(CourseboxError, match="a web page instead"):
        get(server.behave("/file.deb", reply(200, content, Content_Type=kind)))
    get(server.url("/file.deb"), server.put("/other/file.deb", CONTENT))
    assert is_whole(cache)


PAGES = {
    "html": b"<!DOCTYPE html><title>Hotel</title><form>room?</form>",
    "blanks": b"\xef\xbb\xbf\r\n  <HTML>log in",
    "xml": b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>',
    "script": b'<script>location = "https://login"</script>',
    "json": b'{"error": "authentication required"}',
    "line": b"Access denied by the proxy's rules\n",
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("how", ["short", "of the file's size", "too long", "without length"])
@pytest.mark.parametrize("kind", ["application/octet-stream", ""])
def test_a_login_page_by_any_type_is_known_by_its_bytes(
    server: Server, cache: Cache, get: Get, page: str, how: str, kind: str
) -> None:
    size = {"of the file's size": len(CONTENT), "too long": 2 * len(CONTENT)}.get(how, 0)
    content = PAGES[page].ljust(size, b"\n")

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    answer = endless if how == "without length" else reply(200, content, Content_Type=kind)
    with pytest.raises(CourseboxError, match="a web page instead"):
        get(server.behave("/file.deb", answer))
    assert len(server.requests) == 1
    assert not left_over(cache)
    get(server.url("/file.deb"), server.put("/other/file.deb", CONTENT))
    assert is_whole(cache)


@pytest.mark.parametrize("kind", ["train.csv", "page.html", "notes"])
def test_a_file_that_is_text_is_taken_and_a_damaged_one_is_no_page(
    server: Server, cache: Cache, retry: RetryPolicy, kind: str
) -> None:
    content = b"<html>1,2,3\n"
    digest = hashlib.sha256(content).hexdigest()
    right = Download(kind, digest, len(content), lambda: [server.put("/right", content)])
    assert download([right], cache, retry=retry).paths[digest].read_bytes() == content
    other = Download("train.csv", SHA256, len(CONTENT), lambda: [server.put("/other", b"4,5,6\n")])
    assert SHA256 in download([other], cache, retry=retry).gone


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_server_is_asked_again(server: Server, cache: Cache, get: Get, status: int) -> None:
    server.put("/file.deb", CONTENT)
    server.behave("/file.deb", reply(status), reply(status), server.serve)
    get(server.url("/file.deb"))
    assert is_whole(cache)


def test_busy_server_is_not_one_that_has_it_not(server: Server, get: Get) -> None:
    with pytest.raises(CourseboxError) as caught:
        get(server.behave("/busy", reply(503)))
    assert caught.value.message == f"1 of 1 file could not be fetched: file.deb ({server.host}: HTTP 503)"


def test_one_source_that_says_nothing_may_be_the_one_that_has_it(server: Server, get: Get) -> None:
    with pytest.raises(CourseboxError, match=r"HTTP 404; .*HTTP 503"):
        get(server.behave("/no", reply(404)), server.behave("/busy", reply(503)))


def test_answers_from_aside_decide_nothing(server: Server, cache: Cache, get: Get) -> None:
    busy, no = server.behave("/busy", reply(503)), server.behave("/no", reply(404))
    assert get(no, Fallback(busy)).gone == {SHA256: f"{server.host}: HTTP 404; {server.host}: HTTP 503"}
    with pytest.raises(CourseboxError, match=r"HTTP 503; .*HTTP 404"):
        get(busy, Fallback(no))
    get(no, Fallback(server.put("/file.deb", CONTENT)))
    assert is_whole(cache)


def test_no_sources_at_all(get: Get) -> None:
    assert get().gone == {SHA256: "no source offers it"}


def test_source_that_cannot_tell_is_trouble(cache: Cache, retry: RetryPolicy) -> None:
    def addresses() -> Sequence[str]:
        raise ConnectionError("mirror.example: no answer")

    with pytest.raises(CourseboxError, match=r"file\.deb \(mirror\.example: no answer\)"):
        download([Download("file.deb", SHA256, None, addresses)], cache, retry=retry)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_unreachable_host(get: Get, server: Server, cache: Cache) -> None:
    url = f"http://127.0.0.1:{closed_port()}/file.deb"
    with pytest.raises(CourseboxError, match=r"file\.deb \(127\.0\.0\.1:\d+: cannot be reached"):
        get(url)
    get(url, server.put("/file.deb", CONTENT))
    assert is_whole(cache)


def test_host_that_is_down_is_given_up_for_all_files(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    base = f"http://127.0.0.1:{closed_port()}"
    retry = RetryPolicy(connections=2, attempts=4, pause=0.001)
    tried = []
    attempt = download_module._Worker._attempt

    def count(self: Any, *args: Any) -> Any:
        tried.append(1)
        return attempt(self, *args)

    monkeypatch.setattr(download_module._Worker, "_attempt", count)
    wants = [
        Download(f"{number}.deb", hashlib.sha256(bytes([number])).hexdigest(), 1, lambda: [f"{base}/file"])
        for number in range(100)
    ]
    with pytest.raises(CourseboxError) as caught:
        download(wants, cache, retry=retry)
    assert caught.value.message.startswith("100 of 100 files could not be fetched: ")
    assert caught.value.message.endswith("; and 97 more")
    assert len(tried) < 12


@pytest.mark.parametrize("address", ["gopher://mirror.example/file", "http://", "http://[broken/file"])
def test_address_that_is_none(server: Server, cache: Cache, get: Get, address: str) -> None:
    get(address, server.put("/file.deb", CONTENT))
    assert is_whole(cache)


def test_local_files_and_file_urls(tmp_path: Path, cache: Cache, get: Get) -> None:
    wrong, right = tmp_path / "wrong.deb", tmp_path / "rück grat.deb"
    wrong.write_bytes(bytes(len(CONTENT)))
    right.write_bytes(CONTENT)
    got = get(str(tmp_path / "absent.deb"), str(tmp_path), str(wrong))
    assert got.gone[SHA256].split("; ") == [
        f"{tmp_path}/absent.deb: is not there",
        f"{tmp_path}: Is a directory",
        f"{wrong}: has another content (SHA-256)",
    ]
    get(str(wrong), right.as_uri())
    assert is_whole(cache)


@pytest.mark.parametrize("keep_time", [False, True])
def test_flipped_bit_in_the_cache_is_found_and_mended(
    server: Server, cache: Cache, get: Get, capsys: pytest.CaptureFixture[str], keep_time: bool
) -> None:
    url = server.put("/file.deb", CONTENT)
    get(url)
    path = cache.object(SHA256)
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes([CONTENT[1000] ^ 4]))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    capsys.readouterr()
    get(url)
    assert f"warning: file.deb is damaged in the cache ({path}) and will be fetched again" in capsys.readouterr().err
    assert is_whole(cache)


def test_damaged_object_does_not_stay_when_no_source_has_it(server: Server, cache: Cache, get: Get) -> None:
    get(server.put("/file.deb", CONTENT))
    cache.object(SHA256).chmod(0o644)
    cache.object(SHA256).write_bytes(bytes(len(CONTENT)))
    assert get(server.url("/none")).gone
    assert not cache.object(SHA256).exists()


@pytest.mark.parametrize("length", [0, 1000])
def test_shortened_object_is_found_and_mended(server: Server, cache: Cache, get: Get, length: int) -> None:
    url = server.put("/file.deb", CONTENT)
    get(url)
    cache.object(SHA256).chmod(0o644)
    os.truncate(cache.object(SHA256), length)
    get(url)
    assert is_whole(cache)


@pytest.mark.parametrize("text", ["", "[]", "{", f'{{"{SHA256}": 3}}'])
def test_damaged_list_of_verified_objects_costs_only_a_check(server: Server, cache: Cache, get: Get, text: str) -> None:
    url = server.put("/file.deb", CONTENT)
    get(url)
    (cache.root / "verified.json").write_text(text)
    get(url)
    assert len(server.requests) == 1
    assert is_whole(cache)


def test_killed_download_goes_on_in_the_next_run(server: Server, cache: Cache, get: Get) -> None:
    (cache.root / "partial").mkdir(parents=True)
    (cache.root / "partial" / SHA256).write_bytes(CONTENT[:123_456])
    get(server.put("/file.deb", CONTENT))
    assert server.requests[0][1]["Range"] == "bytes=123456-"
    assert is_whole(cache)


@pytest.mark.parametrize("left", [bytes(100_000), CONTENT, bytes(len(CONTENT)), bytes(len(CONTENT) + 1)])
def test_whatever_a_killed_run_left_ends_well(server: Server, cache: Cache, get: Get, left: bytes) -> None:
    (cache.root / "partial").mkdir(parents=True)
    (cache.root / "partial" / SHA256).write_bytes(left)
    get(server.put("/file.deb", CONTENT))
    assert is_whole(cache)


def test_old_leftovers_are_swept(server: Server, cache: Cache, get: Get) -> None:
    partial = cache.root / "partial"
    (partial / "folder-old").mkdir(parents=True)
    (partial / "old").write_bytes(b"x")
    (partial / "young").write_bytes(b"x")
    for path in (partial / "folder-old", partial / "old"):
        os.utime(path, (0, 0))
    get(server.put("/file.deb", CONTENT))
    assert [path.name for path in partial.iterdir()] == ["young"]


@pytest.mark.parametrize("first_fails", [False, True])
def test_two_at_once_fetch_once(
    server: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch, first_fails: bool
) -> None:
    """The second waits until the first is done, and does what is left to do."""
    begun, waits = threading.Event(), threading.Event()
    flock = store_module.fcntl.flock

    def watch(file: Any, how: int) -> None:
        try:
            flock(file, how)
        except BlockingIOError:
            waits.set()
            raise

    def slow(handler: BaseHTTPRequestHandler) -> None:
        begun.set()
        waits.wait(10)
        reply(404)(handler) if first_fails else server.serve(handler)

    monkeypatch.setattr(store_module.fcntl, "flock", watch)
    server.put("/file.deb", CONTENT)
    url = server.behave("/file.deb", slow, server.serve)
    results: list[Downloads] = []

    def run() -> None:
        want = Download("file.deb", SHA256, len(CONTENT), lambda: [url])
        results.append(download([want], cache, retry=RetryPolicy(connections=2)))

    first, second = threading.Thread(target=run), threading.Thread(target=run)
    first.start()
    assert begun.wait(10)
    second.start()
    assert waits.wait(10)
    first.join(20)
    second.join(20)
    assert [bool(result.gone) for result in results] == [first_fails, False]
    assert results[1].paths == {SHA256: cache.object(SHA256)}
    assert len(server.requests) == 1 + first_fails
    assert is_whole(cache)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_clear_error_and_leaves_nothing(
    server: Server, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write = store_module.Part.write

    def full(self: store_module.Part, block: bytes) -> None:
        if self.size > 100_000:
            raise OSError(code, os.strerror(code))
        write(self, block)

    monkeypatch.setattr(store_module.Part, "write", full)
    with pytest.raises(CourseboxError) as caught:
        get(server.put("/file.deb", CONTENT))
    assert caught.value.message == (
        f"no space left on the device: file.deb could not be stored in the cache {cache.root}"
    )
    assert caught.value.hint == "make room there, or set COURSEBOX_CACHE to a folder on a larger disk"
    assert not cache.object(SHA256).exists()
    assert not left_over(cache)


def test_full_disk_ends_the_other_downloads_too(server: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()
    sent = []

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while sum(sent) < 1_000_000 and not server.closing.wait(0.01):
            handler.wfile.write(bytes(5000))
            sent.append(5000)
            started.set()

    write = store_module.Part.write

    def full(self: store_module.Part, block: bytes) -> None:
        if block[:1] == b"\x01":
            started.wait(10)
            raise OSError(errno.ENOSPC, "full")
        write(self, block)

    monkeypatch.setattr(store_module.Part, "write", full)
    small = b"\x01" * 10
    slow, bad = server.behave("/slow", drip), server.put("/bad", small)
    wants = [
        Download("slow.deb", "0" * 64, 1_000_000, lambda: [slow]),
        Download("bad.deb", hashlib.sha256(small).hexdigest(), 10, lambda: [bad]),
    ]
    with pytest.raises(CourseboxError, match=r"no space left on the device: bad\.deb"):
        download(wants, cache, retry=RetryPolicy(connections=2))
    assert not left_over(cache)
    assert sum(sent) < 1_000_000


def test_missing_room_is_said_before_the_first_byte(
    server: Server, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(CourseboxError) as caught:
        get(server.put("/file.deb", CONTENT))
    assert caught.value.message == (
        f"no space left on the device: 0.3 MB are to be fetched into the cache {cache.root}, where 0.0 MB are free"
    )
    assert not server.requests


def test_cache_that_cannot_be_written(server: Server, tmp_path: Path, retry: RetryPolicy) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = Cache(tmp_path / "file")
    url = server.put("/file.deb", CONTENT)
    with pytest.raises(CourseboxError) as caught:
        download([Download("file.deb", SHA256, None, lambda: [url])], cache, retry=retry)
    assert caught.value.message == f"file.deb could not be stored in the cache {cache.root}: Not a directory"


def test_summary_counts_what_came_and_what_was_there(
    server: Server, cache: Cache, retry: RetryPolicy, get: Get, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.put("/file.deb", CONTENT)
    get(url)
    other = server.put("/other", b"x" * 500_000)
    wants = [
        Download("file.deb", SHA256, len(CONTENT), lambda: [url]),
        Download("other", hashlib.sha256(b"x" * 500_000).hexdigest(), 500_000, lambda: [other]),
    ]
    capsys.readouterr()
    download(wants, cache, retry=retry, title="packages")
    assert capsys.readouterr().err == "  packages: 1 file, 0.5 MB in 0 s; 1 there already\n"
