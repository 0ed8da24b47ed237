"""In the process of JupyterLab: refuse to start without authentication, and say where the server is.

The settings (jupyter_server_config.py) load both parts: `Identity` in place of Jupyter's own class, and this module as
a server extension. Under a hub only the extension runs.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any
from urllib.parse import quote

from jupyter_server.auth.identity import PasswordIdentityProvider  # type: ignore[import-not-found]
from tornado.netutil import bind_sockets  # type: ignore[import-not-found]

from coursebox_container.credentials import GIVEN
from coursebox_container.messages import Problem, fail, say
from coursebox_container.notebook import ADDRESS, by_hub
from coursebox_container.runtime import VARIABLE, write_private

EVERYWHERE = ("", "*", "0.0.0.0", "::")


class Identity(PasswordIdentityProvider):  # type: ignore[misc]
    """Jupyter's own class, without its warning about the address.

    In a container the server listens on all addresses, IPv4 and IPv6, and publishing the port decides who reaches it.
    Jupyter would print a warning at each start; here `refuse_open_server` judges what matters.
    """

    def validate_security(self, app: Any, ssl_options: dict[str, Any] | None = None) -> None:
        refuse_open_server(self)


def refuse_open_server(identity: Any) -> None:
    """End the start where neither token nor password is asked for, whatever option or settings file says so."""
    if not identity.auth_enabled:
        fail(
            Problem(
                "the options or settings ask for a server without token and password, which is open to everyone",
                hint="leave them out to get a random token, or set JUPYTER_TOKEN or JUPYTER_PASSWORD_HASH",
            )
        )
        raise SystemExit(1)


def refuse_taken_port(app: Any) -> None:
    """End the start where another server has the port; Jupyter's own message names no remedy."""
    try:
        for taken in bind_sockets(app.port, app.ip):
            taken.close()
    except OSError as error:
        fail(
            Problem(
                f"the server cannot listen on port {app.port} ({error.strerror})",
                hint="choose another one: -e JUPYTER_PORT=9999, and with it -p 127.0.0.1:9999:9999",
            )
        )
        raise SystemExit(1) from None


def address(app: Any) -> str:
    """The server's address as seen from inside of the container: scheme, host, port and base, with a final "/"."""
    host = "127.0.0.1" if app.ip in EVERYWHERE else f"[{app.ip}]" if ":" in app.ip else app.ip
    return f"{'https' if app.certfile else 'http'}://{host}:{app.port}{app.base_url}"


def invitation(app: Any) -> str:
    """The line for the student: where to click."""
    page = address(app).removesuffix("/") + app.default_url.removeprefix(app.base_url.removesuffix("/"))
    identity = app.identity_provider
    if identity.hashed_password:
        page += " and give the password"
    elif identity.token and os.environ.get(GIVEN):  # a secret from a file stays out of the log
        page += f" and give the token of {os.environ[GIVEN]}"
    elif identity.token:
        page += f"?token={quote(identity.token, safe='')}"
    return f"JupyterLab: {page} (the port is the first one of docker run -p 127.0.0.1:{app.port}:{app.port})"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: Any) -> None:
    """Judge what `Identity` cannot, because another class was put in its place, and the port."""
    refuse_open_server(app.identity_provider)
    if not app.sock:
        refuse_taken_port(app)


async def _start_jupyter_server_extension(app: Any) -> None:
    """The server listens: tell the health check where, and the student."""
    if VARIABLE in os.environ and not app.sock:
        write_private(f"{os.environ[VARIABLE]}/{ADDRESS}", f"{address(app)}api\n")
    if not by_hub(os.environ):
        say(invitation(app))
    _Leaving.quickly = True


class _Leaving:
    """Whether the end is an orderly one, in which nothing but memory is left to give back."""

    quickly = False


@atexit.register
def _leave() -> None:
    """Skip the interpreter's own cleaning: it takes half a second of a processor, more than all the rest of the end.

    Registered when the settings are read, so that it comes after what others have registered since.
    """
    if _Leaving.quickly and not hasattr(sys, "last_exc"):
        sys.stdout.flush()
        os._exit(0)
