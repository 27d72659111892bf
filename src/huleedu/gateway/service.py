"""The gateway, wired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.gateway.access import Access
from huleedu.gateway.accounts import Accounts
from huleedu.gateway.app import create_app
from huleedu.gateway.handlers import Gateway
from huleedu.gateway.live import Live
from huleedu.gateway.rates import Rates
from huleedu.gateway.routes import internal
from huleedu.platform.service import Service

if TYPE_CHECKING:
    from huleedu.platform.app import Platform


def build(platform: Platform) -> Service:
    """Wire the gateway."""
    rates = Rates(platform.backplane.counters)
    accounts = Accounts(platform.db, platform.backplane, rates)
    access = Access(accounts, platform.settings, rates)
    gateway = Gateway(platform)
    live = Live(platform, accounts, access)
    return Service(
        name="gateway",
        group="gateway-service",
        routes=[internal.routes(accounts)],
        tasks=[gateway.forget, live.heartbeat, live.recover],
        public=create_app(gateway, accounts, access, live),
        stopping=live.close_all,
    )
