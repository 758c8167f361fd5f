"""The tree as a value: plain form, canonical text, hash, the quantities that it names."""

from __future__ import annotations

import dataclasses
import json

import pytest

from nomadquery.query.criteria import (
    And,
    Criterion,
    Equals,
    HasAll,
    HasAny,
    HasNone,
    Not,
    Optimade,
    Or,
    Range,
    Within,
    canonical_json,
    fingerprint,
    quantities_of,
    to_plain,
)

WINDOW = Within("s", (Equals("s.type", "direct"), Range("s.value", gte=1.0, lt=2.0)))
TREE = And((Or((HasAll("a", ("x", "y")), HasNone("b", (1, 2)))), Not(WINDOW), Optimade("nelements=2")))


def test_plain_form_names_every_node() -> None:
    """Nested lists, the node's name first; absent bounds are null."""
    assert to_plain(TREE) == [
        "And",
        [
            ["Or", [["HasAll", "a", ["x", "y"]], ["HasNone", "b", [1, 2]]]],
            [
                "Not",
                ["Within", "s", [["Equals", "s.type", "direct"], ["Range", "s.value", None, 1.0, 2.0, None]]],
            ],
            ["Optimade", "nelements=2"],
        ],
    ]


def test_canonical_text_does_not_depend_on_the_order() -> None:
    """Parts, values and repeats may stand in any order; the text is JSON without blanks."""
    one = And((HasAny("a", ("y", "x", "y")), Equals("b", 1)))
    other = And((And((Equals("b", 1),)), Or((Equals("a", "x"), Equals("a", "y")))))
    assert (
        canonical_json(one) == canonical_json(other) == '["And",[["Equals","b",1],["HasAny","a",["x","y"]]]]'
    )
    assert json.loads(canonical_json(TREE))[0] == "And"


def test_fingerprint_is_the_hash_of_the_canonical_text() -> None:
    """SHA-256 of '["Equals","b",1]', as sha256sum prints it."""
    assert fingerprint(Equals("b", 1)) == "be4e0878951c2970e33d79bf2fc1fb2fc88958d8d1a889c20564c342761a3021"
    assert fingerprint(Equals("b", 1)) != fingerprint(Equals("b", True))


def test_quantities_of_a_tree() -> None:
    """In full, wherever they stand; an OPTIMADE filter names none of NOMAD's."""
    assert quantities_of(TREE) == {"a", "b", "s.type", "s.value"}


@pytest.mark.parametrize("node", [Equals("a", 1), Range("a", gt=1), WINDOW, TREE])
def test_trees_do_not_change(node: Criterion) -> None:
    """They are shared freely, and usable as keys."""
    field = dataclasses.fields(node)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(node, field, "other")
    assert {node: 1}[node] == 1


def test_minus_zero_is_zero() -> None:
    """Both spellings are one question."""
    assert canonical_json(Equals("a", -0.0)) == canonical_json(Equals("a", 0.0))
