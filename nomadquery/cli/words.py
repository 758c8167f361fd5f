"""Text from servers and files, made safe to show on a terminal."""

from __future__ import annotations


def on_one_screen(text: str) -> str:
    """Return the text without control characters, which could move the cursor or hide what follows.

    Line ends stay.
    """
    return "".join(
        sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text
    )


def on_one_line(text: str) -> str:
    """Return the text in one line, without control characters."""
    return on_one_screen(" ".join(text.split()))
