"""Options that belong together reach a command as one value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

Command = Callable[..., None]


def bundled(
    name: str, kind: type[Any], *options: Callable[[Command], Command]
) -> Callable[[Command], Command]:
    """Return a decorator that adds ``options`` to a command and hands them over as one ``kind``.

    ``kind`` is a dataclass with a field for each option; the command gets it as argument ``name``.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_bundle(**values: Any) -> None:
            own = {field.name: values.pop(field.name) for field in fields(kind)}
            command(**values, **{name: kind(**own)})

        decorated: Command = with_bundle
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
