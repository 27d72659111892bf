"""Secrets of this installation, made on first start and readable by its user only."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Keys:
    """`service` is what services show one another; `signing` signs bearer tokens."""

    service: str
    signing: str

    @classmethod
    def of(cls, data_dir: Path) -> Keys:
        """Read the keys of a data directory, or make them."""
        path = data_dir / "keys.json"
        if not path.exists():
            write_private(path, asdict(cls(service=secrets.token_urlsafe(32), signing=secrets.token_urlsafe(32))))
        return cls(**json.loads(path.read_text()))

    def sign(self, text: str) -> str:
        """Return the text's signature (HMAC-SHA256, hexadecimal)."""
        return hmac.new(self.signing.encode(), text.encode(), hashlib.sha256).hexdigest()


def write_private(path: Path, content: dict[str, str]) -> None:
    """Write a JSON file that only this user can read; it is there whole or not at all."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
