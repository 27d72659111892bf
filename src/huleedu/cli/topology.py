"""What the code says of itself: who tells whom what, and the public interface."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr

from huleedu.contracts.messages import MESSAGES
from huleedu.platform.installation import wire
from huleedu.platform.service import Service
from huleedu.platform.settings import Settings
from huleedu.services import build_all

NONE = SecretStr("")


def services() -> list[Service]:
    """Return all services, wired on a platform where nothing is started, whatever servers the environment names."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            data_dir=Path(directory), log_url=NONE, database_url=NONE, backplane_url=NONE, blobs_url=NONE
        )
        return build_all(wire(settings))


def render() -> str:
    """Return the table of messages, as Markdown."""
    wired = services()
    rows = ["| message | topic | from | to |", "|---|---|---|---|"]
    for said in MESSAGES:
        by = "every service" if said.by == ("*",) else ", ".join(said.by)
        to = ", ".join(service.name for service in wired if said.message in service.hears)
        rows.append(f"| {said.message.__name__} | `{said.topic}` | {by} | {to} |")
    groups = [f"| {service.name} | `{service.group}` |" for service in wired if service.hears]
    return "\n".join([*rows, "", "| service | consumer group |", "|---|---|", *groups])


def openapi() -> dict[str, Any]:
    """Return the public interface's description."""
    for service in services():
        if isinstance(service.public, FastAPI):
            return service.public.openapi()
    raise LookupError("no service is public")
