"""Criteria as text, as the command line takes them."""

from __future__ import annotations

import pytest
from hypothesis import given

from nomadquery import Q, Query, within
from nomadquery.errors import QueryError
from nomadquery.query.criteria import And, Criterion, Equals, HasAny, Not, Or, Range, canonical
from nomadquery.query.phrases import read_criterion
from tests.strategies import phrases

GAP = Q.results.properties.electronic.band_gap
ELEMENTS = Q.results.material.elements


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("results.material.elements has_all Ti O", ELEMENTS.has_all("Ti", "O")),
        ("results.material.elements has_all Ti, O", ELEMENTS.has_all("Ti", "O")),
        ("elements has_any Ti O", Q.elements.has_any("Ti", "O")),
        ("elements has_none Ti O", Q.elements.has_none("Ti", "O")),
        ("elements has_exactly Ti O", Q.elements.has_exactly("Ti", "O")),
        ("elements has_only Ti O", Q.elements.has_only("Ti", "O")),
        ("program == VASP", Q.program == "VASP"),
        ("program = VASP", Q.program == "VASP"),
        ("program != VASP", Q.program != "VASP"),
        ("program isin VASP 'FHI-aims'", Q.program.isin(["VASP", "FHI-aims"])),
        ('gap >= "1.1 eV"', Q.gap >= "1.1 eV"),
        ("gap >= 1.1 eV", Q.gap >= "1.1 eV"),
        ("gap >= 1.1eV", Q.gap >= "1.1 eV"),
        ("gap between 1.1 eV 1.8 eV", Q.gap.between("1.1 eV", "1.8 eV")),
        ("jsc > 20 mA/cm^2", Q.jsc > "20 mA/cm^2"),
        ("n_elements < 3", Q.n_elements < 3),
        ("published == true", Q.published == True),  # noqa: E712  # a value, not a condition
        ("uploaded >= 2024-01-31", Q.uploaded >= "2024-01-31"),
        ("gap exists", Q.gap.exists()),
        ("not gap exists", ~Q.gap.exists()),
        (
            'gap >= "1.1 eV" and not (program == VASP or program == exciting)',
            (Q.gap >= "1.1 eV") & ~((Q.program == "VASP") | (Q.program == "exciting")),
        ),
        ("n_elements==1&~elements has_all Ti|n_elements==2", None),
        (
            'results.properties.electronic.band_gap[type == direct and value >= "1.1 eV"]',
            within(GAP, Q.type == "direct", Q.value >= "1.1 eV"),
        ),
        (
            "data.t#entry_id:aB.Sample#float >= 300",
            Q["data.t#entry_id:aB.Sample#float"] >= 300,
        ),
        ('comment == "and (or) not"', Q.comment == "and (or) not"),
        (r'comment == "say \"x\""', Q.comment == 'say "x"'),
    ],
)
def test_text_builds_what_is_typed(text: str, query: Query | None) -> None:
    """The same query as Python's; and binds closer than or."""
    if query is None:
        query = ((Q.n_elements == 1) & ~Q.elements.has_all("Ti")) | (Q.n_elements == 2)
    assert Query(read_criterion(text)) == query


@given(phrases())
def test_written_text_is_read_as_meant(phrase: tuple[str, Criterion]) -> None:
    """Quoted values, comparisons, and, or, not, parentheses: read as they were put together."""
    text, criterion = phrase
    assert canonical(read_criterion(text)) == canonical(criterion)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "the end"),
        ("gap", "the end"),
        ("gap >=", "the end"),
        ("gap is 1", "is 1"),
        ("== 5", "== 5"),
        ("gap between 1", "the end"),
        ("(gap exists", "the end"),
        ("gap exists)", ")"),
        ("gap exists program == x", "the end"),
        ("gap == 1 2", "the end"),
        ("gap > 1 and", "the end"),
        ("run[0] exists", "run[0] exists"),
        ('gap == "open', '"open'),
    ],
)
def test_unreadable_text_is_refused_with_the_place(text: str, place: str) -> None:
    """And with an example of readable text."""
    with pytest.raises(QueryError) as refused:
        read_criterion(text)
    assert place in str(refused.value)


def test_tree_holds_what_was_typed() -> None:
    """Short names and units are resolved later, like those of Python."""
    assert read_criterion("gap >= 1.1 eV and n_elements isin 1 2") == And(
        (Range("gap", gte="1.1 eV"), HasAny("n_elements", (1, 2)))
    )
    assert read_criterion("not a == 1 or b == 2") == Or((Not(Equals("a", 1)), Equals("b", 2)))


@pytest.mark.parametrize("text", ["not " * 3000 + "gap exists", "(" * 3000 + "gap exists" + ")" * 3000])
def test_very_deep_text_is_refused(text: str) -> None:
    """With the reason."""
    with pytest.raises(QueryError, match="more than 100 levels of not and parentheses"):
        read_criterion(text)
