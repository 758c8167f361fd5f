"""Syntax of OPTIMADE filters (OPTIMADE 1.1, section "The Filter Language EBNF Grammar").

NOMAD hands a filter to its own OPTIMADE parser and refuses what that cannot read. The check
here says so before anything is sent. Which properties exist is the server's to say.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from nomadquery.errors import QueryError

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*")
      |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
      |(?P<word>[A-Z]+(?![a-z_0-9]))
      |(?P<name>[a-z_][a-z_0-9]*(?:\s*\.\s*[a-z_][a-z_0-9]*)*)
      |(?P<operator><=|>=|!=|<|>|=)
      |(?P<mark>[(),:]))""",
    re.VERBOSE,
)
_QUOTED: Final = re.compile(r"'[^']*'")


def check_filter(text: str) -> None:
    """Raise QueryError, with what is wrong where, if ``text`` is no OPTIMADE filter."""
    _Parser(text).check()


def double_quoted(filter_text: str) -> str:
    """Return the OPTIMADE filter with its single-quoted strings double-quoted, as NOMAD needs them."""

    def requoted(found: re.Match[str]) -> str:
        if found[0].startswith('"'):
            return found[0]
        inside = found[0][1:-1].replace("\\'", "'").replace('"', '\\"')
        return f'"{inside}"'

    return re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', requoted, filter_text)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                self._refuse(position)
            self.tokens.append((str(found.lastgroup), found[0].strip(), found.start()))
            position = found.end()

    def check(self) -> None:
        self._expression()
        if self.at < len(self.tokens):
            self._fail()

    def _expression(self) -> None:
        self._phrase()
        while self._take("word", "AND", "OR"):
            self._phrase()

    def _phrase(self) -> None:
        self._take("word", "NOT")
        if self._take("mark", "("):
            self._expression()
            self._need("mark", ")")
        else:
            self._comparison()

    def _comparison(self) -> None:
        if self._take("string") or self._take("number"):
            self._need("operator")
            self._need("name")
            return
        self._need("name")
        while self._take("mark", ":"):
            self._need("name")
        if self._take("operator"):
            self._value()
        elif self._take("word", "IS"):
            self._need("word", "KNOWN", "UNKNOWN")
        elif self._take("word", "CONTAINS"):
            self._value()
        elif self._take("word", "STARTS", "ENDS"):
            self._take("word", "WITH")
            self._value()
        elif self._take("word", "LENGTH"):
            self._take("operator")
            self._need("number")
        elif self._take("word", "HAS"):
            self._has()
        else:
            self._fail()

    def _has(self) -> None:
        many = self._take("word", "ALL", "ANY", "ONLY")
        self._zipped_value()
        while many and self._take("mark", ","):
            self._zipped_value()

    def _zipped_value(self) -> None:
        self._take("operator")
        self._value()
        while self._take("mark", ":"):
            self._take("operator")
            self._value()

    def _value(self) -> None:
        if not (self._take("string") or self._take("number") or self._take("name")):
            self._fail()

    def _take(self, kind: str, *texts: str) -> bool:
        if self.at >= len(self.tokens):
            return False
        have, text, _ = self.tokens[self.at]
        if have != kind or (texts and text not in texts):
            return False
        self.at += 1
        return True

    def _need(self, kind: str, *texts: str) -> None:
        if not self._take(kind, *texts):
            self._fail()

    def _fail(self) -> NoReturn:
        self._refuse(self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text))

    def _refuse(self, position: int) -> NoReturn:
        hint = " Strings need double quotes." if _QUOTED.search(self.text) else ""
        rest = self.text[position:].strip() or "the end"
        raise QueryError(
            f"{self.text!r} is not an OPTIMADE filter: cannot read {rest!r}.{hint} "
            'Write for example \'nelements = 2 AND elements HAS ALL "Ti", "O"\'.'
        )
