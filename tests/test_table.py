"""A search becomes a complete table: columns, what is asked first, owners, order, and what rows lack."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from nomadquery import Nomad, Q, Query, optimade, within
from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, UnitError
from nomadquery.local.store import LocalStore
from nomadquery.search import Search
from tests.tables import EV, CountedWire, a_document, a_filled_store, a_search, ids

GAP = Q.results.properties.electronic.band_gap


@pytest.fixture
def wire() -> CountedWire:
    return CountedWire(a_filled_store(ids(8)))


@pytest.fixture
def search(wire: CountedWire, tmp_path: Path) -> Search:
    return a_search(wire, tmp_path)


def ids_of(search: Search) -> list[str]:
    return list(search.select().to_arrow()["entry_id"].to_pylist())


# -- columns -----------------------------------------------------------------------------


def test_without_select_there_are_the_ten_columns_of_the_contract(search: Search) -> None:
    """In this order, the id first."""
    assert list(search.to_pandas().columns) == [
        "entry_id",
        "formula",
        "space_group",
        "program",
        "functional",
        "entry_type",
        "upload_id",
        "mainfile",
        "uploaded",
        "doi",
    ]


def test_a_column_is_called_as_it_was_typed_or_named(search: Search) -> None:
    """Short names, paths, text with a unit, Q."""
    table = search.select(
        "formula", "results.material.n_elements", Q.upload_id, "gap in meV", other=Q.gap, entry_id="entry_id"
    )
    assert table.to_arrow().column_names == [
        "entry_id",
        "formula",
        "results.material.n_elements",
        "upload_id",
        "gap",
        "other",
    ]


@pytest.mark.parametrize(
    ("columns", "named", "error", "words"),
    [
        (("formula", "formula"), {}, QueryError, "Two columns are called 'formula'"),
        (("gap",), {"gap": "formula"}, QueryError, "Two columns are called 'gap'"),
        ((), {"entry_id": "formula"}, QueryError, "holds the ids of the entries"),
        (("results.material.elemnts",), {}, QuantityNotFound, "Nearest: results.material.elements"),
        (("gap in kg",), {}, UnitError, "cannot be expressed in 'kg'"),
        (("elements.min()",), {}, QueryError, "needs numbers"),
        (("elements.median()",), {}, QueryError, "no rule for several values"),
        (("results.material",), {}, QueryError, "is a section"),
        (("",), {}, QueryError, "not a path"),
        ((5,), {}, TypeError, "names, dotted paths or Q paths, not 5"),
    ],
)
def test_columns_that_make_no_sense_are_refused(
    search: Search, columns: tuple[Any, ...], named: dict[str, Any], error: type[Exception], words: str
) -> None:
    """With what to write instead, at the select."""
    with pytest.raises(error, match=words):
        search.select(*columns, **named)


def test_select_never_narrows_the_result(search: Search) -> None:
    """An entry without the value has a null."""
    frame = search.select("efficiency", gap=GAP[Q.value > "4.5 eV"].value.first().to("eV")).to_pandas()
    assert len(frame) == 8
    assert frame["efficiency"].isna().all()
    assert frame["gap"].dropna().tolist() == pytest.approx([5.0, 6.0, 7.0], rel=1e-12)


def test_index_and_archive_columns_stand_side_by_side(search: Search, wire: CountedWire) -> None:
    """Joined by the id of the entry; the archive is asked only for what the index lacks."""
    frame = search.select(
        "gap", "energy", n_atoms=Q.run[-1].calculation.system_ref.atoms.labels.size()
    ).to_pandas()
    assert (frame["energy"] + frame["gap"]).tolist() == pytest.approx([-0.5] * 8, abs=1e-9)
    assert frame["n_atoms"].tolist() == [[1, 2]] * 8
    calculation = {"energy": {"total": {"value": "*"}}, "system_ref": "*"}
    asked = {"run": {"calculation": calculation, "system": {"atoms": {"labels": "*"}}}}
    assert [request.json["required"] for request in wire.archive_pages] == [asked]


def test_a_reference_out_of_the_entry_stands_in_problems(tmp_path: Path) -> None:
    """Its value may be there, and could not be read."""
    document = a_document("entry-1")
    archive = {"run": [{"calculation": [{"system_ref": "../uploads/u/archive/e#/run/0/system/0"}]}]}
    store = LocalStore()
    store.add_entries([(document, archive)])
    table = a_search(CountedWire(store), tmp_path).select(
        labels="run[-1].calculation[-1].system_ref.atoms.labels"
    )
    assert table.to_pandas()["labels"].tolist() == [None]
    assert table.problems["entry_id"].tolist() == ["entry-1"]
    assert "leads nowhere" in table.problems["why"][0]


def test_a_value_of_the_wrong_type_stands_in_problems(tmp_path: Path) -> None:
    """Null in the table, shown in words beside it."""
    store = LocalStore()
    store.add_entries([(a_document("a1", comment=5), None), (a_document("a2", comment="fine"), None)])
    table = a_search(CountedWire(store), tmp_path).select("comment")
    assert table.to_arrow()["comment"].to_pylist() == [None, "fine"]
    assert table.problems.to_numpy().tolist() == [
        ["a1", "comment", "5 is no text value of the declared shape"]
    ]


# -- whole bodies and several criteria -------------------------------------------------------


def test_json_and_queries_go_together(wire: CountedWire, tmp_path: Path) -> None:
    """A query object, a whole body, a Query; all of them hold."""
    body = {"query": {"results.material.n_elements": 2}, "pagination": {"page_size": 3}, "owner": "visible"}
    search = a_search(wire, tmp_path, body, {"upload_id": "upload-1"}, Q.gap > "2 eV")
    assert ids_of(search) == ["entry-0004", "entry-0007"]
    assert wire.pages[-1].json["owner"] == "visible"


def test_the_owner_said_comes_before_the_one_in_the_body(wire: CountedWire, tmp_path: Path) -> None:
    """And bodies that disagree are refused."""
    body: dict[str, Any] = {"query": {}, "owner": "visible"}
    a_search(wire, tmp_path, body, owner="public").count()
    assert wire.pages[-1].json["owner"] == "public"
    with pytest.raises(QueryError, match="different owners: public, visible"):
        a_search(wire, tmp_path, body, {"query": {}, "owner": "public"})
    with pytest.raises(QueryError, match=r"this search for 'public'.*\.owner\('visible'\)"):
        a_search(wire, tmp_path).where(body)


def test_where_narrows_and_keeps_the_rest(search: Search) -> None:
    """Columns, number and owner stay; the first search stays as it was."""
    narrowed = search.select("gap").limit(2).where(Q.gap > "3 eV", {"upload_id": "upload-1"})
    assert narrowed.to_pandas()["entry_id"].tolist() == ["entry-0004", "entry-0007"]
    assert len(ids_of(search)) == 8


@pytest.mark.parametrize(
    ("owner", "words"),
    [("me", "owner is one of public"), ("user", "needs a login"), ("staging", "needs a login")],
)
def test_an_owner_that_cannot_be_asked_is_refused(search: Search, owner: str, words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(QueryError, match=words):
        search.owner(owner)


def test_all_entries_give_no_archive_of_what_may_not_be_read(wire: CountedWire, tmp_path: Path) -> None:
    """With owner="all" archives are asked for as visible; the others have a null and a line."""
    embargoed = a_document("entry-0004x", with_embargo=True)
    wire.store.add_entries([(embargoed, {"run": []})])
    table = a_search(wire, tmp_path, owner="all").select("energy")
    frame = table.to_pandas()
    assert frame[frame["energy"].isna()]["entry_id"].tolist() == ["entry-0004x"]
    assert table.problems["entry_id"].tolist() == ["entry-0004x"]
    assert {request.json["owner"] for request in wire.archive_pages} == {"visible"}


def test_names_that_the_deployment_does_not_know_are_refused_at_once(
    wire: CountedWire, tmp_path: Path
) -> None:
    """With the nearest ones; nothing is sent."""
    with pytest.raises(QuantityNotFound, match=r"results\.material\.elements"):
        a_search(wire, tmp_path, Q.results.material.elemnts == "Ti")
    with pytest.raises(TypeError, match="takes queries"):
        a_search(wire, tmp_path, "gap > 1 eV")  # type: ignore[arg-type]  # what people try
    assert wire.sent == []


# -- isin ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "of",
    [
        lambda search: search.where(Q.gap > "4.5 eV"),
        lambda search: search.where(Q.gap > "4.5 eV").select("gap"),
        lambda search: search.where(Q.gap > "4.5 eV").to_pandas(),
        lambda search: search.where(Q.gap > "4.5 eV").to_arrow(),
        lambda search: search.where(Q.gap > "4.5 eV").to_arrow()["entry_id"],
        lambda search: search.where(Q.gap > "4.5 eV").to_pandas()["entry_id"],
        lambda _: ["entry-0005", " entry-0006 ", None, "entry-0007", "entry-0007", pd.NA],
        lambda _: iter(["entry-0005", "entry-0006", "entry-0007"]),
    ],
)
def test_isin_takes_whatever_holds_ids(search: Search, of: Callable[[Search], Any]) -> None:
    """Searches are asked first; nulls and repeats are dropped, blanks trimmed."""
    assert ids_of(search.where(Q.entry_id.isin(of(search)))) == ["entry-0005", "entry-0006", "entry-0007"]


def test_a_search_inside_a_search_inside_a_search(search: Search) -> None:
    """Each is asked before the one around it."""
    inner = search.where(Q.gap > "2.5 eV")
    middle = search.where(Q.entry_id.isin(inner) & (Q.gap < "6.5 eV"))
    assert ids_of(search.where(~Q.entry_id.isin(middle))) == [*ids(3), "entry-0007"]


def test_a_search_inside_that_finds_nothing_matches_nothing(search: Search) -> None:
    """Not everything."""
    with pytest.warns(UserWarning, match="No entry matches"):
        assert search.where(Q.entry_id.isin(search.where(Q.n_elements == 9))).to_pandas().empty


def test_ids_that_are_not_found_stand_in_problems(search: Search) -> None:
    """Unknown ones, and ones that another criterion excludes."""
    asked = ["entry-0001", "entry-0006", "nothing"]
    table = search.where(Q.entry_id.isin(asked), Q.gap > "3 eV").select("gap")
    assert table.to_arrow()["entry_id"].to_pylist() == ["entry-0006"]
    assert table.problems["entry_id"].tolist() == ["entry-0001", "nothing"]
    assert table.problems["path"].tolist() == ["entry_id"] * 2


def test_more_ids_than_a_page_holds_are_all_looked_for(tmp_path: Path) -> None:
    """And each that is not there stands in problems."""
    wire = CountedWire(a_filled_store(ids(3), archives=False))
    many = [*ids(3), *(f"x{number}" for number in range(11_000))]
    table = a_search(wire, tmp_path, Q.entry_id.isin(many)).select("gap")
    assert len(table.to_arrow()) == 3
    assert len(table.problems) == 11_000


# -- order and number ------------------------------------------------------------------------


def test_sort_with_limit_gives_the_first_in_that_order(search: Search) -> None:
    """Both directions, ties by id, entries without the quantity left out."""
    table = search.select("gap", "upload_id")
    assert ids_of(table.sort("upload_id").limit(4)) == [
        "entry-0000",
        "entry-0003",
        "entry-0006",
        "entry-0001",
    ]
    descending = table.sort(Q.mainfile, descending=True).limit(3).to_pandas()
    assert descending["entry_id"].tolist() == ["entry-0007", "entry-0006", "entry-0005"]


def test_a_sorted_table_is_whole_whatever_the_page_size(search: Search) -> None:
    """It is one page in the server's order; a wanted page size does not shorten it."""
    table = search.sort("mainfile").limit(5)
    assert ids_of(table.page_size(2)) == [f"entry-000{n}" for n in range(5)]
    assert len(ids_of(table)) == 5


def test_lab_ids_that_no_hit_has_stand_in_problems(wire: CountedWire, tmp_path: Path) -> None:
    """As entry ids do: a list from a spreadsheet is answered for, line by line."""
    sample = a_document("x1", results={"eln": {"lab_ids": ["S-1", "S-9"]}})
    wire.store.add_entries([(sample, None)])
    table = a_search(wire, tmp_path, Q.lab_ids.isin(["S-1", "S-2"])).select("lab_ids")
    [line] = table.problems.to_dict("records")
    assert (line["path"], "'S-2'" in line["why"]) == ("results.eln.lab_ids", True)


def test_the_owner_of_a_request_body_counts_without_a_query_too(wire: CountedWire, tmp_path: Path) -> None:
    """Nothing that was pasted is dropped."""
    with pytest.raises(QueryError, match="needs a login"):
        a_search(wire, tmp_path, {"owner": "user", "pagination": {"page_size": 3}})
    with pytest.raises(QueryError, match="owner is one of"):
        a_search(wire, tmp_path, owner="")


def test_a_deployment_in_this_process_refuses_optimade_before_anything_is_sent(tmp_path: Path) -> None:
    """Only a server can decide such a filter."""
    nomad = Nomad("demo", cache_dir=tmp_path)
    with pytest.raises(NotExpressible, match=r"cannot evaluate OPTIMADE filters. Say it with Q"):
        nomad.entries(optimade("nelements = 2")).count()


def test_a_search_says_why_it_cannot_be_pickled(search: Search) -> None:
    """Its query can."""
    with pytest.raises(TypeError, match="Pickle the query"):
        pickle.dumps(search)


def test_sort_leaves_out_what_cannot_be_sorted(wire: CountedWire, search: Search) -> None:
    """A server that sorts entries without a value repeats or loses some."""
    wire.store.add_entries([(a_document(f"x{n}", external_id=f"{9 - n}"), None) for n in range(3)])
    assert ids_of(search.sort("external_id").limit(10)) == ["x2", "x1", "x0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.sort("mainfile"), r"goes with \.limit\(n\)"),
        (lambda s: s.sort("mainfile").limit(10_001), r"n at most 10000"),
        (lambda s: s.sort("elements").limit(2), "one value for each entry"),
        (lambda s: s.sort("gap").limit(2), "one value for each entry"),
        (lambda s: s.sort("mainfil").limit(2), "Nearest: mainfile"),
    ],
)
def test_an_order_that_nobody_can_give_is_refused(
    search: Search, change: Callable[[Search], Search], words: str
) -> None:
    """With what to write instead."""
    with pytest.raises(QueryError, match=words):
        change(search).to_pandas()


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "5", None])
def test_numbers_of_entries_are_whole_and_positive(search: Search, wrong: Any) -> None:
    """For limit, page_size and preview."""
    for method in (search.limit, search.page_size, search.preview):
        with pytest.raises(QueryError):
            method(wrong)


def test_limit_without_sort_is_the_same_every_time(wire: CountedWire, tmp_path: Path) -> None:
    """The first by id."""
    for page_size in (1, 3, 100):
        assert ids_of(a_search(wire, tmp_path / str(page_size)).limit(3).page_size(page_size)) == ids(3)


# -- inside this process ----------------------------------------------------------------------


def test_the_demo_is_a_deployment_like_others(tmp_path: Path) -> None:
    """No network, no login; the same calls."""
    nomad = Nomad("demo", cache_dir=tmp_path)
    copper = nomad.entries(Q.elements.has_exactly("Cu"))
    assert copper.count() == len(copper.select("formula").to_pandas()) > 0
    assert set(copper.select("formula").to_pandas()["formula"]) == {"Cu"}


def test_the_item_that_was_searched_is_the_one_that_is_shown(tmp_path: Path) -> None:
    """`within` in the query, `matching` in the column."""
    document = a_document("entry-1")
    gaps = [{"value": 1.2 * EV, "type": "indirect"}, {"value": 1.7 * EV, "type": "direct"}]
    document["results"]["properties"]["electronic"]["band_gap"] = gaps
    store = LocalStore()
    store.add_entries([(document, None)])
    window = within(GAP, Q.value.between("1.1 eV", "1.8 eV"), Q.type == "direct")
    table = a_search(CountedWire(store), tmp_path, Query() & window)
    rows = table.select(gap=GAP.matching(window).value.min().to("eV"), all=GAP.value.min().to("eV")).rows()
    assert [(row["gap"], row["all"]) for row in rows] == [
        (pytest.approx(1.7, rel=1e-12), pytest.approx(1.2, rel=1e-12))
    ]


def test_the_empty_table_is_typed_and_warns_once(search: Search) -> None:
    """The warning names what shows why."""
    table = search.where(Q.n_elements == 9).select("gap", "n_elements", "uploaded", "elements", "published")
    with pytest.warns(UserWarning, match=r"narrowing\(\)") as caught:
        frame = table.to_pandas()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert frame.dtypes.astype(str).tolist() == [
        "string",
        "float64",
        "Int64",
        "datetime64[ms, UTC]",
        "object",
        "boolean",
    ]
    assert table.to_arrow().schema.field("gap").metadata[b"unit"] == b"eV"
    assert isinstance(table.to_arrow(), pa.Table)
