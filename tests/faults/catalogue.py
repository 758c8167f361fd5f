"""Synthetic entries with ids as NOMAD makes them, and what NOMAD answers about them.

Only what a fetcher of tables asks for: all entries or some by ``entry_id``, in pages. The rules of pages
are those of nomad-lab 2.0.0. Values follow from the number of an entry, so that a test can write them out.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.server import Answer, as_json

EV: Final = 1.602176634e-19  # joule; SI 2019
LARGEST_PAGE: Final = 10_000
OWNERS: Final = frozenset({"public", "visible", "all", "user", "shared", "staging", "admin"})
N_UPLOADS: Final = 7  # entries of number n are in upload n % 7


def nomad_id(*parts: str) -> str:
    """Return the id that NOMAD makes of these parts: 28 characters of the base64url of their SHA-512."""
    digest = hashlib.sha512("".join(parts).encode()).digest()
    return base64.urlsafe_b64encode(digest)[:28].decode()


def document_of(number: int) -> dict[str, Any]:
    """Return the search document of entry ``number``: its gap is number/64 eV, it has number+1 elements."""
    upload_id = nomad_id("upload", str(number % N_UPLOADS))
    material = {"n_elements": number + 1, "chemical_formula_reduced": f"O{number + 2}Ti"}
    gaps = [{"value": number / 64 * EV, "type": "direct"}]
    return {
        "entry_id": nomad_id(upload_id, f"{number}/vasprun.xml"),
        "upload_id": upload_id,
        "mainfile": f"{number}/vasprun.xml",
        "published": True,
        "with_embargo": False,
        "last_processing_time": "2024-01-02T03:04:05.678000+00:00",
        "last_edit_time": "2024-02-03T04:05:06.789000+00:00",
        "results": {"material": material, "properties": {"electronic": {"band_gap": gaps}}},
    }


def archive_of(number: int) -> dict[str, Any]:
    """Return an archive with one energy of -number/64 eV."""
    calculation = {"energy": {"total": {"value": -number / 64 * EV}}}
    return {"run": [{"calculation": [calculation]}], "metadata": {}, "m_ref_archives": {}}


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    upload_id: str
    document: bytes
    archive: bytes


class Refused(Exception):
    """NOMAD's 400 or 422, with what it says."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Catalogue:
    """Entries in the order of their ids; a value: `without` and `with_more` return other ones."""

    def __init__(self, numbers: Iterable[int] = range(3_000)) -> None:
        self._entries = dict(sorted(_made(number) for number in set(numbers)))
        self.ids = list(self._entries)

    def without(self, *entry_ids: str) -> Catalogue:
        return self._with({one: entry for one, entry in self._entries.items() if one not in entry_ids})

    def with_more(self, *numbers: int) -> Catalogue:
        return self._with(dict(sorted([*self._entries.items(), *map(_made, numbers)])))

    def _with(self, entries: dict[str, _Entry]) -> Catalogue:
        other = Catalogue(())
        other._entries, other.ids = entries, list(entries)
        return other

    def number_of(self, entry_id: str) -> int:
        return self._entries[entry_id].number

    def answer(self, path: str, asked: Mapping[str, Any]) -> tuple[Answer, tuple[str, ...]]:
        """Return the answer to a search, and the ids of the entries that it gives."""
        try:
            _check(path, asked)
            return self._page(asked, of_archives="archive" in path)
        except Refused as refused:
            return as_json({"detail": str(refused)}, refused.status), ()

    def _page(self, asked: Mapping[str, Any], *, of_archives: bool) -> tuple[Answer, tuple[str, ...]]:
        found = selected(self.ids, asked.get("query", {}))
        paging = dict(asked.get("pagination", {}))
        size, after = paging.get("page_size", 10), paging.get("page_after_value")
        key = self._order(paging.get("order_by", "entry_id"))
        found = sorted(found, key=key)
        start = 0 if after is None else bisect.bisect_right(found, _position(after), key=key)
        hits = found[start : start + size]
        paging["total"] = len(found)
        if 0 < len(hits) < len(found) and len(hits) >= size:
            paging["next_page_after_value"] = ":".join(key(hits[-1]))
        head = {name: asked[name] for name in ("owner", "query", "required") if name in asked}
        start_of_it = json.dumps({**head, "pagination": paging})[:-1].encode()
        items = b",".join(self._items(hits, asked.get("required"), of_archives=of_archives))
        return Answer(body=b'%b, "data": [%b]}' % (start_of_it, items)), tuple(hits)

    def _order(self, order_by: str) -> Callable[[str], tuple[str, ...]]:
        if order_by == "upload_id":
            return lambda entry_id: (self._entries[entry_id].upload_id, entry_id)
        return lambda entry_id: (entry_id,)

    def _items(self, hits: Sequence[str], required: Any, *, of_archives: bool) -> list[bytes]:
        if of_archives:
            return [self._entries[one].archive for one in hits]
        if is_listing(required):
            return [json.dumps({"entry_id": one}).encode() for one in hits]
        return [self._entries[one].document for one in hits]


def is_listing(required: Any) -> bool:
    """Return whether no more than the ids of entries is asked for."""
    return isinstance(required, Mapping) and required.get("include") == ["entry_id"]


def selected(ids: Sequence[str], query: Any) -> Sequence[str]:
    """Return those of the ``ids``, which are in order, that a query about ``entry_id`` selects."""
    if not isinstance(query, Mapping):
        raise Refused(422, f"a query is an object, not {query!r}")
    for name, wanted in query.items():
        quantity, _, operator = name.partition(":")
        if name == "and":
            for part in wanted:
                ids = selected(ids, part)
        elif quantity == "entry_id":
            ids = _with_ids(ids, {operator: wanted} if operator else wanted)
        else:
            raise Refused(422, f"{name} is not a quantity of this server")
    return ids


def _with_ids(ids: Sequence[str], wanted: Any) -> Sequence[str]:
    match wanted:
        case str():
            return [one for one in ids if one == wanted]
        case {"any": [*values], **rest} if not rest:
            among = set(values)
            return [one for one in ids if one in among]
        case {"all": [*values], **rest} if not rest:
            return [one for one in ids if set(values) <= {one}]
        case dict() if wanted and set(wanted) <= {"gte", "gt", "lt", "lte"}:
            if not all(isinstance(bound, str) for bound in wanted.values()):
                raise Refused(422, f"bounds of entry_id are text, not {wanted}")
            low = max(
                bisect.bisect_left(ids, wanted.get("gte", "")),
                bisect.bisect_right(ids, wanted["gt"]) if "gt" in wanted else 0,
            )
            high = min(
                bisect.bisect_left(ids, wanted["lt"]) if "lt" in wanted else len(ids),
                bisect.bisect_right(ids, wanted["lte"]) if "lte" in wanted else len(ids),
            )
            return ids[low:high]
        case _:
            raise Refused(422, f"entry_id cannot be {wanted!r}")


def _check(path: str, asked: Mapping[str, Any]) -> None:
    """Refuse what NOMAD refuses, and what is not built here."""
    paging, required = asked.get("pagination", {}), asked.get("required")
    size, after = paging.get("page_size", 10), paging.get("page_after_value")
    order_by = {"entry_id", "upload_id"} if "archive" in path else {"entry_id"}
    if unknown := {*paging} - {"page_size", "order_by", "order", "page_after_value"}:
        raise Refused(422, f"this server has no {unknown}")
    if type(size) is not int or size < 0 or (size == 0 and after):
        raise Refused(422, "invalid_page_size")
    if size > LARGEST_PAGE:
        raise Refused(400, "Elasticsearch could not process your query: the window is too large")
    if not isinstance(after, str | None):
        raise Refused(422, "page_after_value is a text")
    if paging.get("order", "asc") != "asc" or paging.get("order_by", "entry_id") not in order_by:
        raise Refused(422, "this server has no such order")
    if asked.get("owner", "public") not in OWNERS or ("archive" in path and asked.get("owner") == "all"):
        raise Refused(422, "no such owner")
    if not _is_legal(path, required):
        raise Refused(422, f"required cannot be {required!r}")


def _is_legal(path: str, required: Any) -> bool:
    if "archive" in path:
        return required == "*" or isinstance(required, dict | None)
    if required is None:
        return True
    lists = required.values() if isinstance(required, dict) else [None]
    is_known = isinstance(required, dict) and {*required} <= {"include", "exclude"}
    return is_known and all(
        isinstance(one, list) and all(isinstance(name, str) and name for name in one) for one in lists
    )


def _position(after: str) -> tuple[str, ...]:
    """Return where a page begins; ordered by another quantity, the id stands behind the last colon."""
    value, colon, entry_id = after.rpartition(":")
    return (value, entry_id) if colon else (entry_id,)


def _made(number: int) -> tuple[str, _Entry]:
    document = document_of(number)
    entry_id, upload_id = document["entry_id"], document["upload_id"]
    archive = {"entry_id": entry_id, "upload_id": upload_id, "parser_name": None}
    archive["archive"] = archive_of(number)
    return entry_id, _Entry(number, upload_id, json.dumps(document).encode(), json.dumps(archive).encode())
