"""Criteria and columns as text, for the command line and for filters inside a path.

::

    results.material.elements has_all Ti O
    gap >= "1.1 eV" and not (program == VASP or program == exciting)
    run[-1].calculation[kind == "x"].energy.total.value in eV

A criterion is a quantity, one of ``== != < <= > >= between has_all has_any has_none isin
exists`` and its values; values with blanks or signs are quoted. ``and or not ( )`` combine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

from nomadquery.errors import QueryError
from nomadquery.query.criteria import And, Criterion, Equals, HasAll, HasAny, HasNone, Not, Or, Range, Value
from nomadquery.query.path import Items, Name, Path, Step, path_of, position_or_slice, split_brackets
from nomadquery.query.short_names import Rule

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      |(?P<sign>==|!=|<=|>=|<|>|&|\||~|\(|\)|,)
      |(?P<word>[^\s()<>=!&|~,"']+))""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_JOINERS: Final = {"and": "and", "&": "and", "or": "or", "|": "or", ")": ")"}
_RULE_CALL: Final = re.compile(r"^(?P<path>.*)\.(?P<rule>\w+)\(\)$", re.DOTALL)

_OPERATORS: Final[dict[str, Callable[[str, tuple[Value, ...]], Criterion]]] = {
    "==": lambda q, v: Equals(q, v[0]),
    "=": lambda q, v: Equals(q, v[0]),
    "!=": lambda q, v: Not(Equals(q, v[0])),
    "<": lambda q, v: Range(q, lt=v[0]),
    "<=": lambda q, v: Range(q, lte=v[0]),
    ">": lambda q, v: Range(q, gt=v[0]),
    ">=": lambda q, v: Range(q, gte=v[0]),
    "between": lambda q, v: Range(q, gte=v[0], lte=v[1]),
    "has_all": lambda q, v: HasAll(q, v),
    "has_any": lambda q, v: HasAny(q, v),
    "has_none": lambda q, v: HasNone(q, v),
    "isin": lambda q, v: HasAny(q, v),
    "exists": lambda q, _: Range(q),
}
_N_VALUES: Final = {"between": 2, "exists": 0} | {word: 1 for word in ("==", "=", "!=", "<", "<=", ">", ">=")}


def read_criterion(text: str) -> Criterion:
    """Return the stated tree of a criterion in text form.

    Raises
    ------
    QueryError
        If it cannot be read, with the place.
    """
    return _Phrase(text).read()


def read_path(text: str) -> Path:
    """Return the path of ``run[-1].calculation[kind == "x"].energy``."""
    if "[" not in text:
        return path_of(text.strip())
    steps: list[Step] = []
    for kind, piece in split_brackets(text.strip()):
        if kind == "name":
            steps.append(Name(piece))
        else:
            steps.append(position_or_slice(piece) or Items(read_criterion(piece)))
    return Path(tuple(steps))


def read_column(text: str) -> tuple[Path, Rule | None, str | None]:
    """Return path, rule and unit of ``"run[0].system.atoms.labels.size()"`` or ``"path in eV"``."""
    body, _, unit = (
        text.rpartition(" in ") if " in " in text and not text.rstrip().endswith("]") else (text, "", "")
    )
    found = _RULE_CALL.match(body.strip())
    if found is None:
        return read_path(body), None, unit.strip() or None
    rules = {str(rule): rule for rule in get_args(Rule)}
    if found["rule"] not in rules:
        raise QueryError(f"{found['rule']}() is no rule for several values; there are {', '.join(rules)}.")
    return read_path(found["path"]), rules[found["rule"]], unit.strip() or None


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    start: int


class _Phrase:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0

    def read(self) -> Criterion:
        criterion = self._alternatives()
        if self.at < len(self.tokens):
            raise self._unreadable()
        return criterion

    def _alternatives(self) -> Criterion:
        parts = [self._conjunction()]
        while self._joiner() == "or":
            self.at += 1
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Criterion:
        parts = [self._factor()]
        while self._joiner() == "and":
            self.at += 1
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _factor(self) -> Criterion:
        if self._is("not") or self._is("~"):
            self.at += 1
            return Not(self._factor())
        if self._is("("):
            self.at += 1
            inner = self._alternatives()
            if not self._is(")"):
                raise self._unreadable("a ')' is missing")
            self.at += 1
            return inner
        return self._comparison()

    def _comparison(self) -> Criterion:
        name = self._next("a quantity")
        word = self._next("one of " + " ".join(_OPERATORS)).text
        if word not in _OPERATORS:
            self.at -= 1
            raise self._unreadable(f"expected one of {' '.join(_OPERATORS)}")
        values = self._values()
        wanted = _N_VALUES.get(word)
        if (wanted is None and not values) or (wanted is not None and len(values) != wanted):
            raise self._unreadable(
                f"{word} takes {'values' if wanted is None else wanted}, not {len(values)}"
            )
        return _OPERATORS[word](name.text, values)

    def _values(self) -> tuple[Value, ...]:
        values: list[Value] = []
        while self.at < len(self.tokens) and self._joiner() is None:
            token = self.tokens[self.at]
            self.at += 1
            if token.text == "," and token.kind == "sign":
                continue
            values.append(self._value(token))
        return tuple(values)

    def _value(self, token: _Token) -> Value:
        if token.kind == "quoted":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if _NUMBER.match(token.text):
            if self._is_unit():
                self.at += 1
                return f"{token.text} {self.tokens[self.at - 1].text}"
            return float(token.text) if re.search(r"[.eE]", token.text) else int(token.text)
        return {"true": True, "false": False}.get(token.text.lower(), token.text)

    def _is_unit(self) -> bool:
        """Return whether a word that can only be the unit of the number before it comes next."""
        if self.at >= len(self.tokens) or self._joiner() is not None:
            return False
        token = self.tokens[self.at]
        return token.kind == "word" and not _NUMBER.match(token.text)

    def _joiner(self) -> str | None:
        if self.at >= len(self.tokens) or self.tokens[self.at].kind == "quoted":
            return None
        return _JOINERS.get(self.tokens[self.at].text)

    def _is(self, text: str) -> bool:
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        return token is not None and token.kind != "quoted" and token.text == text

    def _next(self, wanted: str) -> _Token:
        if self.at >= len(self.tokens):
            raise self._unreadable(f"expected {wanted}")
        self.at += 1
        return self.tokens[self.at - 1]

    def _unreadable(self, why: str = "") -> QueryError:
        start = self.tokens[self.at].start if self.at < len(self.tokens) else len(self.text)
        place = self.text[start:].strip() or "the end"
        return QueryError(
            f"Cannot read {self.text!r} at {place!r}{': ' + why if why else ''}. "
            'Write for example: gap >= "1.1 eV" and elements has_all Ti O'
        )


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while text[position:].strip():
        bracket = _bracketed_word(text, position)
        found = bracket or _TOKEN.match(text, position)
        if found is None:
            raise QueryError(f"Cannot read {text!r} at {text[position:].strip()!r}.")
        kind = "word" if bracket else str(found.lastgroup)
        start = position + len(text[position:]) - len(text[position:].lstrip())
        tokens.append(_Token(kind, found[0].strip(), start))
        position = found.end()
    return tokens


def _bracketed_word(text: str, position: int) -> re.Match[str] | None:
    """Return a path with brackets, in which blanks and signs belong to the path."""
    return re.compile(r"\s*[\w.#:]+(?:\[[^\]]*\][\w.#:]*)+").match(text, position)
