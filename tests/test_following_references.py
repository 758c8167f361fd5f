"""References are followed within entries and between them; what leads nowhere is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nomadquery.columns.references import Dangling, Home, Reference, Shelf, covers, parse_reference
from nomadquery.http.message import Reply, Request
from nomadquery.local.store import LocalStore
from nomadquery.query.quantity import Q
from nomadquery.search import Search
from tests.tables import CountedWire, a_document, a_search

SAMPLE = "S" * 28
OTHER = "T" * 28


@pytest.mark.parametrize(
    ("text", "entry_id", "upload_id", "mainfile", "path"),
    [
        ("#/run/0/system/1", None, None, None, ("run", "0", "system", "1")),
        ("/run/0/calculation/-1", None, None, None, ("run", "0", "calculation", "-1")),
        (f"../upload/archive/{SAMPLE}#/data", SAMPLE, None, None, ("data",)),
        (f"../uploads/u/archive/{SAMPLE}#data", SAMPLE, "u", None, ("data",)),
        ("../upload/u/raw/a/b.archive.yaml#/data", None, "u", "a/b.archive.yaml", ("data",)),
        ("../upload/archive/mainfile/x.yaml#/data/0", None, None, "x.yaml", ("data", "0")),
        ("../uploads/u/archive/x.archive.yaml#/data", None, "u", "x.archive.yaml", ("data",)),
    ],
)
def test_all_forms_of_references_are_read(
    text: str, entry_id: str | None, upload_id: str | None, mainfile: str | None, path: tuple[str, ...]
) -> None:
    """The forms that occur in NOMAD's archives (nomad-lab 1.4.3 and 2.0.0)."""
    found = parse_reference(text)
    assert found is not None
    assert (found.entry_id, found.upload_id, found.mainfile) == (entry_id, upload_id, mainfile)
    assert found.path == path
    assert not found.elsewhere


@pytest.mark.parametrize("text", ["VASP", "a/b", "../POTCAR", "https://nomad-lab.eu", ""])
def test_other_texts_are_no_references(text: str) -> None:
    """Paths of files among them."""
    assert parse_reference(text) is None


@pytest.mark.parametrize(
    ("path", "rest", "is_covered"),
    [
        (("run", "0", "system", "1"), ("atoms", "labels"), True),
        (("run", "0", "system", "1"), ("atoms",), False),
        (("run", "0", "system", "1"), ("atoms", "positions"), False),
        (("run", "0", "method", "0"), ("label",), True),
        (("run", "0", "method", "1"), ("label",), False),
        (("data",), ("a", "b"), True),
        (("results",), (), False),
    ],
)
def test_what_was_asked_tells_whether_an_archive_can_answer(
    path: tuple[str, ...], rest: tuple[str, ...], is_covered: bool
) -> None:
    """What was not asked is not missing."""
    tree = {"run": {"system": {"atoms": {"labels": "*"}}, "method[0]": {"label": "*"}}, "data": "*"}
    assert covers(tree, path, rest) is is_covered


def linked(folder: Path, **data: Any) -> tuple[Search, CountedWire]:
    """Return the search for an entry with this ``data``, beside a sample that it may refer to."""
    store = LocalStore()
    sample = {"m_def": "my.Sample", "name": "film", "parts": [{"name": "top"}, {"name": "bottom"}]}
    entries: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("a", {"m_def": "my.Measurement", **data}, {}),
        (SAMPLE, {"m_def": "my.Sample", **sample}, {"mainfile": "film.archive.yaml", "upload_id": "u"}),
        (OTHER, {"m_def": "my.Sample", "name": "hidden"}, {"published": False}),
    ]
    store.add_entries(
        (
            a_document(name, **{"upload_id": "u", "quantities": _paths(content), **more}),
            {"metadata": {"entry_id": name}, "data": content},
        )
        for name, content, more in entries
    )
    wire = CountedWire(store)
    return a_search(wire, folder, Q.entry_id == "a"), wire


def _paths(content: Any, prefix: str = "data") -> list[str]:
    """Return the dotted paths of all that stands in ``data``, as the index lists them."""
    if isinstance(content, list):
        return [path for item in content for path in _paths(item, prefix)] or [prefix]
    if not isinstance(content, dict):
        return [prefix]
    return [prefix, *(path for name, item in content.items() for path in _paths(item, f"{prefix}.{name}"))]


@pytest.mark.parametrize(
    "reference",
    [
        f"../upload/archive/{SAMPLE}#/data",
        f"../uploads/u/archive/{SAMPLE}#/data",
        "../upload/u/raw/film.archive.yaml#/data",
        "../upload/archive/mainfile/film.archive.yaml#/data",
    ],
)
def test_a_reference_into_another_entry_is_followed_by_a_further_request(
    tmp_path: Path, reference: str
) -> None:
    """In every form; also on to what that entry refers to by position."""
    search, wire = linked(tmp_path, sample=reference, part=reference + "/parts/1")
    frame = search.select(name="data.sample.name", part="data.part.name", ref="data.sample").to_pandas()
    assert frame[["name", "part", "ref"]].to_numpy().tolist() == [["film", "bottom", reference]]
    assert len(wire.archive_pages) <= 4


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (f"../upload/archive/{OTHER}#/data", "may not be read"),
        (f"../upload/archive/{'x' * 28}#/data", "no such entry"),
        (f"../upload/archive/{SAMPLE}#/data/parts/7", "nothing at its target"),
        ("../upload/u/raw/lost.yaml#/data", "no such entry"),
        ("https://nomad.other.org/api/uploads/u/archive/e#/data", "another deployment"),
        ("#/data/sample", "circle"),
    ],
)
def test_a_reference_that_leads_nowhere_is_null_and_told(tmp_path: Path, reference: str, why: str) -> None:
    """The row stays."""
    search, _ = linked(tmp_path, sample=reference)
    table = search.select(name="data.sample.name")
    assert table.to_arrow()["name"].to_pylist() == [None]
    assert table.problems[["entry_id", "path"]].to_numpy().tolist() == [["a", "data.sample.name"]]
    assert why in table.problems["why"][0]


def test_a_shelf_answers_what_is_on_it_and_wishes_for_the_rest() -> None:
    """Nothing is asked twice, and what was refused is not asked again."""
    shelf = Shelf()
    shelf.put("e", {"run[1]": {"x": "*"}}, {"run": [{"x": 5}]})
    reference = parse_reference(f"../upload/archive/{SAMPLE}#/run/1")
    assert reference is not None
    own = Reference("#/run/1", ("run", "1"))
    assert shelf.look_up(own, Home("e", "u"), (("x",),)) == {"x": 5}
    assert shelf.look_up(own, Home("e", "u"), (("y",),)) is None
    assert [(wish.entry_id, wish.rests) for wish in shelf.wishes] == [("e", (("y",),))]
    shelf.refuse(SAMPLE, "not there")
    assert shelf.look_up(reference, Home("e", "u"), (("x",),)) == Dangling("not there")


def a_run(label: str, **more: Any) -> list[dict[str, Any]]:
    """Return a run of one calculation that refers to the run's first system."""
    system = {"atoms": {"labels": [label]}}
    return [{"calculation": [{"system_ref": "#/run/0/system/0", **more}], "system": [system]}]


def test_a_reference_behind_another_one_starts_from_the_entry_that_holds_it(tmp_path: Path) -> None:
    """The first leads into another entry, the second stays there."""
    store = LocalStore()
    result = {"calculation_result_ref": f"../upload/archive/{SAMPLE}#/run/0/calculation/0"}
    geometry = "simulationworkflowschema.geometry_optimization.GeometryOptimization"
    workflow = {"m_def": geometry, "results": {"m_def": f"{geometry}Results", **result}}
    for name, archive in (("a", {"run": a_run("Ti"), "workflow2": workflow}), (SAMPLE, {"run": a_run("O")})):
        store.add_entries([(a_document(name, upload_id="u"), {"metadata": {"entry_id": name}, **archive})])
    table = a_search(CountedWire(store), tmp_path, Q.entry_id == "a").select(
        labels="workflow2.results.calculation_result_ref.system_ref.atoms.labels"
    )
    assert table.to_arrow()["labels"].to_pylist() == [["O"]]
    assert len(table.problems) == 0


def test_an_archive_that_only_comes_whole_is_read_like_the_others(tmp_path: Path) -> None:
    """Positions mean the same, although its lists are not cut to what was asked."""

    def fails(request: Request, reply: Reply) -> Reply:
        required = request.json.get("required")
        if request.path != "entries/archive/query" or list(required.values()) == ["*"]:
            return reply
        return Reply(500, reply.headers, b'{"detail": {"exception_class": "KeyError"}}', reply.url)

    store = LocalStore()
    energies = [{"energy": {"total": {"value": value}}} for value in (1.0, 2.0, 3.0)]
    content = {"run": [{"calculation": energies[:1]}, {"calculation": energies}]}
    store.add_entries([(a_document("a"), {"metadata": {"entry_id": "a"}, **content})])
    energy = Q.run[-1].calculation[0].energy.total.value
    wire = CountedWire(store, fails)
    assert a_search(wire, tmp_path).select(e=energy).to_arrow()["e"].to_pylist() == [1.0]
    last = Q.run[-1].calculation[-1].energy.total.value
    assert a_search(wire, tmp_path).select(e=last).to_arrow()["e"].to_pylist() == [3.0]
    assert wire.archive_pages[-1].json["required"] == {"run": "*"}
