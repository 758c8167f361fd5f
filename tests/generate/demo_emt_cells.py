"""Demo calculations with EMT on larger cells: displaced atoms, alloys, defects, surfaces, clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.cluster import Icosahedron, Octahedron
from demo_crystals import EQUIATOMIC, THREE_TO_ONE
from demo_emt import EMT_METHOD, METALS, evaluated, guess, random_source, relaxed
from demo_entry import Calculation, StructuralType

_VACUUM = 6.0
_FACETS = {"100": fcc100, "110": fcc110, "111": fcc111}


def _single_point(stem: str, atoms: Atoms, *, upload: str, dataset: str, note: str) -> Calculation:
    return Calculation(
        stem=stem,
        upload=upload,
        dataset=dataset,
        note=note,
        method=EMT_METHOD,
        workflow="SinglePoint",
        steps=(evaluated(atoms),),
        structural_type="bulk",
        representative=0,
    )


def _relaxation(
    stem: str, atoms: Atoms, kind: StructuralType, *, upload: str, dataset: str, note: str
) -> Calculation:
    rounded = atoms.copy()
    rounded.positions = np.round(rounded.positions, 4)
    steps, optimization = relaxed(rounded, cell=False)
    return Calculation(
        stem=stem,
        upload=upload,
        dataset=dataset,
        note=note,
        method=EMT_METHOD,
        workflow="GeometryOptimization",
        steps=steps,
        structural_type=kind,
        representative=len(steps) - 1,
        optimization=optimization,
    )


def _displaced(atoms: Atoms, amplitude: float, strain: float, random: np.random.Generator) -> Atoms:
    moved = atoms.copy()
    moved.set_cell(np.round(atoms.cell * (1 + strain), 4), scale_atoms=True)
    moved.positions += random.normal(0.0, amplitude, moved.positions.shape)
    return moved


def _rattled(label: str, cell: Atoms, n_samples: int) -> Iterator[Calculation]:
    for sample in range(n_samples):
        stem = f"displaced/{label}-{sample:02d}"
        random = random_source(stem)
        amplitude = round(random.uniform(0.02, 0.15), 3)
        strain = round(random.uniform(-0.03, 0.03), 3)
        yield _single_point(
            stem,
            _displaced(cell, amplitude, strain, random),
            upload="EMT supercells with displaced atoms",
            dataset="EMT supercells with displaced atoms",
            note=f"atoms displaced at random (normal, {amplitude} Å) in a cell strained by {strain:+.1%}",
        )


def displaced_supercells() -> Iterator[Calculation]:
    """Yield energies, forces and stresses of supercells whose atoms are displaced at random."""
    for metal in METALS:
        yield from _rattled(f"{metal}16-fcc", bulk(metal, cubic=True) * (2, 2, 1), 12)
    for pair in permutations(METALS, 2):
        yield from _rattled(f"{pair[0]}12{pair[1]}4-L12", guess(THREE_TO_ONE["L12"], pair) * (2, 2, 1), 4)
    for pair in combinations(METALS, 2):
        yield from _rattled(f"{pair[0]}8{pair[1]}8-B2", guess(EQUIATOMIC["B2"], pair) * (2, 2, 2), 4)


def solid_solutions() -> Iterator[Calculation]:
    """Yield random fcc alloys of two metals, 16 atoms, with lattice constants after Vegard's law."""
    for first, second in combinations(METALS, 2):
        for n_second in range(2, 16, 2):
            stem = f"solution/{first}{16 - n_second}{second}{n_second}"
            yield _single_point(
                stem,
                _random_alloy(first, second, n_second, random_source(stem)),
                upload="EMT random solid solutions",
                dataset="EMT random alloys and defects",
                note="random fcc alloy on ideal sites, lattice constant after Vegard's law",
            )


def _random_alloy(first: str, second: str, n_second: int, random: np.random.Generator) -> Atoms:
    cell = bulk(first, cubic=True) * (2, 2, 1)
    ratio = bulk(second, cubic=True).cell[0, 0] / bulk(first, cubic=True).cell[0, 0]
    cell.set_cell(np.round(cell.cell * (1 + n_second / 16 * (ratio - 1)), 4), scale_atoms=True)
    for index in random.permutation(16)[:n_second]:
        cell[int(index)].symbol = second
    return cell


def point_defects() -> Iterator[Calculation]:
    """Yield relaxed vacancies and substitutional atoms in 27-atom cells of the metals."""
    group = {"upload": "EMT point defects", "dataset": "EMT random alloys and defects"}
    for metal in METALS:
        cell = bulk(metal) * (3, 3, 3)
        vacancy = cell[1:]
        stem = f"defect/{metal}26-vacancy"
        yield _relaxation(stem, vacancy, "bulk", **group, note="one vacancy in 27 sites, fixed cell")
        for other in METALS:
            if other != metal:
                impurity = cell.copy()
                impurity[0].symbol = other
                stem = f"defect/{metal}26{other}-substitution"
                yield _relaxation(
                    stem, impurity, "bulk", **group, note="one substituted atom of 27, fixed cell"
                )


def surfaces() -> Iterator[Calculation]:
    """Yield relaxed slabs of the metals, bare and covered by a layer of another metal."""
    for metal in METALS:
        for facet, build in _FACETS.items():
            for n_layers in (4, 6, 8):
                yield _relaxation(
                    f"surface/{metal}{facet}-{n_layers}layers",
                    _slab(build, metal, n_layers),
                    "surface",
                    upload="EMT surfaces",
                    dataset="EMT surfaces",
                    note=f"({facet}) slab of {n_layers} layers, vacuum of {_VACUUM:g} Å on each side",
                )
            for other in METALS:
                if other == metal:
                    continue
                slab = _slab(build, metal, 5)
                slab[len(slab) - 1].symbol = other
                yield _relaxation(
                    f"surface/{other}-on-{metal}{facet}",
                    slab,
                    "surface",
                    upload="EMT surfaces with an overlayer",
                    dataset="EMT surfaces",
                    note=f"({facet}) slab of 4 layers under one layer of {other}",
                )


def _slab(build: Callable[..., Atoms], metal: str, n_layers: int) -> Atoms:
    slab = build(metal, (1, 1, n_layers), vacuum=_VACUUM)
    slab.pbc = (True, True, False)
    return slab


def clusters() -> Iterator[Calculation]:
    """Yield relaxed dimers, octahedra and icosahedra, the latter also with a foreign atom in the centre."""
    for pair in [(metal, metal) for metal in METALS] + list(combinations(METALS, 2)):
        yield _cluster(f"{pair[0]}{pair[1]}-dimer", Atoms(list(pair), [(0, 0, 0), (0, 0, 2.6)]), "dimer")
    for metal in METALS:
        yield _cluster(f"{metal}6-octahedron", Octahedron(metal, 2), "octahedron")
        yield _cluster(f"{metal}19-octahedron", Octahedron(metal, 3), "octahedron")
        yield _cluster(f"{metal}13-icosahedron", Icosahedron(metal, 2), "icosahedron")
    for metal, core in permutations(METALS, 2):
        atoms = Icosahedron(metal, 2)
        centre = int(np.argmin(np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1)))
        atoms[centre].symbol = core
        yield _cluster(f"{core}{metal}12-icosahedron", atoms, f"icosahedron with {core} in the centre")


def _cluster(label: str, atoms: Atoms, note: str) -> Calculation:
    free = Atoms(list(atoms.symbols), positions=atoms.positions - atoms.positions.mean(axis=0))
    group = {"upload": "EMT clusters", "dataset": "EMT clusters"}
    return _relaxation(f"cluster/{label}", free, "molecule / cluster", **group, note=note)
