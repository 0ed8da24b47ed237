"""Started by a JupyterHub: the default command turns itself into jupyterhub-singleuser and asks the hub who comes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx
import pytest
from containers import Container, docker, wait_for

TOKEN = "hub-gave-this-token"
OF_ALICE, OF_MALLORY = "alice-may-come-in", "mallory-is-known-too"
PREFIX = "/user/alice/"


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub's API that a single-user server asks for."""

    asked: list[str]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        type(self).asked.append(path)
        given = self.headers.get("Authorization", "").removeprefix("token ").removeprefix("Bearer ")
        users = {OF_ALICE: "alice", OF_MALLORY: "mallory"}
        if path.rstrip("/") == "/hub/api":
            self.answer(200, {"version": "6.1.1"})
        elif path == "/hub/api/user" and given in users:
            name = users[given]
            scopes = [f"access:servers!user={name}"]
            self.answer(200, {"name": name, "kind": "user", "admin": False, "groups": [], "scopes": scopes})
        else:
            self.answer(403, {"status": 403, "message": "no"})

    def do_POST(self) -> None:
        type(self).asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200, {})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """Address of a hub on the engine's own network; Hub.asked is what it was asked."""
    gateway = docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge").strip()
    Hub.asked = []
    server = ThreadingHTTPServer((gateway or "172.17.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{server.server_address[0]}:{server.server_address[1]}"
    server.shutdown()


def variables(hub: str) -> list[str]:
    """What DockerSpawner sets."""
    given = {
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "JUPYTERHUB_API_URL": f"{hub}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8888{PREFIX}",
        "JUPYTERHUB_ACTIVITY_URL": f"{hub}/hub/api/users/alice/activity",
        "JUPYTERHUB_USER": "alice",
        "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{PREFIX}oauth_callback",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:servers!server=alice/", "access:servers!user=alice"]',
        "JUPYTERHUB_OAUTH_SCOPES": '["access:servers!server=alice/", "access:servers!user=alice"]',
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_ADMIN_ACCESS": "1",
    }
    return [word for name, value in given.items() for word in ("--env", f"{name}={value}")]


@pytest.fixture(scope="module", params=["default-command", "start-singleuser.py", "jupyterhub-singleuser"])
def server(request: pytest.FixtureRequest, start_shared, hub: str) -> Container:
    command = [] if request.param == "default-command" else [request.param]
    container: Container = start_shared(*command, options=variables(hub))
    wait_for(lambda: "/hub/api/users/alice/activity" in Hub.asked, "the server reports to the hub", 90)
    wait_for(lambda: answers(container), "the server answers", 90)
    return container


def answers(container: Container) -> bool:
    try:
        return bool(container.http(f"{PREFIX}api").status_code == 200)
    except httpx.TransportError:
        return False


def ask(server: Container, token: str) -> int:
    answer = server.http(f"{PREFIX}api/contents", headers={"Authorization": f"token {token}"})
    return int(answer.status_code)


def test_the_hub_decides_who_comes_in(server: Container) -> None:
    server.allowed += [
        r"403 GET /user/alice/api/contents",
        "wrote error",
        "No Hub user identified",
        "Not allowing user mallory",
    ]
    assert ask(server, OF_ALICE) == 200
    assert ask(server, OF_MALLORY) == 403
    assert ask(server, "invented") == 403
    assert server.http(f"{PREFIX}api/contents").status_code == 403


def test_there_is_no_token_and_no_line_for_a_student(server: Container) -> None:
    assert "JupyterLab: http" not in server.log
    assert "jupyterhub-singleuser" in " ".join(server.processes())


def test_health_check_asks_the_right_address(server: Container) -> None:
    server.execute("healthcheck")


def test_the_end(server: Container) -> None:
    assert server.stop() < 3
    assert server.exit_status == 0
