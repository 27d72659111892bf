"""The services, in the order in which they start. This is the one place that knows all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.aggregator.service import build as build_aggregator
from huleedu.files.service import build as build_files
from huleedu.gateway.service import build as build_gateway
from huleedu.lifecycle.service import build as build_lifecycle
from huleedu.orchestrator.service import build as build_orchestrator
from huleedu.phases.service import build as build_phases

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from huleedu.platform.app import Platform
    from huleedu.platform.service import Service

ROSTER: dict[str, Callable[[Platform], Service]] = {
    "files": build_files,
    "orchestrator": build_orchestrator,
    "lifecycle": build_lifecycle,
    "phases": build_phases,
    "aggregator": build_aggregator,
    "gateway": build_gateway,
}


def build_all(platform: Platform, names: Collection[str] = tuple(ROSTER)) -> list[Service]:
    """Wire every service, or those of these names, on this platform."""
    return [build(platform) for name, build in ROSTER.items() if name in names]
