"""The sign of a stress: what NOMAD stores, and what ASE expects.

NOMAD declares the stress as the derivative of the energy by strain, which is ASE's sign: tension
positive. What it stores is what the program printed, so the sign follows the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nomadquery.columns.vectors import Vectors

#: Program, in lower case → what the stored stress is multiplied with to have ASE's sign (tension positive).
#: Quantum Espresso, ABACUS: a third of the trace is the pressure stored beside it; CASTEP, AFlow: minus
#: the pressure; OpenMX, VASP: the energy changes so along relaxations of the cell (all of these: samples
#: of nomad-lab 1.4.3). VASP, CP2K, ABINIT: as ASE 3.29 reads their output, and the parsers
#: (nomad-parser-plugins-electronic 1.1.0) change no sign. FHI-aims is left out: that parser stores eV/Å³ as
#: if it were J/m³.
STRESS_SIGNS: Final[Mapping[str, int]] = {
    "vasp": -1,
    "quantum espresso": -1,
    "abacus": -1,
    "cp2k": -1,
    "castep": 1,
    "abinit": 1,
    "aflow": 1,
    "openmx": 1,
}


def signed_stress(stress: Vectors, program: str | None) -> Vectors | None:
    """Return the stress with tension positive; ``None`` where the program's sign is not known.

    ``stress`` is 3 × 3 in any unit, as NOMAD stores it.
    """
    sign = STRESS_SIGNS.get((program or "").casefold())
    return None if sign is None else [[sign * number + 0.0 for number in row] for row in stress]
