"""Tables of a real NOMAD server: complete at every page size, by every owner, and while it fails."""

from __future__ import annotations

import gzip
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from nomadquery import Nomad, Q
from nomadquery.errors import QuantityNotFound
from nomadquery.http.pace import Policy
from nomadquery.search import Search

EV = 1.602176634e-19  # joule; SI 2019
GAP = Q.results.properties.electronic.band_gap
#: An author of the samples who has unpublished and embargoed entries.
AUTHOR = "hlindqvist"


@pytest.fixture(scope="module")
def archives(real_documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the raw archive of each public sample entry, by its id."""
    shared = os.environ.get("NOMADQUERY_SHARED")
    if not shared:
        pytest.fail("Set NOMADQUERY_SHARED to the folder that holds nomad/samples.")
    folder = Path(shared) / "nomad" / "samples" / "archives"
    found = {}
    for document in real_documents:
        path = folder / f"{document['entry_id']}.archive.json.gz"
        if path.exists():
            found[document["entry_id"]] = json.loads(gzip.decompress(path.read_bytes()))
    assert len(found) > 300
    return found


@pytest.fixture
def nomad(real_url: str, tmp_path: Path) -> Iterator[Nomad]:
    with Nomad(real_url, cache_dir=tmp_path) as client:
        yield client


@pytest.fixture
def faults(real_url: str) -> Iterator[Any]:
    """Give a function that switches faults of the server on; they are off again afterwards."""
    parts = urlsplit(real_url)

    def put(**settings: Any) -> None:
        url, body = f"{parts.scheme}://{parts.netloc}/-/faults", json.dumps(settings).encode()
        urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10).close()

    try:
        yield put
    finally:
        put(fail_rate=0, fail_paths="", fail_kinds=["502", "503", "reset"], max_rps=0)


def ids_of(search: Search) -> list[str]:
    return list(search.select().to_arrow()["entry_id"].to_pylist())


def hasty(nomad: Nomad) -> Nomad:
    """Return the client with pauses of milliseconds, as short as the server's faults."""
    transport = nomad._session.transport
    transport._pace = None
    transport._policy = Policy(n_attempts=30, first_pause_s=0.001, longest_pause_s=0.01)
    return nomad


@pytest.mark.parametrize("page_size", [1, 7, 100, None])
def test_all_entries_arrive_once_at_every_page_size(
    nomad: Nomad, real_documents: list[dict[str, Any]], page_size: int | None
) -> None:
    """The same ids as of plain requests, in the same order."""
    search = nomad.entries()
    found = ids_of(search if page_size is None else search.page_size(page_size))
    assert found == [document["entry_id"] for document in real_documents]


def test_every_indexed_column_reads_what_the_server_gives(
    nomad: Nomad, real_documents: list[dict[str, Any]]
) -> None:
    """Asked for alone, a column has the same values as in the whole documents."""
    paths: dict[str, Callable[[dict[str, Any]], Any]] = {
        "elements": lambda d: d["results"].get("material", {}).get("elements"),
        "upload_name": lambda d: d.get("upload_name"),
        "license": lambda d: d.get("license"),
        "authors.name": lambda d: [author.get("name") for author in d["authors"]],
        "main_author.name": lambda d: d["main_author"].get("name"),
        "datasets.doi": lambda d: [one.get("doi") for one in d["datasets"]] if "datasets" in d else None,
        "files": lambda d: d.get("files"),
        "n_quantities": lambda d: d.get("n_quantities"),
        "published": lambda d: d.get("published"),
        "references": lambda d: d.get("references"),
        "comment": lambda d: d.get("comment"),
        "external_db": lambda d: d.get("external_db"),
        "results.material.topology.label": lambda d: (
            [one.get("label") for one in d["results"]["material"]["topology"]]
            if d["results"].get("material", {}).get("topology")
            else None
        ),
    }
    for path, expected in paths.items():
        found = {row["entry_id"]: row[path] for row in nomad.entries().select(path).rows()}
        assert found == {d["entry_id"]: expected({"results": {}, **d}) for d in real_documents}, path


def test_columns_from_index_and_archive_align(nomad: Nomad, archives: dict[str, dict[str, Any]]) -> None:
    """Items without a value stay as null on both sides; positions are those of the archive."""
    table = nomad.entries(GAP.value.exists()).select(
        value=GAP.value.to("eV"), homo=GAP.energy_highest_occupied.to("eV"), type=GAP.type
    )
    rows = list(table.rows())
    assert len(rows) > 20
    for row in rows:
        items = archives[row["entry_id"]]["results"]["properties"]["electronic"]["band_gap"]
        assert row["type"] == [item.get("type") for item in items]
        for name, key in (("value", "value"), ("homo", "energy_highest_occupied")):
            expected = [None if item.get(key) is None else item[key] / EV for item in items]
            assert row[name] == [None if e is None else pytest.approx(e, rel=1e-12) for e in expected]


def test_references_lead_to_the_system_of_the_calculation(
    nomad: Nomad, archives: dict[str, dict[str, Any]]
) -> None:
    """The server resolves them; each calculation gets its own system."""
    path = Q.run[-1].calculation.system_ref.atoms.labels.size()
    table = nomad.entries(Q.run.calculation.system_ref.exists()).select(n_atoms=path)
    rows, told = list(table.rows()), set(table.problems["entry_id"])
    assert len(rows) > 100
    n_references = 0
    for row in rows:
        if row["entry_id"] in told:
            continue
        run = archives[row["entry_id"]]["run"][-1]
        references = [(one or {}).get("system_ref") for one in run.get("calculation") or []]
        expected = [n_labels(reference, row["entry_id"], archives) for reference in references]
        assert (row["n_atoms"] or []) == expected, row["entry_id"]
        n_references += sum(one is not None for one in expected)
    assert n_references > 1_000


def n_labels(reference: str | None, entry_id: str, archives: dict[str, dict[str, Any]]) -> int | None:
    """Return the number of labels of the system that a reference leads to, in whichever entry."""
    if reference is None:
        return None
    other, _, path = reference.rpartition("#")
    value: Any = archives.get(other.rpartition("/")[2] if other else entry_id)
    for part in path.strip("/").split("/"):
        if part.isdigit():
            value = value[int(part)] if value and int(part) < len(value) else None
        else:
            value = (value or {}).get(part)
    labels = ((value or {}).get("atoms") or {}).get("labels")
    return None if labels is None else len(labels)


def test_a_public_search_and_a_login_are_told_apart(real_url: str, tmp_path: Path) -> None:
    """With a login the owner is visible, and one's own unpublished entries are found."""
    public = Nomad(real_url, cache_dir=tmp_path).entries()
    with Nomad(real_url, cache_dir=tmp_path, username="ada", password="ada-password") as ada:
        assert ada.whoami().username == "ada"
        assert ada.entries().plan().facts["owner"] == "visible"
    with Nomad(real_url, cache_dir=tmp_path, username=AUTHOR, password=f"{AUTHOR}-password") as author:
        mine = author.entries().select("upload_id", "published", "energy")
        frame = mine.to_pandas()
        assert set(ids_of(public)) < set(frame["entry_id"])
        assert len(frame[~frame["published"]]) == 7
        staging = author.entries(owner="staging").select("published").to_pandas()
        assert set(staging["entry_id"]) == set(frame[~frame["published"]]["entry_id"])
        assert author.entries(Q.published == False, owner="public").count() == 0  # noqa: E712


def test_all_lists_embargoed_entries_without_their_archives(nomad: Nomad) -> None:
    """What may not be read is null and told."""
    table = nomad.entries(owner="all").select("with_embargo", program="run[0].program.name")
    frame, problems = table.to_pandas(), table.problems
    embargoed = frame[frame["with_embargo"]]
    assert len(embargoed) == 5
    assert embargoed["program"].isna().all()
    assert set(embargoed["entry_id"]) <= set(problems["entry_id"])
    assert problems["why"].str.contains("may not be read").any()


@pytest.mark.parametrize("kinds", [["503"], ["502", "503", "504", "reset"]])
def test_every_second_request_failing_costs_time_not_rows(
    nomad: Nomad, faults: Any, kinds: list[str]
) -> None:
    """Index and archive columns are those of an undisturbed table."""
    some = nomad.entries(Q.n_elements <= 2).select("formula", "energy", "gap").page_size(10)
    undisturbed = list(some.rows())
    assert len(undisturbed) > 100
    faults(fail_rate=0.5, fail_kinds=kinds, fail_paths="entries/")
    hasty(nomad)
    again = some.to_arrow(refresh=True).to_pylist()
    assert again == undisturbed


def test_custom_quantities_are_completed_with_their_schema(nomad: Nomad) -> None:
    """One class: its values; several: the candidates; none: refused."""
    element = nomad.entries(Q.data.symbol == "H").select("data.symbol", n="data.order_number")
    assert [(row["data.symbol"], row["n"]) for row in element.rows()] == [("H", 1)]
    with pytest.raises(QuantityNotFound, match=r"several schemas.*MySection"):
        nomad.entries(Q.data.my_quantity == "value").count()
    with pytest.raises(QuantityNotFound, match="is not known here"):
        nomad.entries(Q.data.no_such_quantity == 1).count()
    with pytest.raises(QuantityNotFound, match=r"several schemas.*unchecked"):
        nomad.entries().select("data.name").to_pandas()
    with pytest.raises(QuantityNotFound, match=r"has 'data.nmae'. Nearest: data.name"):
        nomad.entries().select("data.nmae").to_pandas()


def test_custom_columns_read_index_and_archive(nomad: Nomad, archives: dict[str, dict[str, Any]]) -> None:
    """Scalars from the index, arrays from the archive, one class on request."""
    having = nomad.entries(Q["data.name"].unchecked().exists())
    names = {
        entry_id: archive["data"]["name"]
        for entry_id, archive in archives.items()
        if isinstance(archive.get("data"), dict) and archive["data"].get("name") is not None
    }
    found = {row["entry_id"]: row["x"] for row in having.select(x=Q["data.name"].unchecked()).rows()}
    assert found == names
    of_class = Q["data.name#nomad.datamodel.metainfo.eln.ELNSample"]
    rows = nomad.entries().select(x=of_class).to_pandas().dropna()
    assert set(rows["entry_id"]) == {
        entry_id
        for entry_id in names
        if archives[entry_id]["data"].get("m_def") == "nomad.datamodel.metainfo.eln.ELNSample"
    }
    spectra = nomad.entries(Q.data.results.intensity.exists()).select(i="data.results.intensity")
    for row in spectra.rows():
        items = archives[row["entry_id"]]["data"]["results"]
        assert row["i"] == [item.get("intensity") for item in items]


def test_counts_previews_and_narrowing_ask_the_server(nomad: Nomad) -> None:
    """And agree with the table."""
    search = nomad.entries(Q.elements.has_all("Si"), Q.program == "vasp")
    table = search.narrowing()
    assert table["alone"].tolist()[0] == nomad.entries(Q.elements.has_all("Si")).count()
    assert (table["cumulative"].tolist()[1], table["near"].tolist()[1]) == (0, "VASP")
    preview = nomad.entries(Q.program == "VASP").select("formula", "energy").preview(3)
    whole = nomad.entries(Q.program == "VASP").select("formula", "energy").limit(3).to_pandas()
    assert preview.equals(whole)


def test_sorted_tables_are_in_the_servers_order(nomad: Nomad, real_documents: list[dict[str, Any]]) -> None:
    """The latest uploads first; ties by id, in the same direction."""
    latest = nomad.entries().select("uploaded").sort("uploaded", descending=True).limit(25).to_pandas()
    expected = sorted(real_documents, key=lambda d: (d["upload_create_time"], d["entry_id"]), reverse=True)
    assert latest["entry_id"].tolist() == [document["entry_id"] for document in expected[:25]]


def test_ids_are_joined_whatever_holds_them(nomad: Nomad) -> None:
    """A search, a table, a frame; unknown ids are told."""
    vasp = nomad.entries(Q.program == "VASP")
    expected = ids_of(vasp)
    assert ids_of(nomad.entries(Q.entry_id.isin(vasp))) == expected
    assert ids_of(nomad.entries(Q.entry_id.isin(vasp.select("formula").to_pandas()))) == expected
    table = nomad.entries(Q.entry_id.isin([*expected[:2], "no-such-entry"])).select("formula")
    assert len(table.to_arrow()) == 2
    assert table.problems["entry_id"].tolist() == ["no-such-entry"]
