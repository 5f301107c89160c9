"""Covering designs: laws over several tables, without every combination of their rows.

A fault lies in one thing, such as a formula, or between two: a learned constant and float32,
maxout's pieces and dropout. A covering design has every value of every table in some test, and
every two values of different tables together in some test, so each of these faults fails a test.
The product of the tables repeats such a pair hundreds of times: 19 activations x 15 losses x
8 optimisers x 2 dtypes are 4560 fits, the design has 285.

What needs three values at once is not found, except by chance. Where three settings meet in the
same code, make them one table of their combinations, as `test_parity.py` does.
"""

import re
from collections import Counter
from itertools import chain, combinations_with_replacement

import pytest


def pairwise(*tables, apart=()):
    """Rows with a value of each table, such that any two values of different tables meet in one.

    Greedy and deterministic: a row begins with the first pair that has not met yet. From each other
    table it takes the value that adds most pairs; among equals, the one that was used least.

    Parameters
    ----------
    *tables : iterable
        The values of each.
    apart : iterable of set of int
        Sets of tables, by their numbers, that no code uses together: their values need not meet
        each other. Each value is in some row nevertheless.
    """
    tables = [list(table) for table in tables]
    if not all(tables):
        return []
    places = [[(t, i) for i in range(len(table))] for t, table in enumerate(tables)]
    # A value's pair with itself stands for the value alone.
    missing = {
        (one, other)
        for one, other in combinations_with_replacement(chain(*places), 2)
        if one == other
        or (one[0] != other[0] and not any({one[0], other[0]} <= group for group in apart))
    }
    used, rows = Counter(), []

    def gain(place, row):
        pairs = (tuple(sorted((place, other))) for other in (place, *row.items()))
        return sum(pair in missing for pair in pairs), -used[place]

    while missing:
        row = dict(min(missing))
        for t in range(len(tables)):
            if t not in row:
                row[t] = max(places[t], key=lambda place: gain(place, row))[1]
        used.update(row.items())
        missing.difference_update(combinations_with_replacement(sorted(row.items()), 2))
        rows.append(tuple(table[row[t]] for t, table in enumerate(tables)))
    return rows


def spanning(rows):
    """Indices of a few rows that together have every value of every parameter.

    Parameters
    ----------
    rows : list of dict
        The values by the names of parameters; the names are the same in all rows.
    """
    wanted = {(name, named(value)) for row in rows for name, value in row.items()}
    left, chosen = list(range(len(rows))), []

    def gain(i):
        return sum((name, named(value)) in wanted for name, value in rows[i].items())

    while wanted or not chosen:
        best = max(left, key=gain)
        chosen.append(best)
        left.remove(best)
        wanted -= {(name, named(value)) for name, value in rows[best].items()}
    return sorted(chosen)


def named(value):
    """What a test is called for a parameter: without the address where it happens to lie."""
    return getattr(value, "__name__", None) or re.sub(r" at 0x\w+", "", str(value), flags=re.I)


def covering(names, *tables, apart=()):
    """Run a test on the rows of a covering design.

    `names` are those of the parameters, one for each table. "task kind, device" are two tables: the
    first one has tuples of a task and a kind.
    """
    groups = [group.split() for group in names.split(",")]
    rows = [
        list(chain(*(v if len(g) > 1 else [v] for g, v in zip(groups, row, strict=True))))
        for row in pairwise(*tables, apart=apart)
    ]
    return pytest.mark.parametrize(list(chain(*groups)), rows, ids=named)
