"""Finding a locked wheel on whatever indexes pip knows: by its name and digest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from coursebox.archives import indexes
from coursebox.archives.indexes import Link, find_wheel, read_links
from coursebox.archives.pip import PipSettings
from tests.equipment.http_server import Server, cut, reply

SHA = "a" * 64
NAME = "zope_interface-7.2-py3-none-any.whl"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(follow_redirects=True, max_redirects=5, timeout=5) as made:
        yield made


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds; none is waited for."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def html(*links: str) -> bytes:
    return "".join(f"<a data-x='1' href='{link}'>name</a><br>" for link in links).encode()


def test_html_index(server: Server, client: httpx.Client) -> None:
    page = html(f"../../files/{NAME}#sha256={SHA}", f"https://cdn.example/{NAME}#sha256={SHA}", f"/other/{NAME}")
    server.put("/simple/zope-interface/", page, "text/html")
    found = list(find_wheel(NAME, SHA, PipSettings((server.url("/simple"),)), client))
    assert found == [server.url(f"/files/{NAME}"), f"https://cdn.example/{NAME}", server.url(f"/other/{NAME}")]


def test_json_index(server: Server, client: httpx.Client) -> None:
    files = [
        {"filename": NAME, "url": f"../../f/{NAME}", "hashes": {"sha256": SHA}},
        {"filename": NAME, "url": "../../f/wrong.whl", "hashes": {"sha256": "b" * 64}},
        {"filename": NAME, "url": "../../f/untold.whl", "hashes": {}},
        {"filename": "zope_interface-7.1-py3-none-any.whl", "url": "x.whl", "hashes": {"sha256": SHA}},
    ]
    page = json.dumps({"meta": {"api-version": "1.0"}, "files": files}).encode()
    server.put("/simple/zope-interface/", page, "application/vnd.pypi.simple.v1+json")
    found = list(find_wheel(NAME, SHA, PipSettings((server.url("/simple"),)), client))
    assert found == [server.url(f"/f/{NAME}"), server.url("/f/untold.whl")]
    assert "application/vnd.pypi.simple.v1+json" in server.requests[0][1]["Accept"]


def test_other_digest_or_name_is_not_it(server: Server, client: httpx.Client) -> None:
    server.put("/simple/zope-interface/", html(f"{NAME}#sha256={'b' * 64}", f"x{NAME}#sha256={SHA}"), "text/html")
    assert list(find_wheel(NAME, SHA, PipSettings((server.url("/simple"),)), client)) == []


def test_indexes_are_asked_in_order_and_only_as_long_as_needed(server: Server, client: httpx.Client) -> None:
    for index in ("one", "two"):
        server.put(f"/{index}/zope-interface/", html(f"{NAME}#sha256={SHA}"), "text/html")
    search = find_wheel(NAME, SHA, PipSettings((server.url("/one"), server.url("/two"))), client)
    assert next(search) == server.url(f"/one/zope-interface/{NAME}")
    assert len(server.requests) == 1
    assert list(search) == [server.url(f"/two/zope-interface/{NAME}")]


def test_escaped_names(server: Server, client: httpx.Client) -> None:
    name = "torch-2.6.0+cpu-cp313-cp313-linux_x86_64.whl"
    server.put("/simple/torch/", html(f"torch-2.6.0%2Bcpu-cp313-cp313-linux_x86_64.whl#sha256={SHA}"), "text/html")
    (found,) = find_wheel(name, SHA, PipSettings((server.url("/simple"),)), client)
    assert found.endswith("/torch-2.6.0%2Bcpu-cp313-cp313-linux_x86_64.whl")


def test_login_of_the_index_goes_to_files_on_its_host_only(server: Server, client: httpx.Client) -> None:
    server.put("/simple/zope-interface/", html(f"/f/{NAME}", f"https://cdn.example/{NAME}"), "text/html")
    index = server.url("/simple").replace("//", "//user:pass@")
    found = list(find_wheel(NAME, SHA, PipSettings((index,)), client))
    assert found == [server.url(f"/f/{NAME}").replace("//", "//user:pass@"), f"https://cdn.example/{NAME}"]
    assert server.requests[0][1]["Authorization"].startswith("Basic ")


def test_flat_folder_and_file_index(tmp_path: Path, client: httpx.Client) -> None:
    flat, simple = tmp_path / "flat", tmp_path / "simple" / "zope-interface"
    flat.mkdir()
    simple.mkdir(parents=True)
    (flat / NAME).touch()
    (flat / "notes.txt").touch()
    (simple / "index.html").write_bytes(html(f"../../files/{NAME}#sha256={SHA}"))
    settings = PipSettings(((tmp_path / "simple").as_uri(),), (str(flat), str(tmp_path / "absent")))
    assert list(find_wheel(NAME, SHA, settings, client)) == [str(flat / NAME), (tmp_path / "files" / NAME).as_uri()]


@pytest.mark.parametrize("as_url", [False, True])
def test_find_links_may_be_a_page_or_a_file(tmp_path: Path, client: httpx.Client, as_url: bool) -> None:
    page, file = tmp_path / "links.html", tmp_path / NAME
    page.write_bytes(html(f"wheels/{NAME}"))
    file.touch()
    sources = [path.as_uri() if as_url else str(path) for path in (page, file)]
    assert [link.filename for source in sources for link in read_links(source, client)] == [NAME, NAME]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"files": [{}]}', "application/json"),
        (b"\xff<a", "text/html"),
    ],
)
def test_page_that_is_no_index_has_nothing(server: Server, client: httpx.Client, content: bytes, kind: str) -> None:
    assert read_links(server.put("/simple/x/", content, kind), client) == []


def test_missing_page_has_nothing(server: Server, client: httpx.Client) -> None:
    assert read_links(server.url("/simple/x/"), client) == []
    assert read_links(server.behave("/gone/", reply(410)), client) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "a password"), (403, "does not let"), (407, "the proxy"), (451, "legal"), (400, "HTTP 400")],
)
def test_an_index_that_refuses_is_not_one_without_the_file(
    server: Server, client: httpx.Client, status: int, said: str
) -> None:
    with pytest.raises(ConnectionError, match=said):
        read_links(server.behave("/simple/x/", reply(status)), client)
    assert len(server.requests) == 1


def test_an_index_behind_a_login_page_is_not_one_without_the_file(server: Server, client: httpx.Client) -> None:
    with pytest.raises(ConnectionError, match="redirects without end"):
        read_links(server.behave("/round/", reply(302, Location="/round/")), client)


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_login_page_in_the_place_of_an_index_is_trouble(server: Server, client: httpx.Client, kind: str) -> None:
    """Otherwise the wheel would count as gone, and the hint would be to lock others."""
    login = b'<html><FORM action="/login"><input type="password"></FORM><a href="/help">help</a></html>'
    source = server.put("/simple/x/", login, kind)
    with pytest.raises(ConnectionError, match="the network asks for a login first"):
        read_links(source, client)
    with pytest.raises(ConnectionError):
        list(find_wheel("x-1-py3-none-any.whl", "0" * 64, PipSettings((server.url("/simple"),)), client))


def test_endless_page_has_nothing(server: Server, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "PAGE_LIMIT", 1000)
    assert read_links(server.put("/simple/x/", html(NAME) * 100, "text/html"), client) == []


def test_busy_index_is_asked_again(server: Server, client: httpx.Client) -> None:
    server.put("/x/", html(f"{NAME}#sha256={SHA}"), "text/html")
    server.behave("/x/", reply(503), reply(500), server.serve)
    assert read_links(server.url("/x/"), client) == [Link(NAME, server.url(f"/x/{NAME}"), SHA)]


def test_server_says_when_to_ask_again(server: Server, client: httpx.Client, pauses: list[float]) -> None:
    server.put("/x/", html(f"{NAME}#sha256={SHA}"), "text/html")
    server.behave("/x/", reply(429, Retry_After="7"), reply(503, Retry_After="86400"), server.serve)
    assert len(read_links(server.url("/x/"), client)) == 1
    assert pauses == [7, 30]


def test_page_that_breaks_off_is_asked_for_again(server: Server, client: httpx.Client, pauses: list[float]) -> None:
    page = html(f"{NAME}#sha256={SHA}")
    server.put("/x/", page, "text/html")
    server.behave("/x/", cut(page, 10), server.serve)
    assert len(read_links(server.url("/x/"), client)) == 1
    assert len(pauses) == 1


def test_index_that_never_answers_is_asked_three_times(
    server: Server, client: httpx.Client, pauses: list[float]
) -> None:
    server.behave("/x/", reply(502))
    with pytest.raises(ConnectionError):
        read_links(server.url("/x/"), client)
    assert len(server.asked("/x/")) == 3
    assert all(pause <= 1 for pause in pauses)


def test_silent_index_is_trouble_only_when_the_others_have_nothing(server: Server, client: httpx.Client) -> None:
    server.behave("/bad/zope-interface/", reply(503))
    server.put("/good/zope-interface/", html(NAME), "text/html")
    bad, good = server.url("/bad"), server.url("/good")
    assert len(list(find_wheel(NAME, SHA, PipSettings((bad, good)), client))) == 1
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1: HTTP 503"):
        list(find_wheel(NAME, SHA, PipSettings((bad,)), client))
