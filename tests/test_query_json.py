"""NOMAD's JSON, in both directions: the executed cases, and every trap of the language.

``tests/data/query-cases.json`` holds what releases of NOMAD answered to each request. The reader of
NOMAD's echo below is written apart from the library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nomadquery import Q, Query, optimade, within
from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, WouldBeMisread
from nomadquery.query.catalogue import catalogue_for
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
    canonical,
)

CASES = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "data" / "query-cases.json").read_text())["cases"]
    if case["request"]["method"] == "POST"
}
#: Accepted by NOMAD's interface, but a part is dropped or read as another question, or nothing can ever
#: match, or the search engine behind it refuses; and a part of the message that says what is right.
MISREAD = {
    "list-default-all-nonmulti": 'write {"results.method.simulation.program_name:any": […]}',
    "empty-list": "Leave it out",
    "object-any-empty": "Leave it out",
    "or-empty": "Leave it out",
    "not-empty": "Leave it out",
    "or-with-sibling": '{"and": [{"or": …}, {…}]}',
    "and-plus-or": '{"and": [{"and": …}, {…}]}',
    "not-with-sibling": '{"and": [{"not": …}, {…}]}',
    "nested-list": 'an "and" of single values',
    "author-section-all": "authors.name",
    "ids-all": 'write {"entry_id:any": […]}',
    "extra-body-key": "NOMAD ignores 'colour'",
    "string-for-int": "holds integers",
    "date-garbage": "Write '2024-01-31'",
    "mixed-type-list": "holds integers, not True",
    "suggestion-field": "compare 'results.material.symmetry.space_group_symbol'",
}
#: Refused by NOMAD, and the part of the message that says what is right.
REFUSED = {
    "object-any-null": "{'results.material.elements:any': […]}",
    "object-two-set-ops": "separate objects of an 'and'",
    "any-scalar-suffix": "{'results.material.elements:any': ['Ti']}",
    "any-scalar-object": "{'results.material.elements:any': ['Ti']}",
    "range-suffix-both": '{"upload_create_time": {"gte": …, "lt": …}}',
    "suffix-and-plain-dup": 'its own object of an "and"',
    "range-zero-object": '{"results.properties.n_calculations": {"gt": 0, "lte": 2147483647}}',
    "range-zero-suffix": '{"results.properties.n_calculations": {"gte": 0, "lte": 2147483647}}',
    "range-zero-float-nested": 'band_gap.value": {"gte": 0.0, "lte": 1e+308}}',
    "range-conflict": "keep one of gt and gte, one of lt and lte",
    "range-list-value": "must be a number or a text",
    "range-mixed-with-any": "separate objects of an 'and'",
    "unknown-op-object": "gt or gte, lt or lte",
    "unknown-op-suffix": "gt, gte, lt, lte, any, all, none",
    "op-uppercase": "lower case",
    "unknown-quantity": "results.material.elements",
    "unknown-quantity-root": "no quantity 'foo'",
    "null-value": "text, numbers or true/false",
    "not-list": '{"not": {"and": […]}}',
    "and-dict": '{"and": [{…}, {…}]}',
    "or-unknown-inside": "no quantity 'foo'",
    "and-upper": '{"and": …}',
    "criteria-form": '{"results.material.n_elements": 2}',
    "criteria-form-list": '{"results.material.n_elements": 2}',
    "nested-form": '{"results.material": {"n_elements": 2}}',
    "optimade-ok": "double quotes",
    "optimade-bad": "cannot read 'AND'",
    "author-section-any": "authors.name",
    "dyn-yaml-nodtype": "#<type>",
    "dyn-bad-dtype": "str, int, float, bool, datetime",
    "dict-in-list": "text, numbers or true/false",
    "null-in-list": "text, numbers or true/false",
    "query-list": "JSON object",
    "query-string": "JSON object",
    "quantity-trailing-dot": "results.material.elements",
    "section-scalar": "results.material.elements",
}
#: Only a server can know whether a plugin with this schema is installed.
LEFT_TO_THE_SERVER = {"dyn-python-unknown"}
#: The owner is no part of the question; the request for entries checks it.
ABOUT_THE_OWNER = {"owner-user-anon", "owner-admin-anon", "owner-bad"}
READ = sorted(
    id for id, case in CASES.items() if (case["accepted"] and id not in MISREAD) or id in ABOUT_THE_OWNER
)


def tree_of_echo(echo: dict[str, Any], prefix: str = "") -> Criterion:
    """Return the tree of NOMAD's normalised query: what its interface has understood."""
    match echo:
        case {"and": parts}:
            return And(tuple(tree_of_echo(part, prefix) for part in parts))
        case {"or": parts}:
            return Or(tuple(tree_of_echo(part, prefix) for part in parts))
        case {"not": inner}:
            return Not(tree_of_echo(inner, prefix))
        case {"prefix": section, "query": inner}:
            return Within(section, (tree_of_echo(inner, section),))
        case {"name": "and", "value": {"all": []}}:
            return And(())
        case {"name": "optimade_filter", "value": text}:
            return Optimade(text)
        case {"name": name, "value": value}:
            return leaf_of_echo(f"{prefix}.{name}" if prefix else name, value)
    raise AssertionError(echo)


def leaf_of_echo(name: str, value: Any) -> Criterion:
    match value:
        case {"all": values}:
            return HasAll(name, tuple(values))
        case {"any": values}:
            return HasAny(name, tuple(map(HILL.get, values, values)))
        case {"none": values}:
            return HasNone(name, tuple(values))
        case dict():
            return Range(name, **{side: INSTANTS.get((side, bound), bound) for side, bound in value.items()})
        case _:
            return Equals(name, INSTANTS.get(("", value), HILL.get(value, value)))


#: What the index reads in the dates of the cases: parts left out are the last ones for gt and lte.
INSTANTS: dict[tuple[str, Any], Any] = {
    ("gt", "2020-01-01"): "2020-01-01T23:59:59.999Z",
    ("lt", "2020-08-01"): "2020-08-01T00:00:00.000Z",
    ("gt", "2022-01-01"): "2022-01-01T23:59:59.999Z",
    ("gte", "2024-01-01T00:00:00+02:00"): "2023-12-31T22:00:00.000Z",
    ("lt", "2024-06-01T12:30:00"): "2024-06-01T12:30:00.000Z",
    ("gte", 1704067200): "1970-01-20T17:21:07.200Z",
    ("", "2024-01-01"): "2024-01-01T00:00:00.000Z",
    ("", "true"): True,
}
#: The formulas of the cases in Hill order.
HILL: dict[Any, Any] = {"TiO2": "O2Ti", "Cl1Na1": "ClNa"}


def test_every_case_has_its_place() -> None:
    """All requests by POST are read, misread, refused or left to the server; none is forgotten."""
    refused = {id for id, case in CASES.items() if not case["accepted"]}
    assert refused == REFUSED.keys() | LEFT_TO_THE_SERVER | ABOUT_THE_OWNER
    assert len(READ) + len(MISREAD) + len(REFUSED) + len(LEFT_TO_THE_SERVER) == len(CASES) == 121


@pytest.mark.parametrize("id", READ)
def test_what_nomad_reads_rightly_is_read_so(id: str) -> None:
    """The tree is the one that NOMAD echoes."""
    case = CASES[id]
    read = Query.from_json(case["request"]["json"]).resolved(catalogue_for("2.0.0"))
    assert read == canonical(tree_of_echo(case.get("normalised", {"and": []})))


@pytest.mark.parametrize("id", READ)
def test_what_is_read_is_written_so_that_it_is_read_again(id: str) -> None:
    """For every release; the JSON has no NaN or Infinity."""
    query = Query.from_json(CASES[id]["request"]["json"])
    for release in ("2.0.0", "1.4.3", "1.3.17"):
        text = json.dumps(query.to_json(release=release), allow_nan=False)
        assert Query.from_json(json.loads(text), release=release) == query


@pytest.mark.parametrize("id", sorted(MISREAD))
def test_what_nomad_misreads_is_refused_with_the_right_spelling(id: str) -> None:
    """Also what its interface lets through to an engine that refuses it."""
    with pytest.raises(QueryError) as refused:
        Query.from_json(CASES[id]["request"]["json"])
    assert MISREAD[id] in str(refused.value)


@pytest.mark.parametrize("id", sorted(REFUSED))
def test_what_nomad_refuses_is_refused_before_it_is_sent(id: str) -> None:
    """With what to write instead."""
    with pytest.raises(QueryError) as refused:
        Query.from_json(CASES[id]["request"]["json"])
    assert REFUSED[id] in str(refused.value)


@pytest.mark.parametrize("id", sorted(LEFT_TO_THE_SERVER))
def test_plugin_schemas_are_left_to_the_server(id: str) -> None:
    """They pass as they are."""
    asked = CASES[id]["request"]["json"]["query"]
    assert Query.from_json(asked).to_json() == asked


# --- traps in writing

GAP = Q.results.properties.electronic.band_gap
CALCULATIONS = Q.results.properties.n_calculations
FLOATS = Q["data.t#entry_id:aB.S#float"]
PLUGIN = Q["data.n#my_package.schema.Device"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (CALCULATIONS > 0, {"gt": 0, "lte": 2147483647}),
        (CALCULATIONS >= 0, {"gte": 0, "lte": 2147483647}),
        (CALCULATIONS < 0, {"lt": 0, "gte": -2147483648}),
        (CALCULATIONS <= 0, {"lte": 0, "gte": -2147483648}),
        (GAP.value >= 0, {"gte": 0.0, "lte": 1e308}),
        (GAP.value < "0 eV", {"lt": 0.0, "gte": -1e308}),
        (FLOATS > 0, {"gt": 0.0, "lte": 1e308}),
        (Q["data.t#entry_id:aB.S#int"] > 0, {"gt": 0, "lte": 2**63 - 1}),
        (PLUGIN > 0, {"gte": 5e-324}),
        (PLUGIN >= 0, {"gt": -5e-324}),
        (PLUGIN < 0, {"lte": -5e-324}),
        (PLUGIN <= 0, {"lt": 5e-324}),
        (Q.entry_id >= "", {"gte": "", "lte": "\U0010ffff"}),
        (CALCULATIONS.between(0, 5), {"gte": 0, "lte": 5}),
    ],
)
def test_zero_bound_gets_a_second_one(query: Query, expected: dict[str, Any]) -> None:
    """NOMAD reads a range of falsy bounds as empty (422 range_undefined) or as a section (422).

    Where the type is not known, the smallest double does the same: no limit is right for all.
    """
    assert list(query.to_json().values()) == [expected]
    assert Query.from_json(query.to_json()) == query


def test_zero_bound_inside_a_section_form() -> None:
    """The same trap, nested."""
    query = within(GAP, Q.type == "direct", Q.value > 0)
    assert query.to_json() == {
        "results.properties.electronic.band_gap": {"value": {"gt": 0.0, "lte": 1e308}, "type": "direct"}
    }


def test_range_from_zero_to_zero_is_an_equality() -> None:
    """Two zero bounds are as empty for NOMAD as one."""
    assert CALCULATIONS.between(0, 0).to_json() == {"results.properties.n_calculations": 0}


def test_date_bound_at_the_epoch_is_no_zero() -> None:
    """It is sent as text."""
    query = Query.from_json({"publish_time": {"gte": 0, "lt": "2000-01-01"}})
    assert query.to_json()["publish_time"]["gte"] == "1970-01-01T00:00:00.000Z"


def test_two_bounds_of_one_quantity_are_two_objects() -> None:
    """Suffixes of one quantity twice in an object are refused (422 duplicate_quantity)."""
    query = (CALCULATIONS > 1) & (CALCULATIONS < 5) & (CALCULATIONS != 3)
    name = "results.properties.n_calculations"
    assert query.to_json() == {"and": [{name: {"none": [3]}}, {name: {"gt": 1}}, {name: {"lt": 5}}]}


def objects_in(query: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a query."""
    if isinstance(query, dict):
        yield query
        query = list(query.values())
    if isinstance(query, list):
        for part in query:
            yield from objects_in(part)


def test_nothing_stands_beside_and_or_not() -> None:
    """NOMAD drops it silently."""
    query = (Q.n_elements == 1) & ((Q.program == "VASP") | (Q.program == "exciting") | GAP.value.exists())
    query &= ~((Q.n_elements == 2) & (Q.program == "VASP"))
    for found in objects_in(query.to_json()):
        assert len(found) == 1 or not {"and", "or", "not"} & found.keys()


@pytest.mark.parametrize("query", [Q.elements.isin([]), ~Query(), (Q.n_elements == 1) & Q.elements.isin([])])
def test_nothing_is_asked_without_an_empty_list(query: Query) -> None:
    """NOMAD reads {"or": []} as everything, {"any": []} by release as nothing or everything."""
    assert query.to_json() == {"and": [{"entry_id": "-"}, {"not": {"entry_id": "-"}}]}


def test_several_values_are_never_a_bare_list() -> None:
    """A bare list means all-of for every quantity."""
    assert Q.program.isin(["VASP", "exciting"]).to_json() == {
        "results.method.simulation.program_name": {"any": ["VASP", "exciting"]}
    }
    assert Q.elements.has_all("Ti", "O").to_json() == {"results.material.elements": {"all": ["O", "Ti"]}}


def test_any_inside_a_section_form_is_a_suffix() -> None:
    """An object there is read as a section of its own (422)."""
    query = within(GAP, Q.type.isin(["direct", "indirect"]), Q.value >= "1 joule")
    assert query.to_json() == {
        "results.properties.electronic.band_gap": {"value": {"gte": 1.0}, "type:any": ["direct", "indirect"]}
    }
    with pytest.raises(QueryError, match="write type:any"):
        Query.from_json({"results.properties.electronic.band_gap": {"type": {"any": ["direct"]}}})


def test_none_on_a_nested_quantity_is_not_any() -> None:
    """NOMAD reads none there as: some item without. Inside one item it means what it says."""
    query = GAP.type.has_none("direct", "indirect")
    name = "results.properties.electronic.band_gap.type"
    assert query.to_json() == {"not": {name: {"any": ["direct", "indirect"]}}}
    with pytest.raises(WouldBeMisread, match=r"some item of .* has none of them"):
        Query.from_json({f"{name}:none": ["direct"]})
    assert within(GAP, Q.type.has_none("direct"), Q.value > "1 joule").to_json() == {
        "results.properties.electronic.band_gap": {"value": {"gt": 1.0}, "type:none": ["direct"]}
    }


def test_all_on_a_nested_quantity_is_and() -> None:
    """NOMAD reads all-of there as: one item with all the values."""
    element = Q.results.material.elemental_composition.element
    name = "results.material.elemental_composition.element"
    assert element.has_all("Ti", "O").to_json() == {"and": [{name: "O"}, {name: "Ti"}]}


def test_all_of_a_list_within_one_item() -> None:
    """Flat all-of on a nested list asks one item: that is a section form."""
    asked = {"results.material.topology.elements": ["Ti", "O"]}
    query = Query.from_json(asked)
    assert query == within("results.material.topology", Q.elements.has_all("Ti", "O"))
    assert query.to_json() == {"results.material.topology": {"elements:all": ["O", "Ti"]}}


@pytest.mark.parametrize("name", ["results.material", "authors", "main_author", "datasets", "run"])
def test_section_names_equal_nothing(name: str) -> None:
    """A scalar there can never match, and crashes with any."""
    with pytest.raises(QueryError):
        Query.from_json({name: "x"})
    with pytest.raises(NotExpressible, match="is a section"):
        _ = Q[name] == "x"


def test_items_of_other_repeating_sections_cannot_be_told_apart() -> None:
    """The index mixes the items of what is not nested."""
    query = within("datasets", Q.dataset_name == "a", Q.doi == "b")
    with pytest.raises(NotExpressible, match="mixes the items of datasets"):
        query.to_json()
    assert within("datasets", Q.dataset_name == "a").to_json() == {"datasets.dataset_name": "a"}


def test_alternatives_within_an_item_become_alternatives_of_items() -> None:
    """A section form knows only and; "an item is a or b" is "an item is a, or an item is b"."""
    label = Q.type == "direct"
    query = within(GAP, Q.value > "1 joule", label | (Q.provenance.label == "x"))
    parts = query.to_json()["or"]
    section = "results.properties.electronic.band_gap"
    assert {"value": {"gt": 1.0}, "type": "direct"} in [part[section] for part in parts]
    assert {"value": {"gt": 1.0}, "provenance.label": "x"} in [part[section] for part in parts]


def test_negations_within_an_item() -> None:
    """not (a or b) is neither; what the section form lacks is refused."""
    section = "results.properties.electronic.band_gap"
    neither = within(GAP, ~((Q.type == "direct") | (Q.provenance.label == "x")))
    assert neither.to_json() == {section: {"provenance.label:none": ["x"], "type:none": ["direct"]}}
    with pytest.raises(NotExpressible, match="plain comparisons"):
        within(GAP, ~(Q.value > "1 joule")).to_json()


def test_ranges_of_one_value_are_joined_and_those_of_several_are_not() -> None:
    """Of a list of selectivities one may be above and another below: a section form cannot say that."""
    products = "results.properties.catalytic.reaction.products"
    query = within(products, Q.selectivity > 1.0, Q.selectivity < 2.0, Q.name == "CO")
    with pytest.raises(NotExpressible, match="only once in this way"):
        query.to_json()
    two_lower = within(GAP, Q.value > "1 joule", Q.value >= "2 joule", Q.type == "direct")
    with pytest.raises(NotExpressible, match="only once in this way"):
        two_lower.to_json()


def test_items_deeper_down_have_neither_all_nor_none() -> None:
    """In the form of the outer section the word would be about one inner item."""
    for word in (Q["elemental_composition.element"].has_all, Q["elemental_composition.element"].has_none):
        query = within("results.material.topology", Q.label == "original", word("Ti", "O"))
        with pytest.raises(NotExpressible, match="all or none of several items"):
            query.to_json()


def test_too_many_alternatives_within_an_item() -> None:
    """Each needs a form of its own."""
    choices = [(Q.type == "direct") | (Q.index == n) for n in range(7)]
    with pytest.raises(NotExpressible, match="128 alternatives"):
        within(GAP, *choices).to_json()


def test_unchecked_names_within_an_item() -> None:
    """Relative like all others; whether an item has one cannot be asked."""
    query = within(GAP, Q.no_such.unchecked() > 5, Q.type == "direct")
    form = {"no_such": {"gt": 5}, "type": "direct"}
    assert query.to_json() == {"results.properties.electronic.band_gap": form}
    with pytest.raises(NotExpressible, match="unchecked"):
        within(GAP, Q.no_such.unchecked().exists())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"results.material.n_elements": {}}, "Leave it out"),
        ({"results.material": {}}, "Leave it out"),
        ({"results.material": {"or": [{"n_elements": 1}]}}, "cannot stand inside the section"),
        ({"results.material.n_elements": {"gt": None}}, "Add a bound"),
        ({"results.material.chemical_formula_hill": {"gte": "A"}}, "no order"),
        ({"quantities": {"any": "run"}}, r"\['run'\]"),
    ],
)
def test_objects_that_ask_nothing_or_cannot_be_asked(asked: dict[str, Any], message: str) -> None:
    """NOMAD takes empty ones for everything."""
    with pytest.raises(QueryError, match=message):
        Query.from_json(asked)


def test_one_item_never_has_two_values_of_one() -> None:
    """Such a question has no answer, and such JSON is a mistake."""
    query = within(GAP, Q.type == "direct", Q.type == "indirect")
    assert query.to_json() == Q.elements.isin([]).to_json()
    with pytest.raises(WouldBeMisread, match="never has two values"):
        Query.from_json(
            {"results.properties.electronic.band_gap": {"type": "direct", "type:all": ["indirect"]}}
        )


def test_single_quoted_optimade_strings_are_sent_double_quoted() -> None:
    """NOMAD's own documentation shows single quotes, which its parser refuses."""
    query = optimade("elements HAS ALL 'Ti', 'O' AND chemical_formula_reduced=\"O2Ti\"")
    assert query.to_json() == {
        "optimade_filter": 'elements HAS ALL "Ti", "O" AND chemical_formula_reduced="O2Ti"'
    }


@pytest.mark.parametrize(
    "wrong", ["", "nelements =", "elements HAS ALL 'Ti' 'O'", "nelements = 2 AND", "(a=1"]
)
def test_what_is_no_optimade_filter_is_refused(wrong: str) -> None:
    """With the place and an example."""
    with pytest.raises(QueryError, match="is not an OPTIMADE filter: cannot read"):
        optimade(wrong)


def sizes(query: Any) -> list[int]:
    return [len(part) for found in objects_in(query) for part in found.values() if isinstance(part, list)]


@pytest.mark.parametrize(("release", "most"), [("2.0.0", 65_536), ("1.4.3", 65_536), ("1.3.17", 1024)])
def test_long_lists_are_split(release: str, most: int) -> None:
    """Each list is as long as the release takes; nothing is lost."""
    ids = [f"{i:028}" for i in range(70_000)]
    parts = Q.entry_id.isin(ids).to_json(release=release)["or"]
    lists = [part["entry_id"]["any"] for part in parts]
    assert max(map(len, lists)) == most
    assert [id for several in lists for id in several] == ids


def test_long_lists_of_texts_and_of_none() -> None:
    """NOMAD makes a clause of each analysed or custom text, and of each value of none: 1,024 at most."""
    words = [f"w{i:05}" for i in range(1500)]
    for query in (Q.comment.isin(words), Q["data.x#entry_id:aB.S#str"].isin(words)):
        assert sizes(query.to_json()) == [2, 1024, 476]
    name = "results.method.simulation.program_name"
    assert Q.program.has_none(*words).to_json() == {"not": {name: {"any": words}}}


def test_long_list_within_one_item_cannot_be_split() -> None:
    """It is refused rather than cut."""
    with pytest.raises(NotExpressible, match="at most 1,024 values"):
        within(GAP, Q.provenance.label.isin(map(str, range(2000))), Q.value > 0).to_json(release="1.3.17")


def test_quantity_that_a_release_lacks() -> None:
    """`process_status` came with 2.0.0; 1.4.3 can only tell by the archive's path."""
    query = Q.process_status == "SUCCESS"
    assert query.to_json() == {"process_status": "SUCCESS"}
    with pytest.raises(NotExpressible, match=r"NOMAD 1.4.3's search index does not hold 'process_status'"):
        query.to_json(release="1.4.3")
    assert Q.process_status.exists().to_json(release="1.4.3") == {"quantities": "metadata.process_status"}
    with pytest.raises(QuantityNotFound):
        Query.from_json({"process_status": "SUCCESS"}, release="1.3.17")


@pytest.mark.parametrize("release", ["9.9", "2", "", "2.10", 2, ("2.0.0",)])
def test_unknown_releases_are_refused_with_the_known_ones(release: Any) -> None:
    """Whoever names one by hand should not get the JSON of another."""
    for ask in (partial((Q.n_elements == 1).to_json), partial(Query.from_json, {})):
        with pytest.raises(QueryError, match=r"Known are '2\.0\.0', '1\.4\.3', '1\.3\.17'"):
            ask(release=release)


@pytest.mark.parametrize("release", ["2.0.1", "1.4.3.dev", "1.3.9", "2.0.0+g1234"])
def test_other_versions_of_a_known_line_are_taken(release: str) -> None:
    """Servers report such versions."""
    assert (Q.n_elements == 1).to_json(release=release) == {"results.material.n_elements": 1}


def test_null_is_a_query_only_as_a_whole() -> None:
    """NOMAD refuses it inside a list."""
    assert Query.from_json(None) == Query.from_json({"query": None}) == Query()
    for asked in ({"and": [{"results.material.n_elements": 2}, None]}, {"or": [None]}, {"not": None}):
        with pytest.raises(QueryError, match="object"):
            Query.from_json(asked)


def nested(n_levels: int, around: str) -> Any:
    """Return JSON that holds a plain query inside ``n_levels`` objects."""
    query: Any = {"results.material.n_elements": 1}
    for _ in range(n_levels):
        query = {"not": query} if around == "not" else {around: [query, {"published": True}]}
    return query


@pytest.mark.parametrize("around", ["not", "and", "or"])
def test_very_deep_json_is_refused(around: str) -> None:
    """Not read until Python gives up; also where it is text or holds no query."""
    for deep in (nested(3000, around), "[" * 100_000, '{"not":' * 3000 + "{}" + "}" * 3000):
        with pytest.raises(QueryError, match="nested"):
            Query.from_json(deep)


def test_json_of_many_levels_is_read() -> None:
    """An even number of negations is none."""
    assert Query.from_json(nested(100, "not")) == (Q.n_elements == 1)


def test_keys_of_sections_may_be_whole_or_in_steps() -> None:
    """A section form of a section that is not nested is an and of its parts."""
    forms: list[object] = [
        {"results": {"material": {"n_elements": 2, "elements:all": ["Ti", "O"]}}},
        {"results.material": {"n_elements": 2, "elements": ["Ti", "O"]}},
        {"results.material.n_elements": 2, "results.material.elements": {"all": ["O", "Ti"]}},
        {
            "and": [
                {"results.material": {"n_elements:all": [2]}},
                {"results.material.elements:all": ["Ti", "O"]},
            ]
        },
    ]
    assert {Query.from_json(form) for form in forms} == {(Q.n_elements == 2) & Q.elements.has_all("Ti", "O")}


def test_pasted_text_of_json() -> None:
    """The GUI's API panel is copied as text."""
    text = '{"owner": "visible", "query": {"results.material.n_elements": 1}, "pagination": {"page_size": 0}}'
    assert Query.from_json(text) == (Q.n_elements == 1)
    with pytest.raises(QueryError, match="is not JSON"):
        Query.from_json("{'query': {}}")


def test_body_with_files_is_a_body_and_files_a_quantity() -> None:
    """Raw requests have `files` beside `query`; without it `files` is what is asked."""
    assert Query.from_json({"query": {}, "files": {"glob_pattern": "*"}}) == Query()
    assert Query.from_json({"files": "x/OUTCAR"}) == (Q.files == "x/OUTCAR")


def test_numbers_as_text_and_booleans_as_text() -> None:
    """The engine reads "2" as 2 and "true" as true; a keyword takes numbers as text."""
    assert Query.from_json({"results.material.n_elements": "2"}) == (Q.n_elements == 2)
    assert Query.from_json({"published": "false"}) == (Q.published == False)  # noqa: E712  # a value
    assert Query.from_json({"external_id": 5}) == (Q.external_id == "5")


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", 1e400, 2**31, -(2**40)])
def test_numbers_that_the_index_cannot_hold_are_refused(value: object) -> None:
    """Not finite, or too large for a 32-bit integer."""
    with pytest.raises(QueryError, match="holds integers from -2147483648 to 2147483647"):
        Query.from_json({"results.material.n_elements": {"lt": value}})


def test_ranges_of_truth_values_are_refused() -> None:
    """They have no order, and NOMAD refuses truth values as bounds."""
    with pytest.raises(QueryError, match="has no order"):
        Query.from_json({"published": {"gte": "false"}})
    with pytest.raises(QueryError, match="have no order"):
        _ = Q.published > False
