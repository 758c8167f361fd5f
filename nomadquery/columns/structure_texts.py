"""Structures as text: extended XYZ and CIF. Lengths in Å, energies in eV, forces eV/Å, stresses eV/Å³."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from nomadquery.columns.structure import Structure
from nomadquery.columns.vectors import Vectors, are_dependent, cross

_PLAIN_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN_TEXT: Final = re.compile(r"[^\s\"'=,\\{}\[\]]+")
_TRUTHS: Final = frozenset({"T", "F", "true", "false", "True", "False", "TRUE", "FALSE"})
_AXES: Final = ("a", "b", "c")


def extxyz_text(structure: Structure) -> str:
    """Return one frame of an extended XYZ file, its last line ended.

    The second line holds ``Lattice`` (rows of the cell, where there is one), ``Properties``, ``pbc``,
    ``energy`` (eV) and ``stress`` (eV/Å³, nine numbers, tension positive) where the structure has
    them, and ``info``. Columns: ``species``, ``pos`` (Å), ``forces`` (eV/Å), ``arrays``. Numbers are
    written with the digits that give them back. Lists of other things than numbers, tables of numbers,
    and texts that a reader would take for numbers or truth values are written as ``_JSON …``, which ASE
    reads.
    """
    forces = () if structure.forces is None else (("forces", structure.forces),)
    columns = [
        ("species", structure.symbols),
        ("pos", structure.positions),
        *forces,
        *structure.arrays.items(),
    ]
    written = [_column(name, values) for name, values in columns]
    facts: dict[str, str] = {}
    if structure.cell is not None:
        facts["Lattice"] = _numbers(x for vector in structure.cell for x in vector)
    facts["Properties"] = ":".join(kind for kind, _ in written)
    facts["pbc"] = " ".join(map(_word, structure.pbc))
    if structure.energy is not None:
        facts["energy"] = _word(structure.energy)
    if structure.stress is not None:
        # read back column by column
        facts["stress"] = _numbers(structure.stress[row][column] for column in range(3) for row in range(3))
    facts |= {name: _value(value) for name, value in structure.info.items() if value is not None}
    comment = " ".join(
        f"{_quoted(name, _PLAIN_KEY)}={_quoted(text, _PLAIN_TEXT)}" for name, text in facts.items()
    )
    lines = [str(len(structure.symbols)), comment]
    lines += [" ".join(words) for words in zip(*(words for _, words in written), strict=True)]
    return "\n".join(lines) + "\n"


def cif_refusal(structure: Structure) -> str | None:
    """Return why a structure cannot be written as CIF, ``None`` if it can."""
    if not any(structure.pbc):
        return "nothing repeats, and CIF describes crystals; use to_extxyz"
    if structure.cell is None or not all(map(any, structure.cell)):
        return "CIF needs three lattice vectors; use to_extxyz"
    if are_dependent(structure.cell):
        return "CIF needs a cell with a volume: lattice vectors are parallel or lie in one plane"
    return None


def cif_text(structure: Structure) -> str:
    """Return a CIF with one data block: the whole cell in space group P 1, each site fully occupied.

    Lengths in Å, angles in degrees, volume in Å³; fractional coordinates as they are, not moved into the
    cell. The orientation of the cell in space is lost, as CIF has none; handedness is kept. Where the
    structure repeats along some of the vectors only, ``_cell_special_details`` says so.

    Raises
    ------
    ValueError
        If `cif_refusal` gives a reason.
    """
    refusal = cif_refusal(structure)
    if refusal is not None or structure.cell is None:
        raise ValueError(f"Entry {structure.entry_id}: {refusal}.")
    lines = [f"# NOMAD entry {structure.entry_id}", f"data_{'-'.join(map(str, structure.key))}"]
    lines += [f"{name} {value}" for name, value in _cell_items(structure, structure.cell)]
    lines += [
        "_space_group_name_H-M_alt 'P 1'",
        "_space_group_IT_number 1",
        "loop_\n_space_group_symop_operation_xyz\n'x, y, z'",
        "loop_",
        *(
            f"_atom_site_{name}"
            for name in ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
        ),
    ]
    numbered: Counter[str] = Counter()
    for symbol, place in zip(
        structure.symbols, _fractional(structure.positions, structure.cell), strict=True
    ):
        numbered[symbol] += 1
        lines.append(f"{symbol}{numbered[symbol]} {symbol} {' '.join(f'{x:.12f}' for x in place)} 1.0")
    return "\n".join(lines) + "\n"


def _column(name: str, values: Sequence[Any]) -> tuple[str, list[str]]:
    """Return ``name:type:width`` and the words of each atom."""
    rows = [value if isinstance(value, list | tuple) else [value] for value in values]
    kinds = {type(x) for row in rows for x in row}
    letter = "L" if kinds == {bool} else "I" if kinds == {int} else "R" if kinds <= {int, float} else "S"
    texts = [" ".join(_word(x) if letter != "S" else _token(x) for x in row) for row in rows]
    return f"{_token(name, ':')}:{letter}:{len(rows[0])}", texts


def _token(value: Any, also: str = "") -> str:
    """Return text without blanks (and ``also``), which end a column; ``_`` in their place."""
    text = "".join("_" if sign.isspace() or sign in also else sign for sign in str(value))
    return text or "_"


def _word(value: bool | float) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    return repr(value)


def _numbers(values: Iterator[float] | Any) -> str:
    return " ".join(map(_word, values))


def _value(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return _word(value)
    if (
        isinstance(value, list | tuple)
        and value
        and len({type(x) for x in value}) == 1
        and _is_plain(value[0])
    ):
        return _numbers(value) if len(value) > 1 else f"_JSON {json.dumps(value)}"
    if not isinstance(value, str):
        return f"_JSON {json.dumps(value, ensure_ascii=False, default=_iso)}"
    return f"_JSON {json.dumps(value, ensure_ascii=False)}" if _reads_as_other(value) else value


def _iso(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _reads_as_other(text: str) -> bool:
    """Return whether readers would take the text for numbers or truth values, or it has line ends."""
    words = re.findall(r"[^\s,]+", text)
    return (
        not text.isprintable() or not words or all(w in _TRUTHS for w in words) or all(map(_is_float, words))
    )


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _quoted(text: str, plain: re.Pattern[str]) -> str:
    if plain.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cell_items(structure: Structure, cell: Vectors) -> Iterator[tuple[str, str]]:
    a, b, c = cell
    for name, vector in zip(_AXES, cell, strict=True):
        yield f"_cell_length_{name}", f"{math.hypot(*vector):.10f}"
    for name, one, other in (("alpha", b, c), ("beta", a, c), ("gamma", a, b)):
        angle = math.atan2(math.hypot(*cross(one, other)), _dot(one, other))
        yield f"_cell_angle_{name}", f"{math.degrees(angle):.10f}"
    yield "_cell_volume", f"{abs(_dot(a, cross(b, c))):.10f}"
    if not all(structure.pbc):
        along = [name for name, repeats in zip(_AXES, structure.pbc, strict=True) if repeats]
        yield "_cell_special_details", f"'repeats along {', '.join(along)} only'"


def _fractional(positions: Vectors, cell: Vectors) -> Iterator[tuple[float, float, float]]:
    """Yield coordinates along a, b, c; of a left-handed cell along -a, -b, -c, which are right-handed.

    Readers build a right-handed cell from lengths and angles: without that they would see the mirror image.
    """
    a, b, c = cell
    volume = _dot(a, cross(b, c))
    reciprocal = (cross(b, c), cross(c, a), cross(a, b))
    for place in positions:
        x, y, z = (_dot(place, vector) / abs(volume) + 0.0 for vector in reciprocal)
        yield x, y, z


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))
