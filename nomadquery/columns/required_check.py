"""A hand-written archive ``required`` is checked before it is sent: NOMAD drops and misreads in silence.

What is refused, and what the server does with it (nomad-lab 2.0.0 if no release is named; the ids are
those of ``required-cases.json``, where there is a case):

==================================================  ===================================================
refused                                             because the server
==================================================  ===================================================
neither text nor object; a list, a number, null     422 ``required-list``; 500 ``value-list``,
or a bool as a value                                ``value-null``, ``value-true``, ``null``
unknown directive; ``exclude`` as the whole or as   400 ``unknown-directive``, ``exclude-root``,
the value of ``"*"``                                ``wildcard-specific``
``exclude``, key ``"*"`` before 2.0                 1.4.3: 400 ``exclude-only``, 422 ``wildcard-root``
``exclude`` with nothing else asked for beside it   returns an empty section: ``exclude-only``
``exclude`` of some items                           leaves out the whole list
``include-resolved``                                follows everything, in real data without end: 500
``resolve-inplace`` that is not a bool              422 ``inplace-not-bool`` (null: ignored)
``resolve-inplace`` below the root                  drops it: ``inplace-nested``
options (``max_depth`` …)                           drops them: ``max-depth``, ``global-root``
keys with dots, slashes, steps, other brackets      422 ``dotted-key``, ``slash-key``, ``slice-step``,
                                                    ``index-not-int``, ``index-float``; 500
                                                    ``index-question`` (1.4.3: 422)
a property that the schema lacks                    drops it: ``unknown-property``, ``unknown-root``,
                                                    ``typo-quantity``
``[a:a]``                                           returns one item: ``slice-empty``
``[2:1]``                                           returns nothing, ever: ``slice-reversed``
``[-2]``; two negative bounds                       clamps, so that a shorter list gives its first
                                                    item: ``index-neg-out``
two keys of one property                            keeps the later one: ``two-keys-same-prop``
an index on what is no list                         400 ``index-on-nonlist``
an object on a value                                returns the text ``dict-on-scalar``; 500
                                                    ``dict-on-number``
an object on a reference to an abstract section,    returns ``{}``: ``wf2-ref``, ``wf2-dangling``; the
or to people and data sets                          text
an object on a reference, without                   writes explicit branches last, over the targets:
``resolve-inplace``, whose targets stand in a       the text is left, the target lost
branch asked for
some items of a list, and texts of references       numbers the items anew, so that the texts lead to
into it                                             wrong ones: ``index-last``
==================================================  ===================================================

Accepted as it is: ``{}`` (which items there are: ``section-empty-dict``), a position that a list may
lack (``index-out``), a slice beyond its end (``slice-beyond``), blanks around a key (``key-spaces``),
empty brackets (``index-empty-brackets``), an ``exclude`` beside what is asked for by name
(``exclude-no-wildcard``). Of polymorphic sections (``data``, ``workflow2`` …) only what the catalogue knows
is checked, and ``x_…`` quantities of parsers pass everywhere: no schema at hand lists them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nomadquery.columns.plan import SERIES
from nomadquery.columns.required_keys import Key, checked_key, keeps_positions
from nomadquery.errors import NotExpressible, QuantityNotFound, QueryError, WouldBeMisread
from nomadquery.query.catalogue import Catalogue, tables_of
from nomadquery.query.section_graph import Row

_IN_PLACE: Final = "resolve-inplace"
_WORDS: Final = ("*", "include", "exclude")
_OPTIONS: Final = {"max_depth", "depth", "global_root", "directive", "index_range", "resolve_inplace"}
_FIRST_WITH_EXCLUDE: Final = "2.0.0"

#: Sections in whose place those of classes stand that the catalogue does not know.
_POLYMORPHIC: Final = {"data", "definitions", "measurement", "tabular_tree", "workflow2"}
#: Of parsers; and ``m_def``, which always comes, with some quantities that the catalogue does not list.
_UNLISTED: Final = ("x_", "m_")
#: What a `TaskReference` leads to: tasks of other entries (all 18 in 419 archives), which nothing is
#: written over.
_OF_OTHER_ENTRIES: Final = {"nomad.datamodel.metainfo.workflow.Task"}


def check_required(required: object, catalogue: Catalogue, release: str) -> None:
    """Check an archive ``required`` as ``release`` would read it; see the table of this module.

    Raises
    ------
    QuantityNotFound
        If a property is in no schema; with the nearest names.
    NotExpressible
        If this release does not know a directive, or cannot follow references as asked.
    WouldBeMisread
        If the server would answer something else than it seems to say.
    QueryError
        If the server would refuse it, or fail.
    """
    if isinstance(required, str):
        _check_directive(required, "", release)
        if required == "exclude":
            raise QueryError(
                "required: 'exclude' leaves nothing; NOMAD refuses it. Write '*' for everything."
            )
        return
    if not isinstance(required, Mapping):
        raise QueryError(f"required must be '*' or an object such as {{'results': '*'}}, not {required!r}.")
    in_place = required.get(_IN_PLACE, False)
    if not isinstance(in_place, bool):
        raise QueryError(f"required: {_IN_PLACE!r} must be True or False, not {in_place!r}.")
    asked = {key: wanted for key, wanted in required.items() if key != _IN_PLACE}
    walk = _Walk(catalogue, release, in_place)
    walk.section(asked, _Here("", (catalogue.sections.root,)))
    walk.check_lost_targets(asked)
    walk.check_texts()


@dataclass(frozen=True, slots=True)
class _Here:
    """Where we are: names joined by dots, the classes that can stand here (none: nothing is known)."""

    path: str
    classes: tuple[str, ...] = ()
    is_open: bool = False

    def below(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


@dataclass(frozen=True, slots=True)
class _Part:
    """A sub section: the classes that can stand in it, and whether it repeats."""

    classes: tuple[str, ...]
    repeats: bool


@dataclass(slots=True)
class _Walk:
    """The walk through a ``required``, and what can be judged only at its end."""

    catalogue: Catalogue
    release: str
    in_place: bool
    #: Lists of which some items are asked for, by path.
    chosen: dict[str, str] = field(default_factory=dict)
    #: Path and target of the references asked for as texts, and of those that are followed.
    texts: list[tuple[str, str]] = field(default_factory=list)
    followed: list[tuple[str, str]] = field(default_factory=list)

    def section(self, required: Mapping[Any, Any], here: _Here) -> None:
        """Check what is asked of a section."""
        seen: dict[str, str] = {}
        for text, wanted in required.items():
            where = here.below(str(text))
            if text != "*":
                self._check_option(text, here)
            self._check_value(wanted, where)
            if text == "*":
                self._check_star(wanted, here)
                continue
            key = checked_key(text, where)
            if key.name in seen:
                raise WouldBeMisread(
                    f"required: {seen[key.name]!r} and {text!r} ask for the same property of "
                    f"{here.path or 'the archive'!r}; NOMAD keeps only the later one. Ask for a slice or for "
                    "the whole list, and choose in the answer."
                )
            seen[key.name] = text
            self._property(key, text, wanted, here)
        if required and "*" not in required and all(wanted == "exclude" for wanted in required.values()):
            raise WouldBeMisread(
                f"required: nothing is asked of {here.path or 'the archive'!r}, so NOMAD returns it empty. "
                "Write '*': '*' beside what is excluded."
            )

    def check_lost_targets(self, asked: Mapping[str, Any]) -> None:
        """Check that no branch is written over the targets of references that are followed."""
        if self.in_place:
            return
        tops = {key.partition("[")[0].strip() for key, wanted in asked.items() if wanted != "exclude"}
        for path, target in self.followed:
            for place in () if target in _OF_OTHER_ENTRIES else self.catalogue.places_of(target):
                top = place.partition(".")[0]
                if top in tops or "*" in tops:
                    raise WouldBeMisread(
                        f"required: what {path} leads to ({place}) is put into {top!r}, which is asked for "
                        "explicitly and written over it: only the text would be left. Write "
                        f"'{_IN_PLACE}': True at the root, or '*' for the text and ask for {place} beside it."
                    )

    def check_texts(self) -> None:
        """Check that positions in the texts of references mean the items of the answer."""
        for path, target in self.texts:
            for place in self.catalogue.places_of(target):
                for selected, text in self.chosen.items():
                    if place == selected or place.startswith(f"{selected}."):
                        raise WouldBeMisread(
                            f"required: {path} names positions in {selected}, of which {text!r} is asked: "
                            "NOMAD numbers these items anew, from 0. Ask for the whole list, or for an "
                            f"object in place of the text of {path} with '{_IN_PLACE}': True at the root."
                        )

    def _check_value(self, wanted: object, where: str) -> None:
        if isinstance(wanted, str):
            _check_directive(wanted, where, self.release)
        elif not isinstance(wanted, Mapping):
            raise QueryError(
                f"required: {where} must be '*', another directive or an object, not {wanted!r}: "
                "NOMAD fails over it."
            )

    def _check_star(self, wanted: Any, here: _Here) -> None:
        if not _knows_exclude(self.release):
            raise _not_before("the key '*'", here.path, self.release)
        if wanted == "exclude":
            raise QueryError(
                f"required: 'exclude' of everything in {here.path or 'the archive'!r} is refused by NOMAD. "
                "What is not named is left out anyway: remove the key '*'."
            )
        if isinstance(wanted, Mapping):
            self.section(wanted, _Here(here.below("*"), is_open=True))

    def _check_option(self, text: object, here: _Here) -> None:
        if text == _IN_PLACE:
            raise WouldBeMisread(
                f"required: {_IN_PLACE!r} is understood at the root only; in {here.path} NOMAD takes it for "
                "a property and drops it. Move it to the root."
            )
        if text in _OPTIONS and self._found(str(text), here) is None:
            raise WouldBeMisread(
                f"required has no option {text!r}: NOMAD takes it for a property and drops it. The only "
                f"option is '{_IN_PLACE}': True or False, at the root."
            )

    def _property(self, key: Key, text: str, wanted: Any, here: _Here) -> None:
        path = here.below(key.name)
        found = self._found(key.name, here)
        if found is None and not self._may_be(key.name, here):
            raise self._not_found(key.name, here)
        if key.index is not None:
            if wanted == "exclude":
                raise WouldBeMisread(f"required: {text!r} excludes all of {path}, not only these items.")
            _check_list(path, found)
            if not keeps_positions(key):
                self.chosen[path] = text
        if isinstance(found, Row):
            self._quantity(path, found, wanted, here)
        elif isinstance(wanted, Mapping):
            classes = () if found is None else found.classes
            is_open = here.is_open or path in _POLYMORPHIC or found is None
            self.section(wanted, _Here(path, classes, is_open))

    def _quantity(self, path: str, row: Row, wanted: Any, here: _Here) -> None:
        if row.type == "reference" and row.target is not None:
            if isinstance(wanted, Mapping):
                self._follow(path, row.target, wanted, here)
            elif wanted != "exclude":
                self.texts.append((path, row.target))
        elif isinstance(wanted, Mapping):
            if row.type in {"str", "enum", "datetime"}:
                raise WouldBeMisread(
                    f"required: {path} is a text, of which NOMAD returns the whole. Write {path}: '*'."
                )
            what = "refers to a value" if row.type == "quantity_reference" else f"is a value ({row.type})"
            raise QueryError(f"required: {path} {what} and has no properties; NOMAD fails. Write '*' there.")

    def _follow(self, path: str, target: str, wanted: Mapping[Any, Any], here: _Here) -> None:
        places = self.catalogue.places_of(target)
        sections = self.catalogue.sections
        if target not in sections or not (sections.quantities(target) or sections.subsections(target)):
            raise WouldBeMisread(
                f"required: of what {path} leads to NOMAD returns {{}}, because its class is not declared. "
                "Ask for the text with '*', and for the path that it names in a second request (columns of "
                "search.select do)."
            )
        if not places:
            raise WouldBeMisread(
                f"required: {path} holds only an id, and NOMAD returns that. Ask for it with '*'; names and "
                "the like are columns of the search index."
            )
        self.followed.append((path, target))
        is_open = here.is_open or any(place.partition(".")[0] in _POLYMORPHIC for place in places)
        self.section(wanted, _Here(path, self._standing_for(target), is_open))

    def _found(self, name: str, here: _Here) -> _Part | Row | None:
        """Return what the classes that can stand here know of a property."""
        sections = self.catalogue.sections
        parts = [found for one in here.classes if (found := sections.subsections(one).get(name)) is not None]
        if parts:
            classes = tuple(
                dict.fromkeys(one for declared, _ in parts for one in self._standing_for(declared))
            )
            return _Part(classes, any(repeats for _, repeats in parts))
        rows = (sections.quantities(one).get(name) for one in here.classes)
        return next((row for row in rows if row is not None), None)

    def _standing_for(self, declared: str) -> tuple[str, ...]:
        sections = self.catalogue.sections
        return tuple(one for one in sections.derived(declared) if one in sections)

    def _may_be(self, name: str, here: _Here) -> bool:
        """Return whether an entry may have a property that the catalogue lacks."""
        return here.is_open or name.startswith(_UNLISTED)

    def _not_found(self, name: str, here: _Here) -> QuantityNotFound:
        path, sections = here.below(name), self.catalogue.sections
        known = {
            key for one in here.classes for key in (*sections.quantities(one), *sections.subsections(one))
        }
        close = difflib.get_close_matches(name.strip(), known, n=5, cutoff=0.6)
        nearest = tuple(dict.fromkeys([*map(here.below, close), *self.catalogue.nearest(path)]))[:5]
        if not here.path and self.catalogue.find(name) is not None:
            nearest = tuple(dict.fromkeys([self.catalogue.archive_path(name), *nearest]))
        successor = self.catalogue.successor(path)
        now = "" if successor is None else f" In entries of today look in {successor}."
        hint = f"Nearest: {', '.join(nearest)}" if nearest else f"There are {', '.join(sorted(known)[:12])}"
        return QuantityNotFound(
            f"required: archives have no {path}, and NOMAD would drop it in silence.{now} {hint}.",
            name=path,
            nearest=nearest,
        )


def _check_directive(directive: str, where: str, release: str) -> None:
    place = where or "the whole archive"
    if directive == "include-resolved":
        raise NotExpressible(
            f"required: 'include-resolved' for {place} follows every reference, which in real archives has "
            f"no end (the server fails with 500). Write '*', or '{_IN_PLACE}': True at the root and an "
            "object with what you need in the place of each reference."
        )
    if directive not in _WORDS:
        close = difflib.get_close_matches(directive.lower(), _WORDS, n=1)
        meant = f" Do you mean {close[0]!r}?" if close else ""
        raise QueryError(
            f"required: NOMAD knows no directive {directive!r} ({place}); it knows '*', 'include' and, for "
            f"values of keys, 'exclude'.{meant}"
        )
    if directive == "exclude" and where and not _knows_exclude(release):
        raise _not_before("'exclude'", where, release)


def _knows_exclude(release: str) -> bool:
    return tables_of(release) == _FIRST_WITH_EXCLUDE


def _not_before(what: str, where: str, release: str) -> NotExpressible:
    return NotExpressible(
        f"required: {what} ({where or 'the archive'}) is understood from NOMAD {_FIRST_WITH_EXCLUDE} on; "
        f"this server runs {release}. Name the properties that you need."
    )


def _check_list(path: str, found: _Part | Row | None) -> None:
    if found is None or SERIES.fullmatch(path):
        return
    is_list = found.repeats if isinstance(found, _Part) else bool(found.shape)
    if not is_list:
        raise QueryError(
            f"required: {path} is no list, so NOMAD refuses an index. Write it without brackets."
        )
