"""`Inquiry`: a query, what is wanted of its hits, and whom it is put to; it finds or fetches the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from nomadquery.asking import Wanted, check_unpinned, completed, drafted, plain_question
from nomadquery.columns.arrays import arrow_schema
from nomadquery.columns.plan import plan_columns, plan_per
from nomadquery.columns.planned import PlannedColumn
from nomadquery.errors import CacheCorrupt, CacheError, IncompleteResult, QueryError
from nomadquery.fetch.harvest import harvest
from nomadquery.fetch.listing import listed_pins
from nomadquery.fetch.pages import Source
from nomadquery.fetch.pinning import agrees, check_unchanged, harvest_pinned
from nomadquery.fetch.plan import (
    Question,
    TablePlan,
    editable_of,
    facts_of,
    kept_words,
    key_of,
    plan_of,
    query_body,
)
from nomadquery.fetch.progress import Progress
from nomadquery.fetch.updating import update_table
from nomadquery.fetch.wishes import Wishes, is_servable, kept, warn_of_damage
from nomadquery.http.deployment import find_deployment
from nomadquery.http.pace import IN_FLIGHT
from nomadquery.query.catalogue import Catalogue, catalogue_for
from nomadquery.query.query import Query
from nomadquery.session import Session
from nomadquery.store.assembling import arrived_rows
from nomadquery.store.manifests import Manifest
from nomadquery.store.pins import Changes, Lock
from nomadquery.store.tables import TableStore
from nomadquery.store.view import View

if TYPE_CHECKING:
    import pyarrow as pa

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a search asks.

    Attributes
    ----------
    session : Session
    query : Query
        As it was typed; it may hold other searches, whose entry ids are asked first.
    wanted : Wanted
        Owner, columns, order, number of entries.
    """

    session: Session
    query: Query
    wanted: Wanted

    def drafted(self, query: Query) -> Question:
        """Return the question that ``query`` (without searches inside) makes."""
        return drafted(self.session, query, self.wanted)

    def drafted_columns(self, catalogue: Catalogue) -> tuple[PlannedColumn, ...]:
        """Return the wanted columns with path, type and unit."""
        per = None if self.wanted.per is None else plan_per(self.wanted.per, catalogue)
        return plan_columns(self.wanted.columns, catalogue, per)[0]

    def completed(self, wishes: Wishes) -> Question:
        """Return the question as it is sent; asks searches inside, and for schemas."""
        query = self.ready(wishes)
        return self._completed(query, self.drafted(query))

    def source(self, question: Question) -> Source:
        """Return where the pages of the question come from."""
        session = self.session
        n_places = 0 if session.deployment.in_process else IN_FLIGHT
        return Source(session.send, question, catalogue_for(question.release), session.declared, n_places)

    def harvested(self, wishes: Wishes) -> tuple[TableStore, Manifest, Question]:
        """Return the folder and manifest of the complete table, fetching what is missing of it."""
        if wishes.offline and not self.session.knows_enough(self.wanted.owner):
            raise CacheError(self.session.missing_offline(self.wanted.owner))
        query = self.ready(wishes)
        question = self.drafted(query)
        store = self._place(question)
        known = kept(store, question, wishes)
        if known is None:
            if self.session.current_release() != question.release:
                question = self.drafted(query)
            question = self._completed(query, question)
            store = self.session.writable_store(key_of(question))
            again = partial(self.harvested, replace(wishes, refresh=False, goes_on=True))
            with _going_on(again, store, question):
                known = self._fetched(store, question, wishes)
        if self.wanted.pinned is not None and not self.wanted.pinned.accepts:
            check_unchanged(known, self.session.deployment.name)
        return store, known, question

    def updated(self, wishes: Wishes) -> Changes:
        """Bring the kept table up to date; searches inside are asked anew."""
        check_unpinned(self.wanted, "update()")
        query = self.ready(replace(wishes, refresh=True))
        self.session.current_release()
        question = self._completed(query, self.drafted(query))
        store = self.session.writable_store(key_of(question))
        with _going_on(partial(self.updated, replace(wishes, refresh=False)), store, question):
            return update_table(store, self.source(question), wishes)

    def locked(self, wishes: Wishes) -> Lock:
        """Return the table pinned: as it is kept, else as the server lists its entries now."""
        if self.wanted.pinned is not None:
            self.harvested(wishes)
        query, manifest = self._kept_ready(), self.kept_manifest()
        if query is not None and manifest is not None:
            question = self.drafted(query)
            pins = self._place(question).pins(manifest)
            fetched_at = str(manifest.facts.get("fetched_at"))
        elif wishes.offline:
            raise CacheError(
                "This table is not kept on this machine, and offline=True forbids asking which entries "
                "it has."
            )
        else:
            query = self.ready(wishes)
            self.session.current_release()
            question = self._completed(query, self.drafted(query))
            fetched_at = datetime.now(UTC).isoformat(timespec="milliseconds")
            with Progress(wishes.progress, "listing") as progress:
                pins = listed_pins(self.source(question), progress.show)
        return Lock(
            deployment=_named(self.session),
            api_base=question.deployment,
            release=question.release,
            owner=question.owner,
            query=self._sent_query(query, question),
            question=plain_question(question, self.wanted),
            editable=editable_of(question),
            fetched_at=fetched_at,
            entries=pins,
        )

    def viewed(self, wishes: Wishes) -> tuple[View, Question]:
        """Return the complete table as it is read, fetching what is missing of it."""
        store, manifest, question = self.harvested(wishes)
        return View(store, manifest, self.wanted.needed), question

    def read(self, wishes: Wishes, read: Callable[[View, Question], _Read]) -> _Read:
        """Return what ``read`` makes of the complete table; one that turns out damaged is fetched again."""
        view, question = self.viewed(wishes)
        try:
            return read(view, question)
        except CacheCorrupt as error:
            if wishes.offline:
                raise
            if self.kept_manifest() == view.manifest:  # nobody has fetched it again meanwhile
                warn_of_damage(error)
                with view.store.lock():
                    view.store.clear()
        return read(*self.viewed(wishes))

    def arrow_table(self, wishes: Wishes) -> tuple[pa.Table, dict[str, Any]]:
        """Return the complete table, and where it comes from."""

        def whole(view: View, question: Question) -> Any:
            table = view.table()
            return table, facts_of(question, view.manifest, view.manifest.n_rows - table.num_rows)

        table, facts = self.read(wishes, whole)
        return table, facts

    def problems(self, wishes: Wishes) -> list[Mapping[str, str]]:
        """Return what rows lack; the table is fetched if it is not kept whole, however old."""
        manifest = self.kept_manifest()
        if manifest is None:
            _, manifest, _ = self.harvested(wishes)
        lines = list(manifest.problems)
        if self.wanted.needed:
            query = self.ready(Wishes(offline=wishes.offline))
            store = self._place(self.drafted(query))
            n_dropped = View(store, manifest, self.wanted.needed).n_dropped()
            why = f"{n_dropped} of {manifest.n_rows} rows without a value were left out by drop_missing"
            if n_dropped:
                lines.append({"entry_id": "", "path": ", ".join(self.wanted.needed), "why": why})
        return lines

    def entry_ids(self, wishes: Wishes) -> tuple[str, ...]:
        """Return the ids of all entries that match, in order."""
        if self.wanted.pinned is not None:
            store, manifest, _ = self.harvested(wishes)
            return tuple(sorted(store.pins(manifest)["entry_id"].to_pylist()))
        bare = self._bare()
        return tuple(bare.arrow_table(wishes)[0]["entry_id"].to_pylist())

    def ready(self, wishes: Wishes) -> Query:
        """Return the query with the ids of searches that are asked first put in."""
        ids = {}
        for name, search in self.query.asked_first:
            inner = _inside(search)
            ids[name] = search.entry_ids() if inner is None else inner.entry_ids(wishes)
        return self.query.with_ids(ids) if ids else self.query

    def plan(self, wishes: Wishes) -> TablePlan:
        """Return what fetching will do, and what is kept; asks at most one count."""
        catalogue = catalogue_for(self.session.release())
        query = self._kept_ready()
        if query is None:
            inner = [_in_one_line(search) for _, search in self.query.asked_first]
            return plan_of(self.drafted(self.query), catalogue, None, None, asked_first=inner)
        question = self.drafted(query)
        try:
            manifest, damage = self._place(question).manifest(), ""
        except CacheCorrupt as error:
            manifest, damage = None, f"nothing that can be used: {error}"
        is_served = manifest is not None and is_servable(manifest, question, wishes)
        total = manifest.n_entries if manifest is not None and (is_served or wishes.offline) else None
        if self.wanted.pinned is not None:
            question, total = self._completed(query, question), self.wanted.pinned.lock.n_entries
        elif total is None and not wishes.offline:
            question = self._completed(query, question)
            total = self.source(question).count()
        inner = [f"{_in_one_line(search)}; kept" for _, search in self.query.asked_first]
        plan = plan_of(question, catalogue, manifest, total, asked_first=inner, is_served=is_served)
        return replace(plan, cached=damage) if damage else plan

    def kept_manifest(self) -> Manifest | None:
        """Return the manifest of the table if it is kept whole, however old; nothing is sent."""
        try:
            query = self._kept_ready()
            manifest = None if query is None else self._manifest(query)
        except CacheCorrupt:
            return None
        return manifest if manifest is not None and manifest.state == "complete" else None

    def kept_words(self) -> str:
        """Return what is kept of the table, and since when; nothing is sent."""
        if not self.session.knows_enough(self.wanted.owner):
            return "not known before the server has been asked"
        try:
            query = self._kept_ready()
            return kept_words(None if query is None else self._manifest(query))
        except (CacheError, QueryError) as error:
            return f"nothing that can be used: {error}"

    def _kept_ready(self) -> Query | None:
        """Return the query with ids put in as `ready` does, ``None`` where somebody must be asked."""
        ids = {}
        for name, search in self.query.asked_first:
            inner = _inside(search)
            found = None if inner is None else inner._kept_ids()
            if found is None:
                return None
            ids[name] = found
        return self.query.with_ids(ids) if ids else self.query

    def _kept_ids(self) -> tuple[str, ...] | None:
        """Return the entry ids if they are kept and given without asking."""
        if not self.session.knows_enough(self.wanted.owner):
            return None
        bare = self if self.wanted.pinned is not None else self._bare()
        query = bare._kept_ready()
        manifest = None if query is None else bare._manifest(query)
        if query is None or manifest is None:
            return None
        if not is_servable(manifest, bare.drafted(query), Wishes(offline=self.session.offline)):
            return None
        return self.entry_ids(Wishes(offline=True))

    def _bare(self) -> Inquiry:
        """Return the inquiry for the entries alone."""
        return replace(self, wanted=replace(self.wanted, columns=(), per=None, needed=()))

    def _manifest(self, query: Query) -> Manifest | None:
        return self._place(self.drafted(query)).manifest()

    def _completed(self, query: Query, question: Question) -> Question:
        return completed(self.session, query, question, self.wanted.pinned)

    def _place(self, question: Question) -> TableStore:
        """Return the folder where the table is, or would be, kept.

        The entries of a lock may be kept as the table that the lock was made of.
        """
        store, pinned = self.session.kept_store(key_of(question)), self.wanted.pinned
        if pinned is None or (store.folder / "manifest.json").exists():
            return store
        original = self.session.kept_store(key_of(replace(question, pinned=None)))
        with_edits = self._pins_edits(question)
        return original if agrees(original, pinned.lock.entries, with_edits=with_edits) else store

    def _fetched(self, store: TableStore, question: Question, wishes: Wishes) -> Manifest:
        source, pinned = self.source(question), self.wanted.pinned
        if pinned is None:
            return harvest(store, source, wishes)
        with_edits = self._pins_edits(question)
        return harvest_pinned(store, source, pinned.lock.entries, wishes, with_edits=with_edits)

    def _pins_edits(self, question: Question) -> bool:
        """Return whether the lock pins the metadata that the columns show, so that edits can be compared."""
        pinned = self.wanted.pinned
        return pinned is not None and pinned.lock.editable == editable_of(question)

    def _sent_query(self, query: Query, question: Question) -> dict[str, Any] | None:
        """Return NOMAD's JSON of the query, ``None`` where only a server could complete it."""
        if self.wanted.pinned is not None:
            known = self.wanted.pinned.lock.query
            return None if known is None else dict(known)
        try:
            return query_body(self._completed(query, question), catalogue_for(question.release))
        except CacheError:
            return None


def _named(session: Session) -> str:
    """Return what a client is called with to reach the same deployment: its name, or else its address."""
    deployment = session.deployment
    is_found = find_deployment(deployment.name).api_base == deployment.api_base
    return deployment.name if is_found else deployment.api_base


@contextmanager
def _going_on(again: Callable[[], object], store: TableStore, question: Question) -> Iterator[None]:
    """Have an incomplete result say how it goes on, and give what arrived."""
    try:
        yield
    except IncompleteResult as error:
        schema = arrow_schema(question.columns, question.per)
        error.can_go_on(again, partial(arrived_rows, store, schema))
        raise


def _in_one_line(search: object) -> str:
    inquiry = _inside(search)
    return repr(search) if inquiry is None else f"{inquiry.query!r} (owner {inquiry.wanted.owner})"


def _inside(search: object) -> Inquiry | None:
    """Return the inquiry of a search that stands inside a query."""
    inquiry = getattr(search, "_inquiry", None)
    return inquiry if isinstance(inquiry, Inquiry) else None
