"""Covering designs: every pair that is wanted, in few rows."""

from itertools import combinations, product

import pytest
from designs import pairwise, spanning

TABLES = "abcdefg", range(5), ["x", "y"], [None], (False, True)


@pytest.mark.parametrize("apart", [[], [{0, 1}], [{0, 1, 4}, {2, 3}], [{0, 1, 2, 3, 4}]], ids=str)
def test_every_pair_meets_but_those_that_are_apart(apart):
    rows = pairwise(*TABLES, apart=apart)
    numbers = range(len(TABLES))
    for t in numbers:
        assert {row[t] for row in rows} == set(TABLES[t])
    wanted = [
        (one, other)
        for one, other in combinations(numbers, 2)
        if not any({one, other} <= group for group in apart)
    ]
    for one, other in wanted:
        met = {(row[one], row[other]) for row in rows}
        assert met == set(product(TABLES[one], TABLES[other]))
    # No design is smaller than two of its tables, or one.
    fewest = max([7, *(len(TABLES[one]) * len(TABLES[other]) for one, other in wanted)])
    assert fewest <= len(rows) <= fewest + 2


def test_equal_values_of_different_tables_are_kept_apart():
    assert sorted(pairwise([0, 1], [0, 1])) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_an_empty_table_leaves_no_row():
    assert pairwise([0, 1], []) == []


def test_values_are_used_about_equally():
    rows = pairwise(range(19), range(15), [0, 1, 2])
    for t, uses in ((0, 15), (1, 19), (2, 95)):
        counts = [sum(row[t] == value for row in rows) for value in {row[t] for row in rows}]
        assert max(counts) - min(counts) <= 2, uses
        assert abs(sum(counts) / len(counts) - uses) < 1


def test_few_rows_span_all_values():
    rows = [dict(zip("abc", row, strict=True)) for row in product("xyz", [1, 2], [None, print])]
    chosen = spanning(rows)
    assert len(chosen) == 3
    for name in "abc":
        assert {rows[i][name] for i in chosen} == {row[name] for row in rows}
    assert spanning([{}, {}]) == [0]
