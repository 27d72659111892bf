"""`huleedu doctor`: looks at every setting, server and service, and says what is to be mended."""

from __future__ import annotations

import asyncio
import platform as machine
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from huleedu import __version__
from huleedu.cli import topology
from huleedu.cli.admin import installation
from huleedu.cli.words import counted
from huleedu.platform import telemetry
from huleedu.platform.errors import Problem, Unavailable, Usage
from huleedu.platform.http import Refused, Stranger, Unready
from huleedu.platform.installation import DATABASE, examine, require_shared
from huleedu.platform.migrate import examine_sqlite
from huleedu.platform.settings import unread
from huleedu.services import ROSTER

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from huleedu.cli.admin import Ask
    from huleedu.platform.settings import Settings

SERVERS = {"database_url": "PostgreSQL", "log_url": "Kafka", "backplane_url": "Redis", "blobs_url": "S3"}


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    sound: bool
    found: str


def run(settings: Settings) -> list[Check]:
    """Look, and leave it to the checks to say what was found."""
    telemetry.configure("error")
    return asyncio.run(diagnose(settings))


async def diagnose(settings: Settings) -> list[Check]:
    """Look at the installation and its data, changing nothing that matters.

    What the services keep is looked at only if all that they stand on is sound: to open it would make what is missing.
    """
    servers = [name for name in SERVERS if getattr(settings, name)]
    groups = [service.group for service in topology.services() if service.hears]
    checks = [
        Check("huleedu", sound=True, found=f"{__version__} on Python {machine.python_version()}"),
        await _check("settings", _settings(settings, servers)),
        *[await _check(SERVERS[name], examine(settings, name, groups)) for name in servers],
    ]
    if not settings.database_url:
        sound = sqlite3.sqlite_version_info >= (3, 35)
        checks.append(Check("sqlite", sound=sound, found=f"{sqlite3.sqlite_version} (one writer)"))
    if not (settings.database_url and settings.blobs_url):
        checks.append(Check("data directory", sound=True, found=str(settings.data_dir.resolve())))
    if not all(check.sound for check in checks):
        return checks
    try:
        async with installation(settings) as ask_service:
            if not settings.database_url:
                looking = asyncio.to_thread(examine_sqlite, settings.data_dir / DATABASE)
                checks.append(await _check("database", looking))
            if checks[-1].sound:
                checks += [await _check(service, _letters(settings, ask_service, service)) for service in ROSTER]
    except (Usage, Problem) as told:
        checks.append(Check("data", sound=False, found=str(told)))
    return checks


async def _check(what: str, looking: Awaitable[str]) -> Check:
    try:
        return Check(what, sound=True, found=await looking)
    except (Usage, Problem) as told:
        return Check(what, sound=False, found=str(told))


async def _settings(settings: Settings, servers: list[str]) -> str:
    if names := unread():
        raise Usage(f"There is no setting {', '.join(names)}: docs/reference/settings.md lists all of them.")
    told = {place.partition("=")[0] for place in settings.peers.split()}
    without = [name for name in ROSTER if told and name not in told]
    if unknown := sorted(told - ROSTER.keys()):
        unnamed = f", of which it does not name {', '.join(without)}" if without else ""
        raise Usage(
            f"HULEEDU_PEERS names {', '.join(unknown)}, and there is no such service:"
            f" write {', '.join(ROSTER)}{unnamed}."
        )
    if told:
        require_shared(settings)
    kept = ", ".join(SERVERS[name] for name in servers) or "everything in the data directory"
    return f"{kept}; HULEEDU_PEERS does not name {', '.join(without)}" if without else kept


async def _letters(settings: Settings, ask_service: Ask, service: str) -> str:
    places = ", ".join(settings.addresses(service))
    try:
        answer = await ask_service(service, "GET", "/internal/v1/dead-letters")
        who, letters = answer["service"], answer["items"]
    except Refused as error:
        raise Usage(
            f"The service at {places} does not know the key of this process: give both the same HULEEDU_SERVICE_KEYS."
        ) from error
    except (Stranger, LookupError, TypeError) as error:
        raise Usage(f"Something other than the service answers at {places}: mend HULEEDU_PEERS.") from error
    except Unready as error:
        raise Usage(f"The service at {places} waits for its database: its log says why (serve.waiting).") from error
    except Unavailable as error:
        if not places:
            raise
        raise Usage(f"The service does not answer at {places}: start it there, or mend HULEEDU_PEERS.") from error
    if who != service:
        raise Usage(f"The service {who} answers at {places}: mend HULEEDU_PEERS.")
    if letters:
        raise Usage(f"{counted(len(letters), 'record', 'records')} parked; see `huleedu dlq list`")
    return "nothing parked"
