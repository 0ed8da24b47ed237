"""Who may log in: a token is needed by default, or a password. The server never runs without either."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from coursebox_container.messages import Problem
from coursebox_container.runtime import write_private

# What `jupyter server password` makes: argon2:$argon2id$… or sha256:salt:digest.
HASH = re.compile(r"argon2:\$argon2\w*\$.+|\w+:[0-9a-zA-Z]+:[0-9a-f]{32,}")
LEAVE_OUT = "leave it out to get a random token"
GIVEN = "COURSEBOX_TOKEN_FILE"  # the file that a person gave: its token is not printed


def settle(environment: MutableMapping[str, str], runtime: str) -> None:
    """Check token and password. The token goes into a private file, so that neither `ps` nor a notebook shows it.

    A token is there always, also beside a password. Raises Problem for an empty token or password.
    """
    check_password(environment)
    token = given_token(environment) or os.urandom(24).hex()
    if "JUPYTER_TOKEN" in environment:
        environment.pop(GIVEN, None)
    elif environment.get("JUPYTER_TOKEN_FILE", f"{runtime}/token") != f"{runtime}/token":
        environment[GIVEN] = environment["JUPYTER_TOKEN_FILE"]
    write_private(f"{runtime}/token", token)
    environment.pop("JUPYTER_TOKEN", None)
    environment["JUPYTER_TOKEN_FILE"] = f"{runtime}/token"


def given_token(environment: MutableMapping[str, str]) -> str | None:
    """JUPYTER_TOKEN, or the content of JUPYTER_TOKEN_FILE; None where neither is set."""
    if "JUPYTER_TOKEN" in environment:
        token = environment["JUPYTER_TOKEN"].strip()
        name = "JUPYTER_TOKEN"
    elif "JUPYTER_TOKEN_FILE" in environment:
        name = f"JUPYTER_TOKEN_FILE={environment['JUPYTER_TOKEN_FILE']}"
        token = secret(environment, "JUPYTER_TOKEN_FILE")
    else:
        return None
    if not token:
        raise Problem(f"{name} is empty, and a server without a token is open to everyone", hint=LEAVE_OUT)
    return token


def check_password(environment: MutableMapping[str, str]) -> None:
    """Refuse an empty password and anything that is not a hash. JupyterLab reads the two variables itself."""
    if "JUPYTER_PASSWORD_HASH" in environment:
        given = environment["JUPYTER_PASSWORD_HASH"].strip()
        if not HASH.fullmatch(given):
            raise Problem(
                f"JUPYTER_PASSWORD_HASH is {'no hash of a password' if given else 'empty'}",
                hint="make one with: docker run --rm -it IMAGE "
                'python -c "from jupyter_server.auth import passwd; print(passwd())"',
            )
    if "JUPYTER_PASSWORD_FILE" in environment and not secret(environment, "JUPYTER_PASSWORD_FILE"):
        raise Problem(
            f"JUPYTER_PASSWORD_FILE={environment['JUPYTER_PASSWORD_FILE']} is empty, and an empty password is none",
            hint=f"write the password into it, or {LEAVE_OUT}",
        )


def secret(environment: MutableMapping[str, str], name: str) -> str:
    """The content of the file that a variable names, without the spaces around it."""
    path = environment[name]
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Problem(f"{name}={path} cannot be read ({reason})", hint="mount the file there, mode 0444") from error
