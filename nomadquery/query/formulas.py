"""Chemical formulas as NOMAD's index spells them, whatever the order they are typed in.

NOMAD stores each kind of formula in one order of the elements: ``hill`` (carbon, hydrogen,
then the alphabet, all atoms counted), ``reduced`` (the alphabet, smallest integers),
``anonymous`` (``A2B``: most frequent first), ``iupac`` and ``descriptive`` (by
electronegativity, with exceptions). The server itself normalises asked values of ``hill`` and
``iupac``; the others are compared letter by letter, so they are put in order here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from itertools import permutations
from typing import Literal

from nomadquery.errors import NotExpressible, QueryError

Order = Literal["hill", "iupac", "reduced", "anonymous", "descriptive"]

_ENDINGS: dict[str, Order] = {
    "chemical_formula_hill": "hill",
    "chemical_formula_iupac": "iupac",
    "chemical_formula_reduced": "reduced",
    "chemical_formula_anonymous": "anonymous",
    "chemical_formula_descriptive": "descriptive",
}
_NUMBER = r"(?P<times>\d+\.?\d*|\.\d+)?"
_PART = re.compile(rf"(?P<open>\()|(?:(?P<close>\))|(?P<element>[A-Z][a-z]*)){_NUMBER}")
_PLAIN = re.compile(r"(?:[A-Z][a-z]*\d*)+")
_MOST_ELEMENTS_PERMUTED = 6


def formula_order(quantity: str) -> Order | None:
    """Return how NOMAD orders the formula stored at ``quantity``, ``None`` if it is no formula."""
    return _ENDINGS.get(quantity.rpartition(".")[2])


def composition(formula: str) -> Mapping[str, int] | None:
    """Return element → number of atoms of ``"TiO2"`` or ``"Mg(OH)2"``, ``None`` for what is no formula.

    Fractions (``"Cs0.5Rb0.5I"``) become the smallest whole numbers, as NOMAD does.
    """
    groups: list[dict[str, Fraction]] = [{}]
    position = 0
    while position < len(formula):
        part = _PART.match(formula, position)
        if part is None or (part["close"] and len(groups) == 1):
            return None
        position = part.end()
        times = Fraction(part["times"] or 1)
        if part["open"]:
            groups.append({})
            continue
        found = groups.pop() if part["close"] else {part["element"]: Fraction(1)}
        for element, number in found.items():
            groups[-1][element] = groups[-1].get(element, Fraction(0)) + number * times
    counts = groups[0]
    if len(groups) > 1 or not counts or not all(counts.values()):
        return None
    whole = math.lcm(*(number.denominator for number in counts.values()))
    found_counts = {element: int(number * whole) for element, number in counts.items()}
    return found_counts if whole == 1 else _reduced(found_counts)


def normalised_by_server(quantity: str) -> bool:
    """Return whether NOMAD puts asked formulas in order itself (and fails on ranges of them)."""
    return quantity.startswith("results.") and formula_order(quantity) in {"hill", "iupac"}


def stored_spellings(formula: str, order: Order) -> tuple[str, ...]:
    """Return the texts under which the index may hold ``formula``.

    A descriptive formula may be any text (``"CsPbBr0.9I2.1 | OPV"``), which is then found as it stands.

    Raises
    ------
    QueryError
        If the text is no formula, or is not reduced where NOMAD keeps reduced ones.
    NotExpressible
        If the order of a descriptive formula cannot be told and has too many elements to try all.
    """
    counts = composition(formula)
    if order == "descriptive" and not _PLAIN.fullmatch(formula):
        return (formula,)
    if counts is None:
        raise QueryError(f"{formula!r} is not a chemical formula; write it like 'TiO2' or 'C2H6'.")
    match order:
        case "hill":
            return (hill(counts),)
        case "iupac":
            return (_text(_reduced(counts), sorted(counts)),)
        case "reduced":
            _refuse_unreduced(formula, counts, _text(_reduced(counts), sorted(counts)))
            return (_text(counts, sorted(counts)),)
        case "anonymous":
            _refuse_unreduced(formula, counts, _anonymous(_reduced(counts)))
            return (_anonymous(counts),)
        case "descriptive":
            if len(counts) > _MOST_ELEMENTS_PERMUTED:
                raise NotExpressible(
                    f"NOMAD's element order in the descriptive formula {formula!r} is not known; "
                    "compare results.material.chemical_formula_reduced instead."
                )
            return tuple(_text(counts, list(elements)) for elements in permutations(sorted(counts)))


def hill(counts: Mapping[str, int]) -> str:
    """Return the formula with carbon and hydrogen first, then the alphabet."""
    return _text(counts, sorted(counts, key=lambda element: _hill_rank(element, counts)))


def same_formula(stored: str, asked: str, order: Order) -> bool:
    """Return whether NOMAD finds ``stored`` where it is asked for ``asked``."""
    counts = composition(asked)
    if counts is None:
        return stored == asked
    match order:
        case "hill":
            return stored == hill(counts)
        case "iupac":
            return composition(stored) == _reduced(counts)
        case _:
            return stored == asked


def _refuse_unreduced(formula: str, counts: Mapping[str, int], reduced: str) -> None:
    if _reduced(counts) != counts:
        raise QueryError(
            f"{formula!r} is not a reduced formula. Write {reduced!r}, or compare "
            "results.material.chemical_formula_hill, which counts the atoms of the cell."
        )


def _anonymous(counts: Mapping[str, int]) -> str:
    numbers = sorted(counts.values(), reverse=True)
    return "".join(_part(chr(ord("A") + i), number) for i, number in enumerate(numbers))


def _hill_rank(element: str, counts: Mapping[str, int]) -> tuple[int, str]:
    if "C" in counts and element in {"C", "H"}:
        return (0, element)
    return (1, element)


def _reduced(counts: Mapping[str, int]) -> Mapping[str, int]:
    divisor = math.gcd(*counts.values())
    return {element: number // divisor for element, number in counts.items()}


def _text(counts: Mapping[str, int], elements: list[str]) -> str:
    return "".join(_part(element, counts[element]) for element in elements)


def _part(element: str, number: int) -> str:
    return element if number == 1 else f"{element}{number}"
