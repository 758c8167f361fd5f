"""Criteria and columns as text, for the command line and for filters inside a path.

::

    results.material.elements has_all Ti O
    gap >= "1.1 eV" and not (program == VASP or program == exciting)
    results.properties.electronic.band_gap[type == direct and value >= "1.1 eV"]
    run[-1].calculation[kind == "x"].energy.total.value in eV

A criterion is a quantity, one of ``== != < <= > >= between has_all has_any has_none has_exactly
has_only isin exists`` and its values; values with blanks or signs are quoted, blanks or commas stand
between them. A section with a criterion in brackets asks for one item that satisfies it.
``and or not ( )`` combine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, get_args

from nomadquery.errors import QueryError
from nomadquery.query.comparison import Operand
from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Or,
    Range,
    Value,
    Within,
)
from nomadquery.query.levels import MOST_LEVELS
from nomadquery.query.path import (
    Items,
    Name,
    Path,
    Step,
    closing_bracket,
    dotted,
    path_of,
    position_or_slice,
    split_brackets,
)
from nomadquery.query.short_names import Rule

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      |(?P<sign>==|!=|<=|>=|=|<|>|&|\||~|\(|\)|,)
      |(?P<word>[^\s()<>=!&|~,"']+))""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
#: A path up to its first bracket, from a bracket on, and up to the next.
_BRACKETED: Final = re.compile(r"[\w.#:]+\[")
_REST: Final = re.compile(r"[\w.#:]+")
_NEXT_BRACKET: Final = re.compile(r"\[")
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
    "has_all": HasAll,
    "has_any": HasAny,
    "has_none": HasNone,
    "has_exactly": lambda q, v: Operand(q, q).has_exactly(v).criterion,
    "has_only": lambda q, v: Operand(q, q).has_only(v).criterion,
    "isin": HasAny,
    "exists": lambda q, _: Range(q),
}
_ONE_VALUE: Final = ("==", "=", "!=", "<", "<=", ">", ">=")
_N_VALUES: Final = {"between": 2, "exists": 0, **dict.fromkeys(_ONE_VALUE, 1)}


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
    filters, bracket, tail = text.rpartition("]")
    plain, _, unit = tail.partition(" in ")
    body = f"{filters}{bracket}{plain}".strip()
    found = _RULE_CALL.match(body)
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
        self.depth = 0

    def read(self) -> Criterion:
        criterion = self._alternatives()
        if self.at < len(self.tokens):
            self._refuse()
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
            self._enter()
            negated = Not(self._factor())
            self.depth -= 1
            return negated
        if self._is("("):
            self.at += 1
            self._enter()
            inner = self._alternatives()
            if not self._is(")"):
                self._refuse("a ')' is missing")
            self.at += 1
            self.depth -= 1
            return inner
        return self._comparison()

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > MOST_LEVELS:
            self._refuse(f"more than {MOST_LEVELS} levels of not and parentheses")

    def _comparison(self) -> Criterion:
        name = self._next("a quantity")
        if name.kind == "sign":
            self._refuse("expected a quantity", at=self.at - 1)
        if name.text.endswith("]"):
            return self._items(name)
        word = self._next("one of " + " ".join(_OPERATORS)).text
        if word not in _OPERATORS:
            self._refuse(f"expected one of {' '.join(_OPERATORS)}", at=self.at - 1)
        values = self._values()
        wanted = _N_VALUES.get(word)
        if (wanted is None and not values) or (wanted is not None and len(values) != wanted):
            self._refuse(f"{word} takes {'values' if wanted is None else wanted}, not {len(values)}")
        return _OPERATORS[word](_unquoted(name), values)

    def _items(self, token: _Token) -> Criterion:
        *section, last = read_path(token.text).steps
        if not isinstance(last, Items) or not all(isinstance(step, Name) for step in section):
            self._refuse("positions and filters are for columns", at=self.at - 1)
        return Within(dotted(Path(tuple(section))), (last.criterion,))

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
            return _unquoted(token)
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
            self._refuse(f"expected {wanted}")
        self.at += 1
        return self.tokens[self.at - 1]

    def _refuse(self, why: str = "", *, at: int | None = None) -> NoReturn:
        place = self.at if at is None else at
        start = self.tokens[place].start if place < len(self.tokens) else len(self.text)
        raise QueryError(
            f"Cannot read {self.text!r} at {self.text[start:].strip() or 'the end'!r}"
            f'{": " + why if why else ""}. Write for example: gap >= "1.1 eV" and elements has_all Ti O'
        )


def _unquoted(token: _Token) -> str:
    return re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "quoted" else token.text


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        end, kind = _end_of_bracketed_path(text, position), "word"
        if not end:
            found = _TOKEN.match(text, position)
            if found is None:
                raise QueryError(f"Cannot read {text!r} at {text[position:]!r}.")
            end, kind = found.end(), str(found.lastgroup)
        tokens.append(_Token(kind, text[position:end], position))
        position = end
    return tokens


def _end_of_bracketed_path(text: str, position: int) -> int:
    """Return where a path with brackets ends, in which blanks and signs belong to it; 0 if there is none."""
    end = 0
    found = _BRACKETED.match(text, position)
    while found is not None:
        closing = closing_bracket(text, found.end() - 1)
        rest = _REST.match(text, closing + 1)
        end = closing + 1 if rest is None else rest.end()
        found = _NEXT_BRACKET.match(text, end)
    return end
