"""Decoders compiled from columns say what dictionaries say, and hold no more than is needed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.columns.arrays import Problem
from nomadquery.columns.compiled import Opened, Section, archive_form, listed, search_form
from nomadquery.columns.decode import Archives, decode
from nomadquery.columns.plan import plan_columns, plan_per
from nomadquery.columns.planned import Per, PlannedColumn
from nomadquery.columns.references import Shelf
from nomadquery.columns.required import archive_required
from nomadquery.errors import ResponseFormatError
from nomadquery.query.catalogue import catalogue_for
from nomadquery.query.column import Column
from nomadquery.query.phrases import read_column
from tests.strategies import (
    changed_somewhere,
    column_documents,
    referring_archives,
    referring_columns,
    run_archives,
    run_columns,
)

CATALOGUE = catalogue_for("2.0.0")
E = "run.calculation.energy.total.value"
#: From the index: plain, with a unit, of a list, of several items, with a filter, custom.
SEARCHED = (
    *("formula", "elements", "n_elements", "published", "uploaded", "data.x"),
    "results.properties.electronic.band_gap.value in eV",
    "results.properties.electronic.band_gap[type == 'direct'].value.min()",
    "results.properties.electronic.band_gap[0].value",
)
#: From archives, beside what is drawn: arrays, values that only some schema knows, a filter, texts.
ARCHIVED = (
    *(E, f"{E}.mean()", "run[0].program.name", "run.x_code_thing", "data.some.thing", "workflow2.results.x"),
    *("run.calculation.forces.total.value", "run.calculation[step >= 1].energy.total.value"),
)


def planned(*texts: str, section: str | None = None) -> tuple[tuple[PlannedColumn, ...], Per | None]:
    per = None if section is None else plan_per(read_column(section)[0], CATALOGUE)
    columns = []
    for number, text in enumerate(dict.fromkeys(texts)):
        path, rule, unit = read_column(text)
        columns.append(Column(f"column_{number}", path, rule, unit))
    return plan_columns(columns, CATALOGUE, per)


def rows_and_problems(
    documents: list[Any], columns: Any, archives: Archives, per: Per | None
) -> tuple[list[str], list[Problem]]:
    """Return what decoding gives, as text: NaN is not equal to itself."""
    batch, problems = decode(documents, columns, CATALOGUE, archives=archives, per=per)
    return [repr(row) for row in batch.to_pylist()], sorted(problems, key=repr)


def assert_same(
    documents: list[dict[str, Any]], archives: dict[str, Any], *texts: str, section: str | None = None
) -> None:
    """Compare the compiled way with that of dictionaries, references included."""
    columns, per = planned(*texts, section=section)
    tree = archive_required([one for one in columns if one.source == "archive"], CATALOGUE, per)
    form = archive_form(tree, CATALOGUE)
    given = {one: json.dumps({"entry_id": one, "archive": own}).encode() for one, own in archives.items()}
    plain, compiled = Shelf(), Shelf()
    opened = dict(Opened(given, form))
    whole = {one: own if isinstance(own, dict) else {} for one, own in archives.items()}
    for entry_id in archives:
        plain.put(entry_id, tree, whole[entry_id])
        compiled.put(entry_id, tree, opened[entry_id])
    quick = listed(json.dumps(document).encode() for document in documents)
    assert rows_and_problems(
        quick, columns, Archives(opened, compiled, None, form.layout), per
    ) == rows_and_problems(documents, columns, Archives(whole, plain), per)
    assert compiled.wishes == plain.wishes


@given(st.lists(column_documents().flatmap(changed_somewhere), max_size=6))
def test_search_documents_say_the_same_compiled(documents: list[Any]) -> None:
    """Whatever stands in them, and in whatever company."""
    named = [
        {**(one if isinstance(one, dict) else {}), "entry_id": f"e{place}"}
        for place, one in enumerate(documents)
    ]
    assert_same(named, {}, *SEARCHED)


@given(st.lists(run_archives().flatmap(changed_somewhere), max_size=4), st.lists(run_columns(), max_size=3))
def test_archives_say_the_same_compiled(archives: list[Any], drawn: list[tuple[str, str, str, str]]) -> None:
    """Positions, slices, filters, every rule, arrays, custom quantities; objects in place of lists."""
    texts = [f"run{run}.calculation{calc}.{leaf}{rule}" for run, calc, leaf, rule in drawn]
    named = {f"e{place}": archive for place, archive in enumerate(archives)}
    assert_same([{"entry_id": one} for one in named], named, *ARCHIVED, *texts)


@given(st.lists(run_archives().flatmap(changed_somewhere), max_size=4))
def test_rows_of_items_say_the_same_compiled(archives: list[Any]) -> None:
    """Columns of the items and columns from around them, entries without items included."""
    named = {f"e{place}": archive for place, archive in enumerate(archives)}
    texts = (
        E,
        "run.calculation.forces.total.value",
        "run.calculation.x_code",
        "run[0].program.name",
        "formula",
    )
    assert_same([{"entry_id": one} for one in named], named, *texts, section="run.calculation")


@given(referring_archives(), st.lists(referring_columns(), min_size=1, max_size=3), st.data())
def test_references_lead_to_the_same_compiled(
    archives: dict[str, Any], drawn: list[tuple[str, tuple[Any, ...], str | None]], data: st.DataObject
) -> None:
    """Within the archive and into others, to nothing and in circles; what is to be asked for is the same."""
    texts = [text if rule is None else f"{text}.{rule}()" for text, _, rule in drawn]
    changed = {one: data.draw(changed_somewhere(archive)) for one, archive in archives.items()}
    documents = [{"entry_id": one, "upload_id": "u1"} for one in archives]
    assert_same(documents, changed, *texts, "species")
    assert_same(documents, changed, E, "run.calculation.system_ref.atoms.labels", section="run.calculation")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_numbers_that_json_has_not_cost_only_their_own_entry_the_quick_way(number: str) -> None:
    """It becomes a dictionary and is read exactly; those beside it stay compiled."""
    columns, _ = planned(E)
    form = archive_form(archive_required(columns, CATALOGUE), CATALOGUE)
    archive = '{"run": [{"calculation": [{"energy": {"total": {"value": %s}}}]}]}'
    items = {
        one: f'{{"entry_id": "{one}", "archive": {archive % value}}}'.encode()
        for one, value in (("a", "1.5"), ("b", number), ("c", "2"))
    }
    opened = Opened(items, form)
    assert [isinstance(opened[one], Section) for one in items] == [True, False, True]
    archives = Archives(opened, Shelf(), None, form.layout)
    batch, problems = decode([{"entry_id": one} for one in items], columns, CATALOGUE, archives=archives)
    assert repr(batch.column("column_0").to_pylist()) == f"[[[1.5]], [[{float(number)}]], [[2.0]]]"
    assert problems == []


def test_a_section_reads_like_a_mapping_of_what_has_a_value() -> None:
    """Null is absent; what was not asked for is not there."""
    columns, _ = planned("formula", "elements", "n_elements")
    form = search_form(columns, CATALOGUE)
    material = form.read(
        b'{"entry_id": "a", "results": {"material": {"elements": ["Ti"], "n_elements": null, "x": 1}}}'
    )["results"]["material"]
    assert isinstance(material, Mapping)
    assert dict(material) == {"elements": ["Ti"]}
    assert ("elements" in material, "n_elements" in material, "x" in material) == (True, False, False)
    assert material.get("n_elements", 7) == 7
    with pytest.raises(KeyError):
        material["x"]


def test_names_may_be_words_of_python_and_methods_of_mappings() -> None:
    """NOMAD has quantities called ``class``, ``values``, ``get``; a schema of one's own, anything."""
    names = ("class", "values", "get", "fields", "m_def", "a-b", "__init__")
    form = archive_form(dict.fromkeys(names, "*"), CATALOGUE)
    archive = {name: place for place, name in enumerate(names)}
    found = form.read(json.dumps({"entry_id": "a", "archive": archive}).encode())
    assert isinstance(found, Section)
    assert dict(found.items()) == archive


def test_archives_in_memory_at_one_time_are_few() -> None:
    """Of twenty megabytes of JSON no more than a few are objects at any time."""
    columns, _ = planned("run.program.version.count()")
    form = archive_form(archive_required(columns, CATALOGUE), CATALOGUE)
    run = {"program": {"version": "x" * 20_000}}
    archive = json.dumps({"entry_id": "e", "archive": {"run": [run]}}).encode()
    items = {f"e{number}": archive for number in range(1_000)}
    documents = listed(b'{"entry_id": "%b"}' % one.encode() for one in items)
    archives = Archives(Opened(items, form), Shelf(), None, form.layout)
    decode(documents[:1], columns, CATALOGUE, archives=archives)  # what is imported stays
    tracemalloc.start()
    batch, _ = decode(documents, columns, CATALOGUE, archives=archives)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch.column("column_0").to_pylist() == [1] * 1_000
    assert peak < 4_000_000


@pytest.mark.parametrize("item", [b"[]", b'{"entry_id": 5}', b'{"x": 1}', b"null", b'{"entry_id": null}'])
def test_an_entry_that_is_listed_without_its_id_is_refused(item: bytes) -> None:
    """Its row could not be named."""
    with pytest.raises(ResponseFormatError, match="entry_id"):
        listed([item])
