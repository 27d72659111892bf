"""Who asks, from where, how often: the one place where a request is let in.

A cookie goes along with whatever makes a browser ask, so a request that shows one and may change something must come
from our own page: its Origin is exactly ours. A program's token goes along with nothing, and is not asked from where.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from huleedu.gateway import rates
from huleedu.gateway.accounts import Accounts, Kind, Teacher
from huleedu.platform.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from huleedu.gateway.rates import Rates
    from huleedu.platform.settings import Settings

HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
HTTP = {"ws": "http", "wss": "https"}


class Access:
    """Lets requests in."""

    def __init__(self, accounts: Accounts, settings: Settings, counted: Rates) -> None:
        self._accounts = accounts
        self._settings = settings
        self._rates = counted

    async def asking(self, connection: HTTPConnection) -> Teacher:
        """Return who asks, or raise Unauthenticated, Forbidden or TooMany. A shown token is judged by itself."""
        try:
            teacher = await self._shown(connection)
        except Unauthenticated:
            await self.meet_stranger(connection)
            raise
        await self._rates.spend(rates.TEACHER, teacher.user_id)
        return teacher

    async def meet_stranger(self, connection: HTTPConnection) -> None:
        """Count a request of nobody known, or raise TooMany."""
        await self._rates.spend(rates.STRANGER, address(connection))

    def require_own_page(self, connection: HTTPConnection) -> None:
        """Raise Forbidden unless the request comes from our own page at an address that is ours."""
        origin = connection.headers.get("origin")
        ours = self._settings.public_url or self._named(connection)
        same = connection.headers.get("sec-fetch-site") == "same-origin" if origin is None else origin == ours
        if not ours or not same:
            raise Forbidden(
                "This request came from another page than HuleEdu's own. Open HuleEdu at its own address, which "
                "HULEEDU_PUBLIC_URL names if it is another than the server's, and try again.",
                code="CROSS_ORIGIN",
            )

    def secure(self, connection: HTTPConnection) -> bool:
        """Return whether browsers reach us over TLS."""
        return (self._settings.public_url or _scheme(connection)).startswith("https")

    def cookie_name(self, connection: HTTPConnection) -> str:
        """Return the session cookie's name; with this prefix browsers take it from this host over TLS only."""
        return "__Host-huleedu" if self.secure(connection) else "huleedu"

    def cookie(self, connection: HTTPConnection) -> str:
        """Return the session that the browser shows."""
        return connection.cookies.get(self.cookie_name(connection), "")

    def _named(self, connection: HTTPConnection) -> str:
        """Return our origin as the request names it, if that is a name of this machine: a foreign one may lead here."""
        host = connection.url.hostname or ""
        known = host == self._settings.host or loopback(host)
        return f"{_scheme(connection)}://{connection.url.netloc}" if known else ""

    async def _shown(self, connection: HTTPConnection) -> Teacher:
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            return await self._accounts.verify(token.strip() if scheme.lower() == "bearer" else "", Kind.TOKEN)
        cookie = self.cookie(connection)
        if cookie and connection.scope.get("method") not in HARMLESS:  # a live connection has none
            self.require_own_page(connection)
        return await self._accounts.verify(cookie, Kind.SESSION)


def address(connection: HTTPConnection) -> str:
    """Return where the request comes from; of IPv6 the network, as whoever has one address has 2**64 of them."""
    host = connection.client.host if connection.client else ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return host
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found), 64), strict=False))


def loopback(host: str) -> bool:
    """Return whether this name leads to this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _scheme(connection: HTTPConnection) -> str:
    return HTTP.get(connection.url.scheme, connection.url.scheme)
