"""Decide, before anything is sent, how a table will be fetched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomadquery.columns.pins import EDITABLE, PINNED, editable_names
from nomadquery.columns.planned import Per, PlannedColumn, describe
from nomadquery.columns.required import archive_required, metadata_required
from nomadquery.errors import NotExpressible, QueryError
from nomadquery.fetch.slices import LEAST_SLICE, expected_for
from nomadquery.query.body import body
from nomadquery.query.catalogue import Catalogue
from nomadquery.query.criteria import And, Criterion, Equals, HasAny, canonical, canonical_json
from nomadquery.query.resolve import Resolver, existence
from nomadquery.store.manifests import FORMAT, Manifest

FIRST_PAGE: Final = 2_000
LARGEST_PAGE: Final = 10_000
PAGE_WITH_ARCHIVES: Final = 200
LARGEST_SORTED: Final = 10_000
PAGE_BYTES: Final = 6 << 20
PAGE_S: Final = 10.0
FIRST_BATCH: Final = 50
#: Of a table whose pages are asked for side by side, the least entries of a page; so many pages at once.
_LEAST_PAGE: Final = 500
_AT_ONCE: Final = 8
#: How fast batches of archives grow.
_GROWTH: Final = 4

#: Quantities whose values people bring along as lists; what is not found among them is reported.
ID_QUANTITIES: Final = frozenset(
    {"entry_id", "upload_id", "external_id", "datasets.dataset_id", "datasets.doi", "results.eln.lab_ids"}
)
_QUERY_SHOWN: Final = 400
_QUERY_IN_FACTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Sort:
    """Order of a limited table: a scalar quantity of the search index, and its direction."""

    quantity: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What a table asks of a deployment: resolved, and the same for every spelling.

    Attributes
    ----------
    deployment : str
        API base, or the folder of a local deployment.
    release : str
        The release that runs there.
    owner : str
        The resolved owner.
    user : str or None
        Who asks, unless the owner is ``public``.
    asked : Criterion
        The resolved tree; quantities of custom schemas (``data.x``) as they were typed.
    columns : tuple of PlannedColumn
    criterion : Criterion
        The tree to send: with the schemas of custom quantities.
    pinned : str or None
        Of a table of the entries of a lockfile: the hash of that.
    state : str or None
        What tells one state of a deployment inside this process from another; no part of the identity.
    sort : Sort or None
    limit : int or None
    per : Per or None
        The section whose items are the rows; ``None``: an entry is a row.
    page_size : int or None
        Overrides the planned one; no part of the identity.
    """

    deployment: str
    release: str
    owner: str
    user: str | None
    asked: Criterion
    columns: tuple[PlannedColumn, ...]
    criterion: Criterion
    sort: Sort | None = None
    limit: int | None = None
    per: Per | None = None
    page_size: int | None = None
    state: str | None = None
    pinned: str | None = None

    @property
    def search_columns(self) -> tuple[PlannedColumn, ...]:
        """The columns that come from ``entries/query``."""
        return tuple(column for column in self.columns if column.source == "search")

    @property
    def archive_columns(self) -> tuple[PlannedColumn, ...]:
        """The columns that come from archives."""
        return tuple(column for column in self.columns if column.source == "archive")

    @property
    def reads_archives(self) -> bool:
        """Whether archives are asked for: for columns, or for the items that make the rows."""
        from_per = self.per is not None and self.per.source == "archive"
        return from_per or any(column.source == "archive" for column in self.columns)


def identity(question: Question) -> dict[str, Any]:
    """Return the question as JSON; equal for equal questions, however they were typed."""
    return {
        "format": FORMAT,
        "deployment": question.deployment,
        "owner": question.owner,
        "user": question.user,
        "query": json.loads(canonical_json(question.asked)),
        "columns": [describe(column) for column in question.columns],
        "sort": None if question.sort is None else [question.sort.quantity, question.sort.descending],
        "limit": question.limit,
        "per": None if question.per is None else question.per.section,
        **({} if question.pinned is None else {"lock": question.pinned}),
    }


def key_of(question: Question) -> str:
    """Return the name under which the table is kept: a hash of its `identity`."""
    text = json.dumps(identity(question), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def query_body(question: Question, catalogue: Catalogue) -> dict[str, Any]:
    """Return the NOMAD query to send; a sorted one asks only for entries that can be sorted."""
    criterion = question.criterion
    if question.sort is not None:
        quantity = catalogue.find(question.sort.quantity)
        if quantity is not None:
            criterion = canonical(And((criterion, existence(quantity))))
    return body(criterion, release=question.release)


def required_for(question: Question, catalogue: Catalogue) -> dict[str, list[str]]:
    """Return the metadata ``required``: with the times that pin an entry, and its upload for archives."""
    required = metadata_required(question.columns, catalogue, question.per)
    required["include"] += [name for name in PINNED if name not in required["include"]]
    if question.reads_archives and "upload_id" not in required["include"]:
        required["include"].append("upload_id")
    return required


def editable_of(question: Question) -> tuple[str, ...]:
    """Return the names of metadata that can be edited and that a table shows: their values pin an entry."""
    names = set(editable_names(question.columns))
    if question.per is not None and question.per.source == "search":
        names |= {question.per.section.partition(".")[0]} & EDITABLE
    return tuple(sorted(names))


def named_ids(criterion: Criterion) -> list[tuple[str, tuple[str, ...]]]:
    """Return the identifiers that every hit must have one of, by quantity, as the query lists them."""
    match criterion:
        case HasAny(quantity, values) if quantity in ID_QUANTITIES:
            return [(quantity, tuple(str(value) for value in values))]
        case Equals(quantity, value) if quantity in ID_QUANTITIES:
            return [(quantity, (str(value),))]
        case And(parts):
            return [found for part in parts for found in named_ids(part)]
        case _:
            return []


def first_page_size(question: Question) -> int:
    """Return the size of the first page; later ones follow bytes and time."""
    if question.sort is not None and question.limit is not None:
        return question.limit  # a sorted table is one page, whatever the wanted size of pages
    planned = PAGE_WITH_ARCHIVES if question.reads_archives else FIRST_PAGE
    planned = max(1, min(planned, PAGE_BYTES // bytes_each(question)))
    size = planned if question.page_size is None else question.page_size
    return size if question.limit is None else min(size, question.limit)


def next_page_size(question: Question, n_entries: int, n_bytes: int, *, took_s: float = 0.0) -> int:
    """Return the size of the next page, after one of ``n_entries`` in ``n_bytes`` that took ``took_s``."""
    if question.page_size is not None:
        return question.page_size
    if n_entries == 0:
        return first_page_size(question)
    by_bytes = PAGE_BYTES * n_entries // max(1, n_bytes)
    by_time = int(PAGE_S * n_entries / max(took_s, 1e-3))
    return max(1, min(LARGEST_PAGE, by_bytes, by_time))


def check_sort(path: str, descending: bool, limit: int | None, catalogue: Catalogue) -> Sort:
    """Return the order, or say why the server cannot give it."""
    quantity = Resolver(catalogue).quantity(path)
    if limit is None or limit > LARGEST_SORTED:
        raise QueryError(
            f".sort({path!r}) goes with .limit(n), n at most {LARGEST_SORTED}: the first n in that order. "
            "For all rows sort the DataFrame: df.sort_values(...)."
        )
    if quantity.is_list or quantity.index == "text" or quantity.nested:
        raise NotExpressible(f"NOMAD cannot sort by {quantity.name}: it needs one value for each entry.")
    return Sort(quantity.name, descending)


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What fetching a table will do.

    Attributes
    ----------
    endpoint : str
    n_rows : int or None
        Expected rows; ``None`` where nothing was asked, and where they are items of a section.
    n_entries : int or None
        Expected entries.
    n_requests : int or None
        Expected requests.
    size_bytes : int or None
        Expected bytes on the wire before compression; a rough estimate from the columns.
    cached : str
        What is kept of it: ``"complete, fetched …"``, ``"n of m rows"``, ``"nothing"``.
    steps : tuple of str
        What will be asked, in order.
    facts : dict
        The question: owner, columns with unit and source, the NOMAD query.
    """

    endpoint: str
    n_rows: int | None
    n_entries: int | None
    n_requests: int | None
    size_bytes: int | None
    cached: str
    steps: tuple[str, ...]
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        n_entries = "?" if self.n_entries is None else f"{self.n_entries:,}"
        section = self.facts["per"]
        rows = f"{n_entries} rows" if section is None else f"the items of {section} in {n_entries} entries"
        n_requests = "?" if self.n_requests is None else f"{self.n_requests:,}"
        size = "?" if self.size_bytes is None else _size_words(self.size_bytes)
        lines = [
            f"{rows} from {self.facts['deployment']} ({self.facts['owner']})",
            f"  requests   {n_requests}, about {size}",
            f"  cached     {self.cached}",
        ]
        lines += [f"  step {i}     {step}" for i, step in enumerate(self.steps, 1)]
        for name, unit, source in self.facts["columns"]:
            lines.append(f"  column     {name}{f' in {unit}' if unit else ''}  [{source}]")
        return "\n".join(lines)

    __repr__ = __str__


def plan_of(
    question: Question,
    catalogue: Catalogue,
    manifest: Manifest | None,
    total: int | None,
    *,
    asked_first: Sequence[str] = (),
    is_served: bool = False,
) -> TablePlan:
    """Return what fetching will do.

    Parameters
    ----------
    manifest : Manifest or None
        What is kept.
    total : int or None
        Entries that match; ``None``: not known before searches inside the query have been asked.
    asked_first : sequence of str
        These searches, in words.
    is_served : bool
        Whether the kept table is given without asking.
    """
    n_rows = total if total is None or question.limit is None else min(total, question.limit)
    n_here = 0 if manifest is None or manifest.state == "complete" else manifest.n_entries
    n_left = 0 if is_served else None if n_rows is None else max(0, n_rows - n_here)
    endpoint = "entries/query"
    steps = [f"ask for the entry ids of {words}" for words in asked_first]
    if total is not None or not asked_first:
        sent = json.dumps(query_body(question, catalogue), ensure_ascii=False)
        steps.append(f"POST entries/query with owner {question.owner}: {_shortened(sent)}")
    else:
        steps.append(f"POST entries/query with owner {question.owner}, these ids put in")
    if question.reads_archives:
        endpoint += " + entries/archive/query"
        tree = archive_required(question.archive_columns, catalogue, question.per)
        steps.append(
            "POST entries/archive/query, ids in batches by upload, required "
            f"{_shortened(json.dumps(tree, ensure_ascii=False))}"
        )
        if any(column.follows for column in question.archive_columns):
            steps.append("POST entries/archive/query for what references into other archives lead to")
    return TablePlan(
        endpoint=endpoint,
        n_rows=n_rows if question.per is None else None,
        n_entries=n_rows,
        n_requests=None if n_left is None else n_requests(question, n_left),
        size_bytes=None if n_left is None else expected_bytes(question, n_left),
        cached=kept_words(manifest),
        steps=tuple(steps),
        facts={
            "deployment": question.deployment,
            "owner": question.owner,
            "per": None if question.per is None else question.per.section,
            "columns": [(column.name, column.unit, _source_words(column)) for column in question.columns],
        },
    )


def _source_words(column: PlannedColumn) -> str:
    """Return where a column is read; of custom quantities below ``data`` only the server can tell."""
    is_open = column.is_custom and column.source == "search"
    return "search, or archive where the index lacks some" if is_open else column.source


def _shortened(text: str) -> str:
    return text if len(text) <= _QUERY_SHOWN else f"{text[:_QUERY_SHOWN]}… ({len(text):,} characters)"


def n_requests(question: Question, n_rows: int) -> int:
    """Return how many requests ``n_rows`` entries will take, as far as sizes can be foreseen."""
    if n_rows <= 0:
        return 0
    pages = _pages(question, n_rows)
    if not question.reads_archives:
        return len(pages)
    return len(pages) + _n_batches(pages, max(1, expected_bytes(question, 1)))


def _pages(question: Question, n_rows: int) -> list[int]:
    """Return how many entries each page will have."""
    first = min(first_page_size(question), n_rows)
    n_left = n_rows - first
    if question.page_size is not None:
        later = question.page_size
    else:
        later = min(LARGEST_PAGE, PAGE_BYTES // bytes_each(question))
    is_cut = question.limit is None and not question.reads_archives and expected_for(later) >= LEAST_SLICE
    if is_cut:
        later = int(min(expected_for(later), max(_LEAST_PAGE, n_left / _AT_ONCE)))
    n_full, n_last = divmod(n_left, later)
    return [first, *([later] * n_full), *([n_last] if n_last else [])]


def _n_batches(pages: Sequence[int], bytes_each: int) -> int:
    """Return in how many requests the archives are asked for, each larger than the last."""
    number, size = 0, FIRST_BATCH
    largest = max(1, min(LARGEST_PAGE, PAGE_BYTES // bytes_each))
    for n_entries in pages:
        n_left = n_entries
        while n_left > 0:
            number, n_left, size = number + 1, n_left - size, min(_GROWTH * size, largest)
    return number


def kept_words(manifest: Manifest | None) -> str:
    """Return what is kept of a table, in words: how much, and since when."""
    if manifest is None:
        return "nothing"
    if manifest.state == "complete":
        return f"complete, {manifest.n_rows:,} rows, fetched {manifest.facts.get('fetched_at')}"
    begun = f", begun {manifest.facts.get('begun_at')}"
    if not manifest.total:
        return f"no rows{begun}"
    return f"{manifest.n_entries:,} of {manifest.total:,} entries{begun}"


def _size_words(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:,.0f} kB"


def expected_bytes(question: Question, n_rows: int) -> int:
    """Return a rough number of bytes for ``n_rows`` entries (JSON, before compression)."""
    per_entry = 60 + sum(_bytes_of(column) for column in question.columns)
    return n_rows * per_entry


def bytes_each(question: Question) -> int:
    """Return a rough number of bytes for what is listed of one entry (JSON, before compression)."""
    return 140 + sum(_bytes_of(column) for column in question.search_columns)


def _bytes_of(column: PlannedColumn) -> int:
    """Return typical sizes of JSON values, measured on 417 archives of 60 codes (medians, rounded)."""
    if column.source == "archive":
        return 2_000 if column.n_dimensions else 500
    return 1_500 if column.repeats else 60


def facts_of(question: Question, manifest: Manifest, n_dropped: int = 0) -> dict[str, Any]:
    """Return where a finished table comes from and when it was fetched, as JSON for its frames.

    ``n_dropped``: rows that are left out for lack of a value.
    """
    request = dict(manifest.request)
    text = json.dumps(request.get("query"), ensure_ascii=False)
    if len(text) > _QUERY_IN_FACTS:  # pandas copies these facts with every step
        request["query"] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "n_characters": len(text)}
    updated = manifest.facts.get("updated")
    return {
        "fetched_at": manifest.facts.get("fetched_at"),
        "begun_at": manifest.facts.get("begun_at"),
        **({} if updated is None else {"updated": updated}),
        "deployment": question.deployment,
        "release": manifest.facts.get("release"),
        "owner": question.owner,
        "n_entries": manifest.n_entries,
        "n_rows": manifest.n_rows - n_dropped,
        "n_dropped": n_dropped,
        "n_problems": len(manifest.problems),
        "key": key_of(question),
        "request": request,
    }
