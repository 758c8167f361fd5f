"""The path grammar, in text and as typed: names, positions, slices, filters, schemas."""

from __future__ import annotations

import copy
import pickle

import pytest

from nomadquery import Q, within
from nomadquery.errors import QueryError
from nomadquery.query.criteria import And, Equals, Range
from nomadquery.query.path import Index, Items, Name, Path, Slice, dotted, is_plain
from nomadquery.query.phrases import read_column, read_path
from nomadquery.query.quantity import QuantityPath, column_of

ENERGY = (Name("energy"), Name("total"), Name("value"))


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("entry_id", (Name("entry_id"),)),
        ("run[-1].energy", (Name("run"), Index(-1), Name("energy"))),
        (
            "run[0].calculation[1:3].energy",
            (Name("run"), Index(0), Name("calculation"), Slice(1, 3), Name("energy")),
        ),
        ("run[:].energy", (Name("run"), Slice(None, None), Name("energy"))),
        ("run[-2:]", (Name("run"), Slice(-2, None))),
        (
            'calculation[kind == "a ] b"].energy.total.value',
            (Name("calculation"), Items(Equals("kind", "a ] b")), *ENERGY),
        ),
        (
            'gap[type == "direct" and value >= "1 eV"]',
            (Name("gap"), Items(And((Equals("type", "direct"), Range("value", gte="1 eV"))))),
        ),
        ("data.x#entry_id:aB.Sample#float", (Name("data"), Name("x#entry_id:aB.Sample#float"))),
        ("data.x#pkg.mod.Class", (Name("data"), Name("x#pkg.mod.Class"))),
    ],
)
def test_text_is_read_into_steps(text: str, steps: tuple[object, ...]) -> None:
    """A schema behind # is one step with its name; brackets may hold anything."""
    assert read_path(text).steps == steps
    assert Q[text]._path.steps == steps


@pytest.mark.parametrize("wrong", ["", "a..b", ".a", "a.", "[0].a", "a[0", "a[]", "a[x ==]"])
def test_what_is_no_path_is_refused(wrong: str) -> None:
    """With the text."""
    with pytest.raises(QueryError, match=r"is not a path|Cannot read"):
        read_path(wrong)


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (Q.run[-1].calculation[0:2].energy.total.value, "run[-1].calculation[0:2].energy.total.value"),
        (Q["run"][-1]["calculation.energy"], "run[-1].calculation.energy"),
        (Q.run[:].calculation, "run[:].calculation"),
        (Q.gap_section[Q.type == "direct"].value, 'gap_section[type == "direct"].value'),
    ],
)
def test_typed_paths_are_the_same_as_text(typed: QuantityPath, text: str) -> None:
    """Attributes, brackets and text build one and the same path."""
    assert typed._path == read_path(text)


def test_matching_a_within_takes_its_criteria_as_filter() -> None:
    """The items that were searched are the items that are shown."""
    gap = Q.results.properties.electronic.band_gap
    window = within(gap, Q.type == "direct", Q.value >= "1 eV")
    *_, items = gap.matching(window)._path.steps
    assert items == Items(And((Equals("type", "direct"), Range("value", gte="1 eV"))))
    assert gap[window]._path == gap.matching(window)._path


def test_matching_needs_a_within_of_the_same_section() -> None:
    """Another section, or none, is a mistake."""
    gap, topology = Q.results.properties.electronic.band_gap, Q.results.material.topology
    with pytest.raises(QueryError, match="takes a within"):
        gap.matching(within(topology, Q.label == "original"))
    with pytest.raises(QueryError, match="takes a within"):
        gap.matching(Q.results.material.n_elements == 1)


@pytest.mark.parametrize("key", [1.5, None, True, Q.results, (1, 2)])
def test_other_keys_are_refused(key: object) -> None:
    """What brackets take is listed."""
    with pytest.raises(TypeError, match="takes a position, a slice, a name or a comparison"):
        Q.run[key]


def test_slices_have_no_step() -> None:
    """NOMAD's own do not either."""
    with pytest.raises(QueryError, match=r"\[start:stop\]"):
        Q.run[::2]


@pytest.mark.parametrize(
    "path",
    [
        Q.results.material.elements,
        Q["results.properties.count"],
        Q.run[-1].calculation[1:].energy.total.value.last().to("eV"),
        Q["data.t#entry_id:aB.Sample#float"].stored_in("K").max(),
        Q["data.x y.z"].unchecked(),
        Q.gap_section[(Q.type == "direct") & (Q.value >= "1 eV")].value.min(),
    ],
)
def test_a_path_is_shown_as_it_is_typed(path: QuantityPath) -> None:
    """Its repr builds an equal path; copies and pickles are equal too, and have the same hash."""
    for again in (eval(repr(path), {"Q": Q}), pickle.loads(pickle.dumps(path)), copy.deepcopy(path)):
        assert again == path
        assert hash(again) == hash(path)


def test_names_like_methods_are_reached_in_brackets() -> None:
    """`value`, `type`, `name`, `index`, `unit` and `path` are ordinary names; `count` is a method."""
    for name in ("value", "type", "name", "index", "unit", "path"):
        assert dotted(getattr(Q.a.b, name)._path) == f"a.b.{name}"
    assert dotted(Q["a.b.count"]._path) == "a.b.count"
    assert repr(Q["a.b.count"]) == "Q.a.b['count']"
    assert callable(Q.a.b.count)


def test_paths_are_dictionary_keys() -> None:
    """Equal spellings are one key."""
    units = {Q.results.material.elements: 1, Q["results.material"].elements: 2, Q.entry_id: 3}
    assert len(units) == 2
    assert units[Q.results.material.elements] == 2


def test_columns_hold_what_was_typed() -> None:
    """Path, rule and unit, for the columns' floor."""
    column = column_of(Q.run[-1].calculation.energy.total.value.last().to("eV"), "energy")
    assert (column.name, column.rule, column.unit) == ("energy", "last", "eV")
    assert column.quantity == "run.calculation.energy.total.value"


@pytest.mark.parametrize(
    ("text", "path", "rule", "unit"),
    [
        ("gap", "gap", None, None),
        ("gap in eV", "gap", None, "eV"),
        (
            "run[-1].calculation.energy.total.value.last() in eV",
            "run[-1].calculation.energy.total.value",
            "last",
            "eV",
        ),
        ("run[0].system.atoms.labels.size()", "run[0].system.atoms.labels", "size", None),
        ('a[x == "b in c"].value in mA/cm^2', 'a[x == "b in c"].value', None, "mA/cm^2"),
        ('a[x == "b in c"].value', 'a[x == "b in c"].value', None, None),
    ],
)
def test_column_in_text_form(text: str, path: str, rule: str | None, unit: str | None) -> None:
    """A list rule is written as a call, the unit behind ``in``; quoted text is left alone."""
    assert read_column(text) == (read_path(path), rule, unit)


def test_unknown_rule_is_refused_with_the_known_ones() -> None:
    """A misspelt rule is not a path."""
    with pytest.raises(
        QueryError, match=r"median\(\) is no rule .* first, last, min, max, mean, count, size"
    ):
        read_column("gap.median()")


def test_units_of_columns_are_checked_when_typed() -> None:
    """Not when the table is there."""
    with pytest.raises(QueryError, match="'elektronvolt' is not a unit"):
        Q.gap.to("elektronvolt")


def test_only_names_make_a_plain_path() -> None:
    """Positions are for columns."""
    assert is_plain(read_path("a.b"))
    assert not is_plain(read_path("a[0].b"))
    assert dotted(Path((Name("a"), Index(0), Name("b")))) == "a.b"
