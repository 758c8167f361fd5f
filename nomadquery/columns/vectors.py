"""Vectors in space as plain lists: whether they are whole, and what they span."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

#: Rows of x, y, z.
Vectors = Sequence[Sequence[float]]

_PARALLEL: Final = 1e-10  # of the Gram determinant of unit vectors: an angle of about 0.0006°


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_matrix(value: object, n_rows: int) -> bool:
    """Return whether a value is ``n_rows`` rows of three finite numbers."""
    return (
        isinstance(value, list)
        and len(value) == n_rows
        and all(isinstance(row, list) and len(row) == 3 and all(map(is_number, row)) for row in value)
    )


def are_dependent(vectors: Sequence[Sequence[float]]) -> bool:
    """Return whether vectors, none of them zero, span less than as many dimensions."""
    unit = [[x / math.hypot(*vector) for x in vector] for vector in vectors]
    gram = [[sum(x * y for x, y in zip(one, other, strict=True)) for other in unit] for one in unit]
    match len(gram):
        case 2:
            return gram[0][0] * gram[1][1] - gram[0][1] ** 2 < _PARALLEL
        case 3:
            (_, c, b), (_, _, a), _ = gram
            return 1 + 2 * a * b * c - a * a - b * b - c * c < _PARALLEL
        case _:
            return False


def completed_cell(cell: Vectors) -> list[list[float]]:
    """Return a cell with vectors of length one, at right angles to the others, in place of zeros."""
    vectors = [list(vector) for vector in cell]
    present = [vector for vector in vectors if any(vector)]
    for position, vector in enumerate(vectors):
        if not any(vector):
            vectors[position] = _normal(present)
            present.append(vectors[position])
    return vectors


def cross(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return the vector product."""
    (a, b, c), (x, y, z) = one, other
    return [b * z - c * y, c * x - a * z, a * y - b * x]


def _normal(vectors: Sequence[Sequence[float]]) -> list[float]:
    """Return a vector of length one at right angles to one or two vectors."""
    if len(vectors) >= 2:
        found = cross(vectors[0], vectors[1])
    else:
        axes = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
        found = max((cross(vectors[0], axis) for axis in axes), key=lambda vector: math.hypot(*vector))
    length = math.hypot(*found)
    return [x / length if length else 0.0 for x in found]
