"""Secrets of this installation: given, or made on first start and readable by its user only."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Keys:
    """`service` is what services show one another. `former` let in too, while the key is changed everywhere."""

    service: str
    former: tuple[str, ...] = ()

    @classmethod
    def of(cls, data_dir: Path, given: str = "") -> Keys:
        """Take the keys that are given; without any, read those of the data directory, or make them."""
        if given:
            service, *former = given.split()
            return cls(service, tuple(former))
        path = data_dir / "keys.json"
        if not path.exists():
            write_private(path, {"service": secrets.token_urlsafe(32)})
        return cls(service=json.loads(path.read_text())["service"])


def write_private(path: Path, content: dict[str, str]) -> None:
    """Write a JSON file that only this user can read; it is there whole or not at all."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
