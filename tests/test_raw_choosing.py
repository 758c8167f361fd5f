"""Which raw files are wanted: patterns, expressions and sizes mean one thing, and that is written down."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomadquery.errors import QueryError
from nomadquery.raw.files import Choice, RawFile, bytes_of, choice_of, chosen, matches, size_words
from tests.strategies import file_names, paths_in_uploads


def a_file(path: str, size_bytes: int = 1) -> RawFile:
    return RawFile("u", path, size_bytes, ("e",), ())


def escaped(name: str) -> str:
    """Return the pattern that a name alone matches: special characters in brackets."""
    return re.sub(r"([*?[])", r"[\1]", name)


@given(paths_in_uploads(), file_names())
def test_a_pattern_without_slash_is_about_the_name(path: str, name: str) -> None:
    """Wherever the file lies; a name inside a longer one is no match."""
    own = path.rpartition("/")[2]
    assert matches(path, escaped(own))
    assert matches(path, escaped(name)) == (own == name)


@given(st.lists(file_names(), min_size=2, max_size=5), st.data())
def test_a_pattern_with_slash_is_about_the_last_parts(parts: list[str], data: st.DataObject) -> None:
    """A folder is whole or does not match; in front, a slash means the root."""
    n = data.draw(st.integers(2, len(parts)))
    path, end = "/".join(parts), "/".join(map(escaped, parts[-n:]))
    assert matches(path, end)
    assert not matches("x" + "/".join(parts[-n:]), end)
    assert matches(path, f"/{end}") == (n == len(parts))


@given(st.lists(file_names(), min_size=1, max_size=5))
def test_stars_stay_in_their_part_and_two_cross(parts: list[str]) -> None:
    """As many single stars as parts fit from the root; two stars fit everything."""
    path = "/".join(parts)
    assert matches(path, "/" + "/".join("*" * len(parts)))
    assert matches(path, "/" + "/".join("*" * (len(parts) + 1))) is False
    assert matches(path, "**")
    assert matches(path, f"/**/{escaped(parts[-1])}")
    assert matches(path, f"/{escaped(parts[0])}/**/{escaped(parts[-1])}") == (len(parts) > 1)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a/OUTCAR", "OUTCAR*", True),
        ("a/OUTCAR.gz", "OUTCAR*", True),
        ("a/OLD_OUTCAR", "OUTCAR*", False),
        ("a/outcar", "OUTCAR", False),
        ("si/relax/OUTCAR", "relax/OUTCAR", True),
        ("si/prerelax/OUTCAR", "relax/OUTCAR", False),
        ("si/relax/x/OUTCAR", "relax/*", False),
        ("si/relax/x/OUTCAR", "relax/**/OUTCAR", True),
        ("OUTCAR", "/OUTCAR", True),
        ("a/OUTCAR", "/OUTCAR", False),
        ("step10/x", "step[0-9]/x", False),
    ],
)
def test_what_patterns_mean(path: str, pattern: str, expected: bool) -> None:
    """As the page on raw files says."""
    assert matches(path, pattern) is expected


@given(st.lists(st.tuples(paths_in_uploads(), st.integers(0, 99)), unique_by=lambda one: one[0]))
def test_all_conditions_hold_together(rows: list[tuple[str, int]]) -> None:
    """Included, not excluded, with the expression, not too large; in the order of their paths."""
    files = [a_file(path, size) for path, size in rows]
    choice = choice_of("*[!x]*", exclude=["OUTCAR"], regex="[a-zA-Z]", max_size=50)
    expected = sorted(
        path
        for path, size in rows
        if re.search(r"[^x/]", path.rpartition("/")[2])
        and path.rpartition("/")[2] != "OUTCAR"
        and re.search("[a-zA-Z]", path)
        and size <= 50
    )
    assert [one.path for one in chosen(files, choice)] == expected
    assert list(chosen(files, Choice())) == sorted(files, key=lambda one: one.path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20 MB", 20_000_000), ("1.5GiB", 1_610_612_736), ("0 B", 0), (7, 7), ("3 kB", 3000), ("1KiB", 1024)],
)
def test_sizes_carry_their_unit(text: str | int, expected: int) -> None:
    """Decimal and binary ones; a bare number is bytes."""
    assert bytes_of(text) == expected


@pytest.mark.parametrize("size", ["20", "MB", "-1 MB", -1, 1.5, True, "1 mb", ""])
def test_what_is_no_size_is_refused(size: object) -> None:
    """With an example of what is."""
    with pytest.raises(QueryError, match="20 MB"):
        bytes_of(size)  # type: ignore[arg-type]  # on purpose


@given(st.integers(0, 10**16))
def test_sizes_in_words_are_right_to_three_digits(n_bytes: int) -> None:
    """Read back, they differ by less than a percent."""
    assert abs(bytes_of(size_words(n_bytes)) - n_bytes) <= 0.01 * n_bytes


@pytest.mark.parametrize("pattern", ["", "a/", 3])
def test_a_pattern_that_nothing_could_match_is_refused(pattern: object) -> None:
    """A folder's name would otherwise choose nothing in silence."""
    with pytest.raises(QueryError, match="OUTCAR"):
        choice_of([pattern])  # type: ignore[list-item]  # on purpose


def test_an_expression_that_is_none_is_refused() -> None:
    """Before anything is asked."""
    with pytest.raises(QueryError, match="regular expression"):
        choice_of(regex="(")
