"""What the status of an HTTP answer says about a file: it is gone, or why it is not given."""

from __future__ import annotations

GONE = (404, 410)  # any other status says nothing about whether the file is there
REFUSALS = {
    401: "asks for a password: see apt_auth.conf(5), or pip's settings",
    403: "does not let this machine have it",
    407: "the proxy asks for a password: see the proxy settings of this machine",
    451: "may not give it out here, for legal reasons",
    511: "the network asks for a login first",
}


def refusal(status: int) -> str:
    """A status other than 200 in words."""
    return f"HTTP {status}" + (f", {REFUSALS[status]}" if status in REFUSALS else "")
