"""How the commands word what they show."""

from __future__ import annotations

from rich.text import Text


def plain(text: str) -> Text:
    """Return the text as it is shown: neither markup nor what a terminal takes for a command."""
    return Text("".join(character if character.isprintable() else " " for character in text))


def counted(number: int, one: str, more: str) -> str:
    """Return a number with its noun, as one reads it aloud: one of them has the singular."""
    return f"{number} {one if number == 1 else more}"
