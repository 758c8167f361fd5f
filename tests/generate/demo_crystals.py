"""Crystal structures of the demo data: primitive cells of known prototypes.

Coordinates and names follow the AFLOW Library of Crystallographic Prototypes
(Mehl et al., Comput. Mater. Sci. 136, S1, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from demo_entry import Prototype

_HEX = ((1.0, 0.0, 0.0), (-0.5, np.sqrt(0.75), 0.0), (0.0, 0.0, 1.0))
_CONVENTIONAL = {"c": np.eye(3), "t": np.eye(3), "r": np.eye(3), "h": np.array(_HEX)}
_PRIMITIVE = {
    "P": np.eye(3),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
    # two (111) layers of the fcc lattice: the cell of L1_1
    "R": np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]),
}
_Q, _H, _T = 0.25, 0.5, 1 / 3


@dataclass(frozen=True, slots=True)
class Crystal:
    """A structure type: sites are (role, position in the conventional cell), roles are A, B, C."""

    lattice: str
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    prototype: Prototype | None
    c_over_a: float = 1.0

    def atoms(self, a: float, *elements: str, c_over_a: float | None = None) -> Atoms:
        """Return the primitive cell; ``a`` is conventional (Å), ``elements`` fill the roles A, B, C."""
        conventional = a * _CONVENTIONAL[self.lattice[0]].astype(float)
        conventional[2] *= self.c_over_a if c_over_a is None else c_over_a
        symbols = [elements["ABC".index(role)] for role, _ in self.sites]
        positions = np.array([position for _, position in self.sites]) @ conventional
        cell = _PRIMITIVE[self.lattice[1]] @ conventional
        atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
        atoms.wrap(eps=1e-9)
        return atoms


def _all(
    role: str, *positions: tuple[float, float, float]
) -> tuple[tuple[str, tuple[float, float, float]], ...]:
    return tuple((role, position) for position in positions)


def _hexagonal_h(x: float) -> tuple[tuple[float, float, float], ...]:
    top = ((x, 2 * x, _Q), (-2 * x, -x, _Q), (x, -x, _Q))
    return top + tuple((-u, -v, 0.75) for u, v, _ in top)


_A15_CHAINS = ((_Q, 0, _H), (0.75, 0, _H), (_H, _Q, 0), (_H, 0.75, 0), (0, _H, _Q), (0, _H, 0.75))
_ORIGIN = (0.0, 0.0, 0.0)
_CENTRE = (_H, _H, _H)
_FACES = ((0.0, _H, _H), (_H, 0.0, _H), (_H, _H, 0.0))
_TETRAHEDRA = ((_Q, _Q, _Q), (0.75, 0.75, 0.75))
_RUTILE_X = 0.3051
_ANATASE_Z = 0.2081
_WURTZITE_U = 0.375

ELEMENTAL = {
    "fcc": Crystal("cF", _all("A", _ORIGIN), Prototype("A1", "A_cF4_225_a", "Cu", "fcc")),
    "bcc": Crystal("cI", _all("A", _ORIGIN), Prototype("A2", "A_cI2_229_a", "W", "bcc")),
    "hcp": Crystal(
        "hP",
        _all("A", (_T, 2 * _T, _Q), (2 * _T, _T, 0.75)),
        Prototype("A3", "A_hP2_194_c", "Mg", "hcp"),
        np.sqrt(8 / 3),
    ),
    "diamond": Crystal(
        "cF", _all("A", _ORIGIN, _TETRAHEDRA[0]), Prototype("A4", "A_cF8_227_a", "C", "diamond")
    ),
    "sc": Crystal("cP", _all("A", _ORIGIN), Prototype("Ah", "A_cP1_221_a", "Po", "simple cubic")),
    "betaW": Crystal("cP", _all("A", _ORIGIN, _CENTRE, *_A15_CHAINS), Prototype("A15", "A_cP8_223_ac", "W")),
}

EQUIATOMIC = {
    "B1": Crystal(
        "cF", (("A", _ORIGIN), ("B", _CENTRE)), Prototype("B1", "AB_cF8_225_a_b", "ClNa", "rock salt")
    ),
    "B2": Crystal("cP", (("A", _ORIGIN), ("B", _CENTRE)), Prototype("B2", "AB_cP2_221_b_a", "ClCs")),
    "B3": Crystal(
        "cF", (("A", _ORIGIN), ("B", _TETRAHEDRA[0])), Prototype("B3", "AB_cF8_216_c_a", "SZn", "zincblende")
    ),
    "Bh": Crystal("hP", (("A", _ORIGIN), ("B", (_T, 2 * _T, _H))), Prototype("Bh", "AB_hP2_187_d_a", "CW")),
    "L10": Crystal(
        "tP", (("A", _ORIGIN), ("B", _CENTRE)), Prototype("L10", "AB_tP2_123_a_d", "AuCu"), np.sqrt(2)
    ),
    "L11": Crystal(
        "rR", (("A", _ORIGIN), ("B", (1.0, 1.0, 1.0))), Prototype("L11", "AB_hR2_166_a_b", "CuPt")
    ),
}

THREE_TO_ONE = {
    "L12": Crystal("cP", (*_all("A", *_FACES), ("B", _ORIGIN)), Prototype("L12", "AB3_cP4_221_a_c", "AuCu3")),
    "D022": Crystal(
        "tI",
        (*_all("A", (0, 0, _H), (0, _H, _Q), (_H, 0, _Q)), ("B", _ORIGIN)),
        Prototype("D022", "A3B_tI8_139_bd_a", "Al3Ti"),
        2.0,
    ),
    "D03": Crystal(
        "cF",
        (*_all("A", _CENTRE, *_TETRAHEDRA), ("B", _ORIGIN)),
        Prototype("D03", "AB3_cF16_225_a_bc", "BiF3"),
    ),
    "D019": Crystal(
        "hP",
        (*_all("A", *_hexagonal_h(5 / 6)), *_all("B", (_T, 2 * _T, _Q), (2 * _T, _T, 0.75))),
        Prototype("D019", "A3B_hP8_194_h_c", "Ni3Sn"),
        np.sqrt(2 / 3),
    ),
    "A15": Crystal(
        "cP",
        (*_all("A", *_A15_CHAINS), *_all("B", _ORIGIN, _CENTRE)),
        Prototype("A15", "A3B_cP8_223_c_a", "Cr3Si"),
    ),
}

TWO_TO_ONE = {
    "C11b": Crystal(
        "tI",
        (*_all("A", (0, 0, _T), (0, 0, -_T)), ("B", _ORIGIN)),
        Prototype("C11b", "AB2_tI6_139_a_e", "MoSi2"),
        3.0,
    ),
    "C1": Crystal(
        "cF", (*_all("A", *_TETRAHEDRA), ("B", _ORIGIN)), Prototype("C1", "AB2_cF12_225_a_c", "CaF2")
    ),
    "C15": Crystal(
        "cF",
        (
            *_all("A", _CENTRE, (_H, _Q, _Q), (_Q, _H, _Q), (_Q, _Q, _H)),
            *_all("B", (1 / 8,) * 3, (7 / 8,) * 3),
        ),
        Prototype("C15", "A2B_cF24_227_d_a", "Cu2Mg"),
    ),
}

HEUSLER = {
    "L21": Crystal(
        "cF",
        (*_all("A", *_TETRAHEDRA), ("B", _ORIGIN), ("C", _CENTRE)),
        Prototype("L21", "AB2C_cF16_225_a_c_b", "AlCu2Mn", "Heusler"),
    ),
    "C1b": Crystal(
        "cF",
        (("A", _TETRAHEDRA[0]), ("B", _ORIGIN), ("C", _CENTRE)),
        Prototype("C1b", "ABC_cF12_216_b_c_a", "AgAsMg", "half-Heusler"),
    ),
}

PEROVSKITE = Crystal(
    "cP",
    (("A", _CENTRE), ("B", _ORIGIN), *_all("C", (_H, 0, 0), (0, _H, 0), (0, 0, _H))),
    Prototype("E21", "AB3C_cP5_221_a_c_b", "CaO3Ti", "perovskite"),
)

WURTZITE = Crystal(
    "hP",
    (
        *_all("A", (_T, 2 * _T, 0), (2 * _T, _T, _H)),
        *_all("B", (_T, 2 * _T, _WURTZITE_U), (2 * _T, _T, _H + _WURTZITE_U)),
    ),
    Prototype("B4", "AB_hP4_186_b_b", "SZn", "wurtzite"),
    np.sqrt(8 / 3),
)

RUTILE = Crystal(
    "tP",
    (
        *_all("A", _ORIGIN, _CENTRE),
        *_all(
            "B",
            (_RUTILE_X, _RUTILE_X, 0),
            (-_RUTILE_X, -_RUTILE_X, 0),
            (_H + _RUTILE_X, _H - _RUTILE_X, _H),
            (_H - _RUTILE_X, _H + _RUTILE_X, _H),
        ),
    ),
    Prototype("C4", "A2B_tP6_136_f_a", "O2Ti", "rutile"),
    0.644,
)

ANATASE = Crystal(
    "tI",
    (
        *_all("A", _ORIGIN, (0, _H, _Q)),
        *_all(
            "B", (0, 0, _ANATASE_Z), (0, 0, -_ANATASE_Z), (0, _H, _Q + _ANATASE_Z), (0, _H, _Q - _ANATASE_Z)
        ),
    ),
    Prototype("C5", "A2B_tI12_141_e_a", "O2Ti"),
    2.514,
)

#: One layer; ``c_over_a`` sets the vacuum.
HONEYCOMB = Crystal("hP", (("A", (_T, 2 * _T, _H)), ("B", (2 * _T, _T, _H))), None)

CUPRITE = Crystal(
    "cP",
    (
        *_all("A", (_Q, _Q, _Q), (0.75, 0.75, _Q), (0.75, _Q, 0.75), (_Q, 0.75, 0.75)),
        *_all("B", _ORIGIN, _CENTRE),
    ),
    Prototype("C3", "A2B_cP6_224_b_a", "Cu2O", "cuprite"),
)

CRISTOBALITE = Crystal(
    "cF",
    (
        *_all("A", _ORIGIN, _TETRAHEDRA[0]),
        *_all(
            "B", (1 / 8, 1 / 8, 1 / 8), (1 / 8, 3 / 8, 3 / 8), (3 / 8, 1 / 8, 3 / 8), (3 / 8, 3 / 8, 1 / 8)
        ),
    ),
    Prototype("C9", "A2B_cF24_227_c_a", "O2Si"),
)

RHENIUM_TRIOXIDE = Crystal(
    "cP",
    (("A", _ORIGIN), *_all("B", (_H, 0, 0), (0, _H, 0), (0, 0, _H))),
    Prototype("D09", "A3B_cP4_221_d_a", "O3Re"),
)
