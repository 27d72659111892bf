"""Imported by worker processes: the reading of a file that lasts as long as a test wants, and what is loaded there."""

import sys
from pathlib import Path


def loaded(module: str) -> bool:
    """Return whether this process has loaded the module."""
    return module in sys.modules


def extract(data: bytes, _file_name: str) -> str:
    """Return the text; if it is the path of a FIFO, only once somebody has written to it."""
    text = data.decode()
    return Path(text).read_text() if text.startswith("/") else text
