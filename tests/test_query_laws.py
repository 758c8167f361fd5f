"""Laws of trees, whatever they ask: canonical form, JSON and back, negation, Python and back."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import example, given

from nomadquery import Q, Query, optimade, within
from nomadquery.query.body import body
from nomadquery.query.body_reader import parse
from nomadquery.query.catalogue import RELEASES, catalogue_for
from nomadquery.query.criteria import (
    EVERYTHING,
    NOTHING,
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Or,
    Range,
    Within,
    canonical,
    canonical_json,
)
from nomadquery.query.predicate import matches
from nomadquery.query.resolve import Resolver, stated
from tests import oracle
from tests.strategies import Document, documents, trees

CATALOGUE = catalogue_for("2.0.0")
ELEMENTS, N = "results.material.elements", "results.material.n_elements"
CREATED = "upload_create_time"


@given(trees())
def test_canonical_form_is_its_own(tree: Criterion) -> None:
    """Making it canonical twice changes nothing more."""
    once = canonical(tree)
    assert canonical(once) == once
    assert canonical_json(tree) == canonical_json(once)


@given(trees(), documents())
@example(Range(N, gte=0, lte=2147483647), {"results": {"material": {"n_elements": 2147483647}}})
@example(Range("entry_id", gte="9", lte="10"), {"entry_id": "9"})
def test_canonical_form_keeps_the_meaning(tree: Criterion, document: Document) -> None:
    """An entry matches the canonical tree if and only if it matches the tree."""
    assert matches(canonical(tree), document, CATALOGUE) == matches(tree, document, CATALOGUE)
    assert oracle.matches(canonical(tree), document) == oracle.matches(tree, document)


@pytest.mark.parametrize("release", RELEASES)
@given(tree=trees())
@example(tree=Range("data.n#my_package.schema.Device", gt=0))
@example(tree=Range(CREATED, gte="2024-01-01T00:00:00.000Z", lt="2024-01-01T00:00:00.500Z"))
@example(tree=NOTHING)
@example(tree=EVERYTHING)
def test_json_is_read_back_as_the_same_tree(release: str, tree: Criterion) -> None:
    """What is written for a release means, read by the same release, what was asked."""
    asked = canonical(tree)
    text = json.dumps(body(asked, release=release), allow_nan=False)
    assert parse(json.loads(text), release=release) == asked


@given(trees(), documents())
def test_not_is_the_opposite(tree: Criterion, document: Document) -> None:
    """Exactly one of a question and its negation holds, also where the quantity is missing."""
    negated = (~Query(stated(tree, CATALOGUE))).resolved(CATALOGUE)
    assert matches(negated, document, CATALOGUE) != matches(tree, document, CATALOGUE)


@given(trees(), trees(), documents())
def test_de_morgan(one: Criterion, other: Criterion, document: Document) -> None:
    """not (a and b) is (not a) or (not b), and the other way round."""
    for left, right in (
        (Not(And((one, other))), Or((Not(one), Not(other)))),
        (Not(Or((one, other))), And((Not(one), Not(other)))),
    ):
        assert matches(canonical(left), document, CATALOGUE) == matches(canonical(right), document, CATALOGUE)


@given(trees())
def test_stated_tree_resolves_to_the_tree(tree: Criterion) -> None:
    """Saying the units and leaving out the bounds of "has a value" loses nothing."""
    asked = canonical(tree)
    assert canonical(Resolver(CATALOGUE).resolve(stated(asked, CATALOGUE))) == asked


@given(trees())
def test_query_survives_json(tree: Criterion) -> None:
    """A query read from its own JSON is equal, hash included."""
    query = Query(stated(tree, CATALOGUE))
    again = Query.from_json(json.loads(json.dumps(query.to_json())))
    assert again == query
    assert hash(again) == hash(query)


@given(trees())
@example(And((Equals(N, 1), Equals(N, 2))))
def test_repr_is_python_that_builds_the_query(tree: Criterion) -> None:
    """What a query shows of itself can be typed."""
    query = Query(stated(canonical(tree), CATALOGUE))
    names = {"Q": Q, "Query": Query, "within": within, "optimade": optimade}
    assert eval(repr(query), names) == query


@given(trees())
def test_query_survives_pickle_and_copy(tree: Criterion) -> None:
    """A pickled or copied query is equal to the first."""
    query = Query(stated(tree, CATALOGUE))
    assert pickle.loads(pickle.dumps(query)) == query
    assert copy.deepcopy(query) == query
    assert copy.copy(query) == query


@given(trees(), documents())
def test_predicate_agrees_with_the_independent_evaluator(tree: Criterion, document: Document) -> None:
    """The reference meaning is what a second reading of NOMAD's documents finds."""
    assert matches(tree, document, CATALOGUE) == oracle.matches(tree, document)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (And((And((Equals(N, 1),)), Equals(N, 1))), Equals(N, 1)),
        (And((Equals(ELEMENTS, "Ti"), HasAll(ELEMENTS, ("O", "Ti")))), HasAll(ELEMENTS, ("O", "Ti"))),
        (Or((Equals(ELEMENTS, "Ti"), Equals(ELEMENTS, "O"))), HasAny(ELEMENTS, ("O", "Ti"))),
        (Not(HasAny(ELEMENTS, ("Ti", "O"))), HasNone(ELEMENTS, ("O", "Ti"))),
        (Not(Not(Range(N, gt=1))), Range(N, gt=1)),
        (And((Equals(N, 1), Not(Equals(N, 1)))), NOTHING),
        (Or((Range(N, gt=1), Not(Range(N, gt=1)))), EVERYTHING),
        (Range(N, gte=2, lte=2), Equals(N, 2)),
        (Range(N, gte=3, lt=3), NOTHING),
        (Range(N, gt=3, gte=4), Range(N, gte=4)),
        (Range("entry_id", lt=""), NOTHING),
        (HasAll(N, ()), EVERYTHING),
        (HasAny(N, ()), NOTHING),
        (HasNone(N, ()), EVERYTHING),
        (Within("section_defs", (Equals("section_defs.used_directly", True),)), None),
    ],
)
def test_one_tree_stands_for_all_spellings(tree: Criterion, expected: Criterion | None) -> None:
    """Nested, repeated, neutral and contradictory parts are decided; one leaf needs no section."""
    assert canonical(tree) == (Equals("section_defs.used_directly", True) if expected is None else expected)


def test_true_one_and_one_point_zero_are_three_values() -> None:
    """Python's True == 1 == 1.0 must not make one question of three."""
    texts = {canonical_json(Equals("external_id", value)) for value in (True, 1, 1.0, "1")}
    assert len(texts) == 4
    assert canonical(HasAny(N, (1, True))) == HasAny(N, (1, True))
