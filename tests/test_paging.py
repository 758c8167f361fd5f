"""Pages become one complete table: whatever their size, and whatever the server does meanwhile."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nomadquery.errors import IncompleteResult, RateLimited, ResponseFormatError
from nomadquery.http.deployment import find_deployment
from nomadquery.http.message import Reply, Request
from nomadquery.http.transport import RequestsWire
from nomadquery.local.store import LocalStore
from nomadquery.query.quantity import Q
from nomadquery.search import Search, make_search
from tests.faults.proxy import Proxy, Schedule
from tests.faults.server import Answer, as_proxy
from tests.tables import (
    CountedWire,
    a_document,
    a_filled_store,
    a_search,
    a_session,
    an_archive_of,
    edited,
    ids,
    lost,
    lost_after,
)

COLUMNS = {"gap": Q.gap, "elements": Q.elements, "energy": Q.energy}


def rows_of(search: Search) -> list[dict[str, Any]]:
    return list(search.rows())


def entry_ids(search: Search) -> list[str]:
    return [row["entry_id"] for row in search.rows()]


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 6, 11, 12, 13, 10_000])
def test_every_page_size_gives_the_same_table(tmp_path: Path, page_size: int) -> None:
    """12 entries: pages that divide it, that do not, and one for all."""
    wire = CountedWire(a_filled_store(ids(12)))
    table = a_search(wire, tmp_path).select(**COLUMNS).page_size(page_size)
    assert [row["gap"] for row in rows_of(table)] == pytest.approx(list(range(12)), rel=1e-12)
    assert [row["energy"] for row in table.rows()] == pytest.approx([-n - 0.5 for n in range(12)], rel=1e-12)
    assert entry_ids(table) == ids(12)
    n_pages = -(-12 // page_size) + (12 % page_size == 0)  # a full last page may not be the last
    assert len(wire.pages) == n_pages


def test_a_limited_table_is_the_first_entries_whatever_the_pages(tmp_path: Path) -> None:
    """In the order of their ids; no more is asked for than needed."""
    wire = CountedWire(a_filled_store(ids(9)))
    for page_size, limit in itertools.product((1, 2, 4), (1, 3, 4, 9, 20)):
        table = (
            a_search(wire, tmp_path / f"{page_size} {limit}").select("gap").page_size(page_size).limit(limit)
        )
        assert entry_ids(table) == ids(9)[:limit]
    sizes = [request.json["pagination"]["page_size"] for request in wire.pages]
    assert max(sizes) <= 4


# -- servers that do strange things --------------------------------------------------------


def hiding(hidden: set[str], *, also_by_id: bool = False) -> Callable[[Request, Reply], Reply]:
    """Return how a server answers that leaves entries out of its pages in silence."""

    def change(request: Request, reply: Reply) -> Reply:
        body = request.json or {}
        is_listing = body.get("required") == {"include": ["entry_id"]}
        is_by_id = "entry_id" in json.dumps(body.get("query", {}))
        if request.path != "entries/query" or is_listing or (is_by_id and not also_by_id):
            return reply
        return edited(
            reply, lambda page: page.update(data=[d for d in page["data"] if d["entry_id"] not in hidden])
        )

    return change


def test_entries_that_pages_leave_out_are_fetched_by_their_ids(tmp_path: Path) -> None:
    """The first, one in the middle, the last of the result."""
    hidden = {"entry-0000", "entry-0005", "entry-0011"}
    wire = CountedWire(a_filled_store(ids(12)), hiding(hidden))
    table = a_search(wire, tmp_path).select(**COLUMNS).page_size(4)
    assert entry_ids(table) == ids(12)
    assert [row["gap"] for row in table.rows()] == pytest.approx(list(range(12)), rel=1e-12)
    assert table.problems.empty


def test_entries_that_cannot_be_had_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    """An incomplete result is an error; the next call asks for the rest."""
    wire = CountedWire(a_filled_store(ids(12)), hiding({"entry-0005"}, also_by_id=True))
    table = a_search(wire, tmp_path).select("gap").page_size(5)
    with pytest.raises(IncompleteResult, match="entry-0005") as caught:
        table.to_pandas()
    assert (caught.value.n_arrived, caught.value.missing) == (11, ("entry-0005",))
    wire.change = None
    n_sent = len(wire.sent)
    assert sorted(entry_ids(table)) == ids(12)
    assert len(wire.sent) - n_sent <= 3  # the end of the walk, the list of ids, the one entry


def test_entries_in_their_place_again_after_they_arrived_late(tmp_path: Path) -> None:
    """Rows are in the order of the ids."""
    wire = CountedWire(a_filled_store(ids(6)), hiding({"entry-0001"}))
    assert entry_ids(a_search(wire, tmp_path).select("gap").page_size(2)) == ids(6)


@pytest.mark.parametrize("path", ["entries/query", "entries/archive/query"])
@pytest.mark.parametrize("column", ["{}.value", "{}[0:1].value"])
def test_a_large_answer_with_damaged_letters_is_asked_for_again(
    tmp_path: Path, path: str, column: str
) -> None:
    """A name that is none any more would be a value that is not there."""
    wire = CountedWire(a_filled_store(ids(3)))
    damaged: list[Reply] = []

    def damage(request: Request, reply: Reply) -> Reply:
        start = reply.body.rfind(b'"value"')
        if request.path != path or start < 0 or damaged:
            return reply
        body = reply.body[:start] + b'"val\xffe"' + reply.body[start + 7 : -1] + b" " * 3_000_000 + b"}"
        damaged.append(replace(reply, body=body))
        return damaged[0]

    wire.change = damage
    section = "run.calculation" if "archive" in path else "results.properties.electronic.band_gap"
    inner = column.replace(".value", ".energy.total.value") if "archive" in path else column
    found = list(a_search(wire, tmp_path).select(x=inner.format(section)).rows())
    assert damaged
    assert found == list(
        a_search(CountedWire(wire.store), tmp_path / "other").select(x=inner.format(section)).rows()
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda page: page["data"].reverse(),
        lambda page: page["data"].append(page["data"][0]),
        lambda page: page["data"][0].update(entry_id="entry-0000"),
    ],
)
def test_pages_that_repeat_or_are_out_of_order_are_refused(
    tmp_path: Path, spoil: Callable[[Any], None]
) -> None:
    """Nobody could know whether the result is complete; what came before stays."""

    def second_page(request: Request, reply: Reply) -> Reply:
        is_second = "page_after_value" in request.json["pagination"] and json.loads(reply.body)["data"]
        return edited(reply, spoil) if is_second else reply

    wire = CountedWire(a_filled_store(ids(6)), second_page)
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    with pytest.raises(ResponseFormatError, match="order of their ids"):
        table.to_pandas()
    wire.change = None
    assert entry_ids(table) == ids(6)


def with_total(total: int) -> Callable[[Request, Reply], Reply]:
    return lambda _, reply: edited(reply, lambda page: page["pagination"].update(total=total))


@pytest.mark.parametrize(("total", "page_size"), [(4, 3), (0, 3), (5, 5)])
def test_totals_that_are_too_small_cost_no_entry(tmp_path: Path, total: int, page_size: int) -> None:
    """The walk goes to its end."""
    wire = CountedWire(a_filled_store(ids(6)), with_total(total))
    assert entry_ids(a_search(wire, tmp_path).select("gap").page_size(page_size)) == ids(6)


@pytest.mark.parametrize(("total", "page_size"), [(9, 3), (9, 100), (7, 6)])
def test_entries_that_are_always_counted_and_never_listed_are_missing(
    tmp_path: Path, total: int, page_size: int
) -> None:
    """All that are listed arrive; that others were deleted nobody knows."""
    wire = CountedWire(a_filled_store(ids(6)), with_total(total))
    table = a_search(wire, tmp_path).select("gap").page_size(page_size)
    with pytest.raises(IncompleteResult, match="counts") as caught:
        table.to_pandas()
    assert (caught.value.n_arrived, caught.value.n_missing) == (6, total - 6)
    wire.change = None
    assert entry_ids(table) == ids(6)


def changing(store: LocalStore, at_request: int, change: Callable[[LocalStore], None]) -> CountedWire:
    """Return a wire to a server that changes before it answers the n-th page."""
    wire = CountedWire(store)

    def between(_: Request, reply: Reply) -> Reply:
        if len(wire.pages) == at_request:
            change(store)
        return reply

    wire.change = between
    return wire


def unpublish(*entry_ids: str) -> Callable[[LocalStore], None]:
    return lambda store: _put(store, *(a_document(one, published=False) for one in entry_ids))


def publish(*entry_ids: str) -> Callable[[LocalStore], None]:
    return lambda store: _put(store, *(a_document(one) for one in entry_ids))


def _put(store: LocalStore, *documents: dict[str, Any]) -> None:
    store.add_entries((document, None) for document in documents)


def test_entries_published_behind_the_walk_wait_for_the_next_one(tmp_path: Path) -> None:
    """Those ahead of it are part of the table."""
    wire = changing(a_filled_store(ids(6)), 1, publish("entry-0000b", "entry-0004b"))
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    assert entry_ids(table) == sorted([*ids(6), "entry-0004b"])


def test_deleted_entries_are_told(tmp_path: Path) -> None:
    """One that was read before keeps its row; one that was not has none."""
    wire = changing(a_filled_store(ids(6)), 1, unpublish("entry-0001", "entry-0004"))
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    assert entry_ids(table) == [one for one in ids(6) if one != "entry-0004"]
    assert table.problems[["entry_id", "why"]].to_numpy().tolist() == [
        ["entry-0001", "deleted or hidden while the table was read; the row is as it was before"],
        ["", "1 entries were deleted or hidden while reading"],
    ]


def test_as_many_published_as_deleted_lose_no_entry(tmp_path: Path) -> None:
    """The total is the same, and the last entries are not yet here."""
    store = a_filled_store(ids(6))

    def both(_: LocalStore) -> None:
        unpublish("entry-0001")(store)
        publish("entry-0004b")(store)

    wire = changing(store, 1, both)
    table = a_search(wire, tmp_path).select("gap").page_size(3)
    assert entry_ids(table) == sorted([*ids(6), "entry-0004b"])


# -- faults on real sockets ----------------------------------------------------------------


def every_second(fault: Callable[[Answer], Answer]) -> Schedule:
    return lambda number, answer: fault(answer) if number % 2 else answer


def every_fourth_of_the_same(fault: Callable[[Answer], Answer]) -> Schedule:
    """Spoil three of four answers to one request; of all together it could always be the same ones."""
    seen: Counter[bytes] = Counter()

    def schedule(_: int, answer: Answer) -> Answer:
        seen[answer.body] += 1
        return fault(answer) if seen[answer.body] % 4 else answer

    return schedule


def spoiled(fault: Any) -> Callable[[Answer], Answer]:
    return lambda answer: Answer(answer.status, answer.body, fault=fault)


SCHEDULES: dict[str, Schedule] = {
    "503 to every second request": every_second(lambda _: as_proxy(503, "503 Service Unavailable")),
    "429 with a pause": every_second(lambda _: as_proxy(429, "429 Too Many Requests", Retry_After="7")),
    "connections reset": every_second(spoiled("reset")),
    "bodies cut": every_second(spoiled("cut")),
    "chunks cut": every_second(spoiled("cut_chunks")),
    "compressed bodies cut": every_second(spoiled("cut_gzip")),
    "pages of a proxy with status 200": every_second(lambda _: as_proxy(200, "Welcome")),
    "gateways fail three times of four": every_fourth_of_the_same(lambda _: as_proxy(502, "502 Bad Gateway")),
}


@contextmanager
def proxied(schedule: Schedule) -> Iterator[Proxy]:
    proxy = Proxy(a_filled_store(ids(20)), schedule)
    with proxy:
        yield proxy


def fetched_through(proxy: Proxy, cache: Path) -> Search:
    wire = RequestsWire(proxy.api_base)
    session = a_session(wire, cache, deployment=find_deployment(proxy.api_base))
    return make_search(session, (), None).select(**COLUMNS).page_size(7)


@pytest.mark.parametrize("fault", SCHEDULES)
def test_faults_cost_time_not_rows(tmp_path: Path, fault: str) -> None:
    """The table equals the undisturbed one, archives included."""
    undisturbed = rows_of(a_search(CountedWire(a_filled_store(ids(20))), tmp_path / "a").select(**COLUMNS))
    with proxied(SCHEDULES[fault]) as proxy:
        table = fetched_through(proxy, tmp_path / "b")
        assert rows_of(table) == undisturbed
        assert len(proxy.received) > 7
        table._inquiry.session.transport.close()


def test_a_server_that_stays_down_keeps_what_arrived(tmp_path: Path) -> None:
    """The error says how many are here, and the same call goes on."""
    is_down, n_archives = True, 0

    def schedule(_: int, answer: Answer) -> Answer:
        nonlocal n_archives
        n_archives += b'"archive"' in answer.body
        return as_proxy(503, "503 Service Unavailable") if n_archives > 1 and is_down else answer

    with proxied(schedule) as proxy:
        table = fetched_through(proxy, tmp_path)
        with pytest.raises(IncompleteResult, match=r"[67] of 20 entries arrived") as caught:
            table.to_pandas()
        assert caught.value.n_arrived + caught.value.n_missing == 20
        assert "503" in caught.value.why
        assert isinstance(caught.value.__cause__, RateLimited)
        arrived = caught.value.arrived()
        is_down = False
        caught.value.resume()
        n_received = len(proxy.received)
        assert arrived.to_pylist() == [
            row for row in table.rows() if row["entry_id"] in arrived["entry_id"].to_pylist()
        ]
        assert entry_ids(table) == ids(20)
        assert len(proxy.received) == n_received
        table._inquiry.session.transport.close()


# -- archives ------------------------------------------------------------------------------


def test_an_entry_that_the_server_cannot_serve_costs_only_its_own_values(tmp_path: Path) -> None:
    """The batch is halved until that entry stands alone; it has nulls and a line."""
    wire = CountedWire(a_filled_store(ids(20)))
    failure = json.dumps({"detail": {"exception_class": "KeyError", "reason": "x"}}).encode()
    wire.change = lambda request, reply: (
        Reply(500, reply.headers, failure, reply.url)
        if request.path == "entries/archive/query" and "entry-0007" in json.dumps(request.json)
        else reply
    )
    table = a_search(wire, tmp_path).select(**COLUMNS)
    rows = rows_of(table)
    assert [row["entry_id"] for row in rows if row["energy"] is None] == ["entry-0007"]
    assert rows[7]["gap"] == pytest.approx(7.0, rel=1e-12)
    assert table.problems["entry_id"].tolist() == ["entry-0007"]
    assert "could not serve it" in table.problems["why"][0]


def test_entries_without_an_archive_are_told(tmp_path: Path) -> None:
    """Or with one that may not be read."""
    table = a_search(CountedWire(a_filled_store(ids(2), archives=False)), tmp_path).select(**COLUMNS)
    assert [row["energy"] for row in table.rows()] == [None, None]
    assert table.problems["entry_id"].tolist() == ids(2)


def test_a_gateway_that_is_down_is_no_empty_archive(tmp_path: Path) -> None:
    """Nulls stand for what an entry lacks, never for a server that failed."""
    wire = CountedWire(a_filled_store(ids(3)))
    table = a_search(wire, tmp_path).select("energy")
    wire.change = lambda request, reply: (
        Reply(502, {}, b"<html>", reply.url) if "archive" in request.path else reply
    )
    with pytest.raises(Exception, match="502"):
        table.to_pandas()
    wire.change = None
    assert [row["energy"] for row in table.rows()] == pytest.approx([-0.5, -1.5, -2.5], rel=1e-12)


def test_archives_are_asked_for_upload_by_upload(tmp_path: Path) -> None:
    """The server keeps the last upload open."""
    wire = CountedWire(a_filled_store(ids(120)))
    a_search(wire, tmp_path).select("energy").to_arrow()
    batches = [request.json["query"]["entry_id"]["any"] for request in wire.archive_pages]
    uploads = [{int(one[-4:]) % 3 for one in batch} for batch in batches]
    assert sorted(one for batch in batches for one in batch) == ids(120)
    in_order = sorted(uploads, key=lambda some: (min(some), max(some)))  # some are asked for side by side
    assert all(max(one) <= min(other) for one, other in itertools.pairwise(in_order))
    assert {request.json["pagination"]["order_by"] for request in wire.archive_pages} == {"upload_id"}


def test_a_number_that_json_has_not_is_missing_and_the_rest_arrives(tmp_path: Path) -> None:
    """Some codes leave NaN behind; a page is not lost over it."""

    def spoilt(request: Request, reply: Reply) -> Reply:
        if request.path != "entries/query" or b'"n_elements":2' not in reply.body:
            return reply
        return replace(reply, body=reply.body.replace(b'"n_elements":2', b'"n_elements":NaN', 1))

    table = a_search(CountedWire(a_filled_store(ids(3)), spoilt), tmp_path).select("n_elements", "gap")
    assert [row["n_elements"] for row in table.rows()] == [None, 2, 2]
    assert [row["gap"] for row in table.rows()] == pytest.approx([0, 1, 2], rel=1e-12)
    assert table.problems["entry_id"].tolist() == ids(1)


# -- what must not be taken for complete, or for fresh ----------------------------------------


def test_a_sorted_table_with_archives_keeps_the_order_of_the_server(tmp_path: Path) -> None:
    """Although archives come upload by upload."""
    wire = CountedWire(a_filled_store(ids(30)))
    table = a_search(wire, tmp_path).select("energy").sort("mainfile", descending=True).limit(12)
    assert entry_ids(table) == ids(30)[:17:-1]
    assert [row["energy"] for row in table.rows()] == pytest.approx([-n - 0.5 for n in range(29, 17, -1)])


def failing_over(entry_id: str) -> Callable[[Request, Reply], Reply]:
    """Return how a server answers that fails over one entry wherever its values are asked for."""
    failure = json.dumps({"detail": {"exception_class": "KeyError", "reason": "x"}}).encode()

    def change(request: Request, reply: Reply) -> Reply:
        is_listing = (request.json or {}).get("required") == {"include": ["entry_id"]}
        has_it = f'"{entry_id}"'.encode() in reply.body
        return Reply(500, reply.headers, failure, reply.url) if has_it and not is_listing else reply

    return change


def test_an_entry_published_meanwhile_does_not_make_up_for_one_that_is_missing(tmp_path: Path) -> None:
    """Neither in the first call nor in the next."""
    wire = CountedWire(a_filled_store(ids(20)))
    fails = failing_over("entry-0013")

    def change(request: Request, reply: Reply) -> Reply:
        if len(wire.pages) == 1:
            publish("entry-0019b")(wire.store)
        return fails(request, reply)

    wire.change = change
    table = a_search(wire, tmp_path).select("gap").page_size(5)
    for _ in range(2):
        with pytest.raises(IncompleteResult) as caught:
            table.to_pandas()
        assert caught.value.missing == ("entry-0013",)
    wire.change = None
    assert entry_ids(table) == [*ids(20), "entry-0019b"]


def test_resuming_a_refresh_goes_on_with_it(tmp_path: Path) -> None:
    """The old table is not taken for the new one."""
    wire = CountedWire(a_filled_store(ids(20)))
    table = a_search(wire, tmp_path).select("gap").page_size(5)
    table.to_arrow()
    publish("entry-0019b")(wire.store)
    n_before = len(wire.pages)
    wire.change = lost_after(wire, n_before + 2)
    with pytest.raises(IncompleteResult) as caught:
        table.to_pandas(refresh=True)
    wire.change = None
    n_before = len(wire.pages)
    caught.value.resume()
    assert entry_ids(table) == [*ids(20), "entry-0019b"]
    assert len(wire.pages) - n_before == 3


def test_a_limit_holds_although_entries_came_before_those_that_had_arrived(tmp_path: Path) -> None:
    """What arrived of a window that broke off and is not among the first any more is left out."""
    wire = CountedWire(a_filled_store([f"entry-{n:04d}" for n in range(100, 200)]))
    table = a_search(wire, tmp_path).select("energy").limit(100)

    def change(request: Request, reply: Reply) -> Reply:
        is_first = "entry-0102" in json.dumps(request.json)
        return reply if request.path != "entries/archive/query" or is_first else lost(request, reply)

    wire.change = change
    with pytest.raises(IncompleteResult, match="arrived"):
        table.to_arrow()
    early = [f"entry-{n:04d}" for n in range(6)]
    documents = [a_document(one) for one in early]
    wire.store.add_entries((one, an_archive_of(one)) for one in documents)
    wire.change = None
    assert entry_ids(table) == [*early, *(f"entry-{n:04d}" for n in range(100, 194))]


def test_a_sorted_page_that_lacks_entries_is_no_table(tmp_path: Path) -> None:
    """It is asked for again, and then an error."""
    wire = CountedWire(a_filled_store(ids(20)))
    wire.change = lambda _, reply: edited(reply, lambda page: page["data"].pop())
    table = a_search(wire, tmp_path).select("gap").sort("mainfile").limit(10)
    with pytest.raises(ResponseFormatError):
        table.to_pandas()
    wire.change = None
    assert entry_ids(table) == ids(10)


def failing_pages(spoil: Callable[[Any], None], *, of_ids: bool) -> Callable[[Request, Reply], Reply]:
    """Return how a server answers that is too slow for pages of values, and spoils what is asked instead.

    That is the list of ids, or the entries by their ids.
    """

    def change(request: Request, reply: Reply) -> Reply:
        body = request.json or {}
        if request.path != "entries/query" or not body["pagination"]["page_size"]:
            return reply
        if body.get("required") == {"include": ["entry_id"]}:
            return edited(reply, spoil) if of_ids else reply
        if "any" in json.dumps(body["query"]):
            return reply if of_ids else edited(reply, spoil)
        return Reply(504, reply.headers, b"<html>", reply.url)

    return change


def repeat(page: Any) -> None:
    page["data"] += page["data"][:1]


def test_an_entry_that_is_given_twice_by_its_id_has_one_row(tmp_path: Path) -> None:
    """Pages that fail are asked for by the ids of their entries."""
    wire = CountedWire(a_filled_store(ids(20)), failing_pages(repeat, of_ids=False))
    assert entry_ids(a_search(wire, tmp_path).select("gap").page_size(5)) == ids(20)


@pytest.mark.parametrize("spoil", [repeat, lambda page: page["data"].reverse()])
def test_a_list_of_ids_that_is_out_of_order_is_refused(tmp_path: Path, spoil: Callable[[Any], None]) -> None:
    """As a page would be; what was kept goes on when the server is well again."""
    wire = CountedWire(a_filled_store(ids(20)), failing_pages(spoil, of_ids=True))
    table = a_search(wire, tmp_path).select("gap").page_size(5)
    with pytest.raises(ResponseFormatError, match="complete"):
        table.to_pandas()
    wire.change = None
    assert entry_ids(table) == ids(20)
