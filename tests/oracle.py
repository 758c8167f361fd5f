"""What a tree of criteria selects, decided a second time and apart from the library.

The library and its local deployment share one reading of NOMAD, so they could share a
misreading. This module reads the search documents of ``entries/query`` directly. It takes
the meaning of the nodes from the table in `nomadquery.query.criteria` and the meaning of
values from NOMAD's published search quantities (release 2.0.0), and imports nothing of the
library but the node classes.

Who may see an entry is not decided here: give it the documents of one owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import gcd, lcm
from typing import Any, assert_never

from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Leaf,
    Not,
    Optimade,
    Or,
    Range,
    Value,
    Within,
)

Document = dict[str, Any]
Equality = Callable[[Any, Value], bool]


class DecidedByServer(NotImplementedError):
    """The tree holds a criterion that only a NOMAD server can decide."""


def matches(criterion: Criterion, document: Document) -> bool:
    """Return whether the entry of the search document satisfies the tree.

    Raises
    ------
    DecidedByServer
        If the tree holds an OPTIMADE filter, wherever it stands.
    ValueError
        If a `Within` names a quantity outside its section, or an asked date is no ISO date.
    """
    _refuse_optimade(criterion)
    return _holds(criterion, document, "")


def select(criterion: Criterion, documents: Iterable[Document]) -> list[str]:
    """Return the entry ids of the documents that satisfy the tree, in the order of ``entry_id``.

    Raises as `matches` does.
    """
    return sorted(document["entry_id"] for document in documents if matches(criterion, document))


def values_of(quantity: str, document: Document) -> list[Any]:
    """Return all values of the quantity that NOMAD has indexed for the entry, in document order."""
    return [value for value, _ in _values(quantity, document, "")]


# --- nodes


def _refuse_optimade(criterion: Criterion) -> None:
    match criterion:
        case Optimade(text):
            raise DecidedByServer(f"Only a server can decide the OPTIMADE filter {text!r}.")
        case And(parts) | Or(parts) | Within(_, parts):
            for part in parts:
                _refuse_optimade(part)
        case Not(inner):
            _refuse_optimade(inner)
        case _:
            pass


def _holds(criterion: Criterion, item: Document, section: str) -> bool:
    """Return whether the tree holds for one item of ``section``, or for the entry if that is ""."""
    match criterion:
        case And(parts):
            return all(_holds(part, item, section) for part in parts)
        case Or(parts):
            return any(_holds(part, item, section) for part in parts)
        case Not(inner):
            return not _holds(inner, item, section)
        case Within(name, parts):
            inner_items = [x for x in _walk(item, _steps(name, section)) if isinstance(x, dict)]
            return any(all(_holds(part, x, name) for part in parts) for x in inner_items)
        case Equals() | HasAll() | HasAny() | HasNone() | Range():
            return _leaf_holds(criterion, list(_values(criterion.quantity, item, section)))
        case Optimade():
            raise AssertionError("refused before")
        case _:
            assert_never(criterion)


def _leaf_holds(leaf: Leaf, values: list[tuple[Any, Equality]]) -> bool:
    def present(asked: Value) -> bool:
        return any(equal(value, asked) for value, equal in values)

    match leaf:
        case Equals(_, asked):
            return present(asked)
        case HasAll(_, several):
            return all(present(asked) for asked in several)
        case HasAny(_, several):
            return any(present(asked) for asked in several)
        case HasNone(_, several):
            return not any(present(asked) for asked in several)
        case Range():
            singles = ((x, equal) for value, equal in values for x in _SPLIT.get(equal, _unsplit)(value))
            return any(_in_range(x, leaf, is_date=equal is _same_instant) for x, equal in singles)
        case _:
            assert_never(leaf)


# --- values


def _walk(node: Any, steps: list[str]) -> Iterator[Any]:
    """Yield what lies at the end of the steps; every item of a list is entered, null is absent."""
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, steps)
    elif not steps:
        if node is not None:
            yield node
    elif isinstance(node, dict):
        yield from _walk(node.get(steps[0]), steps[1:])


def _steps(name: str, section: str) -> list[str]:
    if section and not name.startswith(f"{section}."):
        raise ValueError(f"{name!r} does not lie in the section {section!r}.")
    return (name[len(section) + 1 :] if section else name).split(".")


def _values(quantity: str, item: Document, section: str) -> Iterator[tuple[Any, Equality]]:
    """Yield the indexed values of a quantity, each with its equality to an asked value."""
    if "#" in quantity:
        if section:
            raise ValueError(f"{quantity!r} of a custom schema does not lie in the section {section!r}.")
        found = _custom_values(quantity, item)
    else:
        parent, _, last = quantity.rpartition(".")
        steps = _steps(parent if last in _SUBFIELDS else quantity, section)
        equality = _equality_of(quantity)
        found = ((value, equality) for value in _walk(item, steps))
    for value, equality in found:
        if equality is not _same or len(str(value)) <= _LONGEST_KEYWORD:
            yield value, equality


def _custom_values(quantity: str, document: Document) -> Iterator[tuple[Any, Equality]]:
    """Yield the values of ``data.<path>#<schema>[#<dtype>]``, also of classes derived from the schema.

    NOMAD stores them as items of ``search_quantities``: a full id, the classes of the first step,
    and the value under a name that tells its type.
    """
    path, schema, *dtype = quantity.split("#")
    for stored in document.get("search_quantities") or []:
        stored_path, _, stored_schema = stored["id"].partition("#")
        classes = stored.get("segments", {}).get("1", {}).get("definitions", [])
        if stored_path == path and (stored_schema == schema or schema in classes):
            for name in dtype or _CUSTOM_FIELDS:
                field, equality = _CUSTOM_FIELDS[name]
                if stored.get(field) is not None:
                    yield stored[field], equality


# --- numbers, keywords, booleans, dates


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _same(value: Any, asked: Value) -> bool:
    return _kind(value) == _kind(asked) and bool(value == asked)


def _same_instant(value: Any, asked: Value) -> bool:
    return not isinstance(asked, bool) and _instant(value) == _instant(asked)


def _instant(date: Any) -> datetime:
    """Return the instant of an ISO date (without zone: UTC) or of epoch milliseconds.

    NOMAD's index keeps milliseconds; what is finer is cut off.
    """
    if not isinstance(date, str):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(date))
    instant = datetime.fromisoformat(date)
    instant = instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _in_range(value: Any, bounds: Range, *, is_date: bool) -> bool:
    """Return whether one value lies between the bounds; texts are ordered by code points."""
    asked: list[Any] = [bounds.gt, bounds.gte, bounds.lt, bounds.lte]
    if is_date:
        value, *asked = [None if date is None else _instant(date) for date in (value, *asked)]
    elif _kind(value) == "boolean" or any(_kind(value) != _kind(x) for x in asked if x is not None):
        return False
    gt, gte, lt, lte = asked
    above = (gt is None or value > gt) and (gte is None or value >= gte)
    return above and (lt is None or value < lt) and (lte is None or value <= lte)


# --- words

#: Unicode's default word boundaries (annex 29) as far as Western texts need them: a word is a run
#: of letters, digits and underscores; a single mark joins letters, another one joins digits.
_WORD = re.compile(r"\w(?:\w|(?<=[^\W\d])[.':\u2019\u00b7](?=[^\W\d])|(?<=\d)[.,;'](?=\d))*")


def _words(text: Any) -> list[str]:
    return [word.lower() for word in _WORD.findall(str(text))]


def _any_word(value: Any, asked: Value) -> bool:
    return not set(_words(value)).isdisjoint(_words(asked))


def _path_steps(text: Any) -> list[str]:
    return [step for step in str(text).split("/") if step]


def _any_path_step(value: Any, asked: Value) -> bool:
    return not set(_path_steps(value)).isdisjoint(_path_steps(asked))


def _phrase_prefix(value: Any, asked: Value) -> bool:
    """Return whether the asked words follow each other in the value, the last one perhaps begun only."""
    stored, (*first, last) = _words(value), _words(asked) or [""]
    places = range(len(stored) - len(first)) if last else range(0)
    return any(
        stored[at : at + len(first)] == first and stored[at + len(first)].startswith(last) for at in places
    )


def _any_word_or_prefix(value: Any, asked: Value) -> bool:
    """Return whether any asked word occurs in the value, the last one perhaps begun only."""
    stored, words = _words(value), _words(asked)
    return any(word in stored or (word == words[-1] and _begins(word, stored)) for word in words)


def _begins(beginning: str, words: list[str]) -> bool:
    return any(word.startswith(beginning) for word in words)


def _unsplit(value: Any) -> list[Any]:
    return [value]


#: The values of a text are its words, so a range is asked of each word.
_SPLIT: dict[Equality, Callable[[Any], list[Any]]] = {
    _any_word: _words,
    _any_path_step: _path_steps,
    _phrase_prefix: _words,
    _any_word_or_prefix: _words,
}


# --- formulas

#: The sequence of elements in table VI of the IUPAC recommendations 2005 (red book), the
#: elements after lawrencium put before their lighter homologues.
_TABLE_VI = (
    "Og Rn Xe Kr Ar Ne He Fr Cs Rb K Na Li Ra Ba Sr Ca Mg Be "
    "Lr No Md Fm Es Cf Bk Cm Am Pu Np U Pa Th Ac Lu Yb Tm Er Ho Dy Tb Gd Eu Sm Pm Nd Pr Ce La Y Sc "
    "Rf Hf Zr Ti Db Ta Nb V Sg W Mo Cr Bh Re Tc Mn Hs Os Ru Fe Mt Ir Rh Co Ds Pt Pd Ni Rg Au Ag Cu "
    "Cn Hg Cd Zn Nh Tl In Ga Al B Fl Pb Sn Ge Si C Mc Bi Sb As P N H Lv Po Te Se S O Ts At I Br Cl F"
)
_IUPAC_ORDER = _TABLE_VI.split()
_FORMULA_PART = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+|)|(\()|\)(\d+\.?\d*|\.\d+|)")
_ROUND_BRACKETS = str.maketrans("[]{}", "()()")


def _counts(formula: str) -> dict[str, int]:
    """Return the number of atoms of each element, ``X`` for unknown ones; empty if it is no formula.

    A leading number and brackets multiply; what is more than letters, digits and round brackets
    (fractions, blanks, other brackets) is reduced to the smallest whole numbers.
    """
    text = "".join(formula.split()).translate(_ROUND_BRACKETS)
    rest = text.lstrip("0123456789")
    times, at = int(text.removesuffix(rest) or 1), len(text) - len(rest)
    levels: list[dict[str, Fraction]] = [{}]
    while at < len(text):
        part = _FORMULA_PART.match(text, at)
        if part is None:
            return {}
        at = part.end()
        symbol, number, opening, factor = part.groups()
        if opening:
            levels.append({})
        elif symbol:
            _add(levels[-1], {symbol if symbol in _IUPAC_ORDER else "X": Fraction(1)}, Fraction(number or 1))
        elif len(levels) > 1:
            closed = levels.pop()
            _add(levels[-1], closed, Fraction(factor or 1))
        else:
            return {}
    if len(levels) > 1:
        return {}
    denominator = lcm(*(count.denominator for count in levels[0].values()))
    whole = {name: int(count * denominator) * times for name, count in levels[0].items()}
    return whole if re.fullmatch(r"[A-Za-z0-9()]*", formula) else _reduced(whole)


def _add(counts: dict[str, Fraction], more: dict[str, Fraction], factor: Fraction) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, Fraction(0)) + count * factor


def _reduced(counts: dict[str, int]) -> dict[str, int]:
    divisor = gcd(*counts.values()) or 1
    return {name: count // divisor for name, count in counts.items()}


def _written(counts: dict[str, int], order: list[str]) -> str:
    return "".join(f"{name}{counts[name] if counts[name] > 1 else ''}" for name in order)


def _same_hill(value: Any, asked: Value) -> bool:
    """Return whether the value is the asked formula in Hill order: carbon, hydrogen, the alphabet."""
    counts = _counts(str(asked))
    first = [name for name in ("C", "H") if name in counts] if "C" in counts else []
    formula = _written(counts, first + sorted(set(counts) - set(first)))
    return bool(value == (formula or asked))


def _same_iupac(value: Any, asked: Value) -> bool:
    """Return whether the value is the asked formula, reduced and in IUPAC order, unknown elements last."""
    counts = _reduced(_counts(str(asked)))
    formula = _written(counts, [name for name in [*_IUPAC_ORDER, "X"] if name in counts])
    return bool(value == (formula or asked))


# --- which quantity is read how (release 2.0.0); all others hold keywords, numbers or booleans

#: Other readings of the value named before them, such as ``mainfile.path`` of ``mainfile``.
_SUBFIELDS = frozenset(["path", "text", "prefix", "keyword"])
#: Longer keywords are in the document, but not in NOMAD's index.
_LONGEST_KEYWORD = 8191
_MATERIALS = ("results.material", "results.material.topology")
_SPECIAL: dict[Equality, list[str]] = {
    _same_instant: [
        *("upload_create_time", "entry_create_time", "publish_time", "last_processing_time"),
        *("datasets.dataset_create_time", "datasets.dataset_modified_time"),
        "search_quantities.datetime_value",
    ],
    _any_word: [
        *("comment", "results.eln.names", "results.eln.descriptions", "search_quantities.str_value"),
        *("authors.name.text", "main_author.name.text", "viewers.name.text", "writers.name.text"),
        *(f"{material}.chemical_formula_reduced_fragments" for material in _MATERIALS),
    ],
    _any_path_step: ["mainfile.path", "mainfile_key.path", "files.path", "quantities.path"],
    _phrase_prefix: ["entry_name.prefix"],
    _any_word_or_prefix: ["text_search_contents"],
    _same_hill: [f"{material}.chemical_formula_hill" for material in _MATERIALS],
    _same_iupac: [f"{material}.chemical_formula_iupac" for material in _MATERIALS],
}
_EQUALITIES = {quantity: equality for equality, names in _SPECIAL.items() for quantity in names}
_CUSTOM_FIELDS: dict[str, tuple[str, Equality]] = {
    "str": ("str_value", _same),
    "int": ("int_value", _same),
    "float": ("float_value", _same),
    "bool": ("bool_value", _same),
    "datetime": ("datetime_value", _same_instant),
}


def _equality_of(quantity: str) -> Equality:
    return _EQUALITIES.get(quantity, _same)
