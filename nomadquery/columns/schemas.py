"""Read definitions of classes: a server's JSON schemas, uploaded schemas in archives, the shipped tables."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from nomadquery.columns.definitions import VERSION, ClassDefinition, Declared, Part, class_key, entry_key
from nomadquery.query.catalogue import kind_of
from nomadquery.query.section_graph import Row, Sections

#: Words for types in uploaded schemas, as NOMAD's tables call them.
_TYPE_WORDS: Final = {
    **{"int": "int64", "float": "float64", "str_": "str", "bool_": "bool"},
    **{"url": "str", "file": "str", "capitalized": "str", "unit": "str"},
}
_SECTION_OF_ID: Final = re.compile(r"/schemas/([^/@?#]+)")


def parse_json_schema(schema: Mapping[str, Any]) -> dict[str, ClassDefinition]:
    """Return the classes that an answer of ``schemas/<class>`` describes, by key.

    It describes the class, its base classes and all below it.
    """
    described = (schema, *(schema.get("$defs") or {}).values())
    found = (_from_json_schema(one) for one in described if isinstance(one, Mapping))
    return {one.name: one for one in found if one is not None}


def _from_json_schema(schema: Mapping[str, Any]) -> ClassDefinition | None:
    name = _class_of(schema, "$id")
    if name is None:
        return None
    quantities: dict[str, Declared] = {}
    subsections: dict[str, Part] = {}
    for key, value in (schema.get("properties") or {}).items():
        items = value.get("items") or {}
        below = _class_of(value, "$ref") or _class_of(items, "$ref")
        if "nomad_type" in value:
            quantities[key] = _quantity_of_schema(value)
        elif below is not None:
            subsections[key] = Part(below, "items" in value)
    bases = (_class_of(base, "$ref") for base in schema.get("allOf") or ())
    return ClassDefinition(name, quantities, subsections, tuple(base for base in bases if base))


def _class_of(value: Mapping[str, Any], key: str) -> str | None:
    found = _SECTION_OF_ID.search(str(value.get(key) or ""))
    return None if found is None else found[1]


def _quantity_of_schema(value: Mapping[str, Any]) -> Declared:
    target = value.get("reference_section_def")
    kind = kind_of(str(value["nomad_type"])) if target is None else "reference"
    real = (value.get("properties") or {}).get("re")  # of complex numbers, both parts are described
    shape: list[int | str] = []
    inner: Mapping[str, Any] = real if isinstance(real, Mapping) else value
    while isinstance(inner.get("items"), Mapping):
        least, most = inner.get("minItems"), inner.get("maxItems")
        shape.append(least if isinstance(least, int) and least == most else "*")
        inner = inner["items"]
    return Declared(
        inner.get("unit"), kind, tuple(shape), None if target is None else VERSION.sub("", str(target))
    )


def parse_definitions(
    definitions: Mapping[str, Any], *, entry_id: str, upload_id: str
) -> dict[str, ClassDefinition]:
    """Return the classes that the ``definitions`` of an entry's archive describe.

    Each is there by name (``entry_id:<id>.A.B``) and by position
    (``entry_id:<id>#/definitions/section_definitions/0/…``).
    """
    found: dict[str, ClassDefinition] = {}
    for place, names, section in _sections_in(definitions.get("section_definitions"), "/definitions", ()):
        key = entry_key(entry_id, ".".join(names))
        definition = _from_archive(section, key, entry_id, upload_id)
        found[key] = definition
        found[entry_key(entry_id, place)] = definition
    return found


def _sections_in(
    sections: Any, above: str, names: tuple[str, ...], part: str = "section_definitions"
) -> Iterator[tuple[str, tuple[str, ...], Mapping[str, Any]]]:
    for position, section in enumerate(sections if isinstance(sections, list) else ()):
        if isinstance(section, Mapping):
            here, way = f"{above}/{part}/{position}", (*names, str(section.get("name")))
            yield here, way, section
            inner = "inner_section_definitions"
            yield from _sections_in(section.get(inner), here, way, inner)


def _from_archive(section: Mapping[str, Any], key: str, entry_id: str, upload_id: str) -> ClassDefinition:
    def key_of(m_def: Any) -> str | None:
        return class_key(m_def, entry_id=entry_id, upload_id=upload_id) if isinstance(m_def, str) else None

    quantities: dict[str, Declared] = {}
    for one in _named(section.get("quantities")):
        word, target = _type_of(one.get("type"))
        shape = tuple(size if isinstance(size, int | str) else "*" for size in one.get("shape") or ())
        kind = kind_of(word)
        quantities[one["name"]] = Declared(
            one.get("unit"), kind, shape, key_of(target) if kind == "reference" else None
        )
    subsections = {
        one["name"]: Part(below, bool(one.get("repeats")))
        for one in _named(section.get("sub_sections"))
        if (below := key_of(one.get("sub_section") or one.get("section_def"))) is not None
    }
    bases = (key_of(base) for base in section.get("base_sections") or ())
    return ClassDefinition(key, quantities, subsections, tuple(base for base in bases if base))


def _named(items: Any) -> Iterable[Mapping[str, Any]]:
    listed = items if isinstance(items, list) else ()
    return [one for one in listed if isinstance(one, Mapping) and isinstance(one.get("name"), str)]


def _type_of(stored: Any) -> tuple[str, Any]:
    """Return NOMAD's word for a type of an uploaded schema, and what a reference points to."""
    kind, data = ("python", stored) if isinstance(stored, str) else ("", None)
    if isinstance(stored, Mapping):
        kind, data = str(stored.get("type_kind")).lower(), stored.get("type_data")
    if kind in {"reference", "quantity_reference", "enum"}:
        return kind, data
    word = str(data).rpartition(".")[2].lower()
    return _TYPE_WORDS.get(word, word), None


def shipped_definition(sections: Sections, class_name: str) -> ClassDefinition | None:
    """Return what the shipped tables say of a class, ``None`` if they do not have it.

    Of NOMAD's own classes (the catalogue's) and of the classes of plugins that occur among NOMAD's
    published examples (``classes.json.gz``, made by ``tests/generate/classes.py`` with nomad-lab 2.0.0).
    """
    if class_name in sections:
        rows = sections.quantities(class_name).items()
        parts = {name: Part(*part) for name, part in sections.subsections(class_name).items()}
        known = {name: _of_catalogue(sections.resolved(row), row) for name, row in rows}
        return ClassDefinition(class_name, known, parts)
    row = _shipped_classes().get(class_name)
    if row is None:
        return None
    quantities, parts_of_plugin, bases = row
    return ClassDefinition(
        class_name,
        {
            name: Declared(unit, kind, tuple(shape), to)
            for name, (kind, shape, unit, to) in quantities.items()
        },
        {name: Part(below, bool(repeats)) for name, (below, repeats) in parts_of_plugin.items()},
        tuple(bases),
    )


def _of_catalogue(resolved: Row, row: Row) -> Declared:
    kind = kind_of(resolved.type)
    return Declared(resolved.unit, kind, tuple(resolved.shape), row.target if kind == "reference" else None)


@cache
def _shipped_classes() -> Mapping[str, Any]:
    packed = files("nomadquery.columns").joinpath("classes.json.gz").read_bytes()
    classes: Mapping[str, Any] = json.loads(gzip.decompress(packed))["classes"]
    return classes
