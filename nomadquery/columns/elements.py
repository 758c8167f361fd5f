"""The chemical element behind the label that a program gave an atom."""

from __future__ import annotations

import re
from typing import Final

#: IUPAC's 118 elements in the order of their numbers.
_SYMBOLS: Final = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr "
    "Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta "
    "W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs "
    "Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)
#: What stands for an atom of unknown kind, in NOMAD as in ASE.
UNKNOWN: Final = "X"

_KNOWN: Final = frozenset(_SYMBOLS.split())
_MARKED: Final = re.compile(r"([A-Z][a-z]?)[^A-Za-z]")


def symbol_of(label: object) -> str:
    """Return the element's symbol, ``"X"`` where the label names none.

    An element followed by a digit, a sign or another mark is that element: ``Ti1``, ``O2-``, ``Fe_up``
    (NOMAD lets programs append an index to tell atoms of one element apart). Upper and lower case
    count; what goes on with a letter is none: ``CA`` (the α carbon of force fields), ``OH``, ``CT``.
    """
    if not isinstance(label, str):
        return UNKNOWN
    if label in _KNOWN:
        return label
    found = _MARKED.match(label)
    return found[1] if found is not None and found[1] in _KNOWN else UNKNOWN
