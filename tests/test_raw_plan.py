"""Which way files go is decided by cost, before anything is sent, and can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import QueryError
from nomadquery.raw.files import RawFile
from nomadquery.raw.plan import (
    BATCH_BYTES,
    BATCH_FILES,
    ROUTES,
    RawPlan,
    Route,
    Whole,
    batches_of,
    plan_legs,
    wholes_of,
)
from tests.strategies import wanted_files

PUBLISHED = {"u1": True, "u2": False}


def some_files(n: int, size_bytes: int, upload_id: str = "u1") -> list[RawFile]:
    return [RawFile(upload_id, f"{k:05}/OUTCAR", size_bytes, (f"e{k}",), ()) for k in range(n)]


def the_route(files: list[RawFile], whole: Whole) -> Route:
    [leg] = plan_legs(files, {files[0].upload_id: whole})
    return leg.route


@given(wanted_files(), st.sampled_from((None, *ROUTES)))
def test_every_file_goes_exactly_one_way_that_it_can_go(files: list[RawFile], route: Route | None) -> None:
    """Of unpublished uploads there is no stored zip, and by query there are only files of entries."""
    legs = plan_legs(files, wholes_of(files, PUBLISHED), route=route)
    gone = [one for leg in legs for one in leg.files]
    assert sorted(gone, key=repr) == sorted(files, key=repr)
    for leg in legs:
        assert {one.upload_id for one in leg.files} == {leg.upload_id}
        assert leg.route != "upload" or PUBLISHED[leg.upload_id]
        assert leg.route != "batches" or all(one.entry_ids for one in leg.files)
        assert leg.n_requests >= 1
        if route is not None and leg.route != route:
            assert leg.route == "files"
            assert route != "upload" or not PUBLISHED[leg.upload_id]


@given(wanted_files())
def test_the_plan_is_never_dearer_than_a_single_route(files: list[RawFile]) -> None:
    """As far as the estimates go."""
    wholes = wholes_of(files, PUBLISHED)
    chosen = sum(leg.seconds for leg in plan_legs(files, wholes))
    for route in ROUTES:
        assert chosen <= sum(leg.seconds for leg in plan_legs(files, wholes, route=route)) + 1e-9


def test_a_few_files_of_a_large_upload_come_singly() -> None:
    """Nobody downloads 2 GB for three files."""
    assert the_route(some_files(3, 10**6), Whole(5000, 2 * 10**9, True)) == "files"


def test_a_whole_published_upload_comes_out_of_its_stored_zip() -> None:
    """A few requests in place of five thousand."""
    files = some_files(5000, 400_000)
    [leg] = plan_legs(files, {"u1": Whole(5000, 2 * 10**9, True)})
    assert leg.route == "upload"
    assert leg.n_requests < 10


def test_many_tiny_unpublished_files_come_in_zips_by_query() -> None:
    """There is no stored zip, and a request for each would take 200 s at 25 a second."""
    files = some_files(5000, 500, "u2")
    assert the_route(files, Whole(5000, 5000 * 500, False)) == "batches"


def test_large_unpublished_files_come_singly() -> None:
    """Zips by query came with 0.3 MB/s, and cannot be gone on with."""
    assert the_route(some_files(50, 50 * 10**6, "u2"), Whole(50, 50 * 50 * 10**6, False)) == "files"


@given(wanted_files())
def test_batches_are_bounded_and_lose_nothing(files: list[RawFile]) -> None:
    """In their order; only a file that is larger by itself exceeds the size."""
    batches = batches_of(files)
    assert [one for batch in batches for one in batch] == files
    assert all(0 < len(batch) <= BATCH_FILES for batch in batches)
    assert all(len(b) == 1 or sum(one.size_bytes for one in b) <= BATCH_BYTES for b in batches)


def test_batches_are_no_smaller_than_they_must_be() -> None:
    """A thousand small files are five zips."""
    assert len(batches_of(some_files(5 * BATCH_FILES, 10))) == 5


def test_a_plan_can_be_read() -> None:
    """Files, bytes, requests, routes, what is here, the disk, and what will not come."""
    files = some_files(3, 10**6)
    odd = RawFile("u1", "../up", 1, (), ())
    plan = RawPlan(
        plan_legs(files, {"u1": Whole(5000, 2 * 10**9, True)}),
        here=tuple(some_files(2, 10**6)),
        refused={odd: "it leads elsewhere"},
        missing={"e9": "may not be read"},
        free_bytes=2 * 10**6,
        choice="include OUTCAR",
    )
    assert plan.is_too_large
    assert (plan.n_files, plan.n_bytes, plan.n_requests) == (3, 3 * 10**6, 3)
    assert str(plan).splitlines() == [
        "raw files: include OUTCAR",
        "  to fetch  3 files, 3.00 MB, about 3 requests and 1 s",
        "  files     3 files, 3.00 MB of 1 upload: one request a file",
        "  here      2 files, 2.00 MB",
        "  free      2.00 MB on the disk (too little)",
        "  refused   '../up' of u1: it leads elsewhere",
        "  missing   entry e9: may not be read",
    ]


def test_an_unknown_route_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(QueryError, match="files, batches, upload"):
        plan_legs([], {}, route="zip")  # type: ignore[arg-type]  # on purpose
