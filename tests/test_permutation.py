"""The compiled shuffle: NumPy's draws, and NumPy's state afterwards."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastmlp.devices import shuffler
from fastmlp.devices.cpu import permutation as module
from fastmlp.devices.cpu.permutation import shuffle

SIZES = [0, 1, 2, 3, 4, 5, 8, 9, 100, 311, 1000, 1024, 1025]


class Sorted(np.random.RandomState):
    """A generator with ideas of its own."""

    def permutation(self, x):
        return np.arange(x)


def same_state(a, b):
    """Whether two generators go on alike, also with the normal number that one keeps."""
    a, b = a.get_state(legacy=False), b.get_state(legacy=False)
    return pickle.dumps(a) == pickle.dumps(b)


def test_order_and_state_are_those_of_numpy():
    """In a row, between other draws: the words are renewed at any place in a shuffle."""
    ours, numpys = np.random.RandomState(5), np.random.RandomState(5)
    shuffled = shuffler(ours, 100)  # of any length then
    for n in SIZES * 3:
        order = np.arange(n)[::-1] + 7
        expected = order[numpys.permutation(n)]
        assert np.array_equal(shuffled(order), expected)
        assert np.array_equal(order, np.arange(n)[::-1] + 7)
        assert same_state(ours, numpys)
        assert ours.standard_normal() == numpys.standard_normal()


@pytest.mark.parametrize("used", [0, 1, 623, 624, 1000, 2**32 - 1])
def test_shuffle_itself(used):
    """Also as plain Python; a number of used words that cannot be is as if all were used."""
    numpys = np.random.RandomState(3)
    name, words, *_ = numpys.get_state()
    state = np.append(words, np.uint32(used))
    numpys.set_state((name, words, min(used, 624)))
    order = np.arange(700)
    shuffle(state, order)
    assert np.array_equal(order, numpys.permutation(700))
    assert np.array_equal(state, np.append(*numpys.get_state()[1:3]))


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: np.random.RandomState(np.random.PCG64(seed)),
        Sorted,
        pytest.param(np.random.RandomState, id="unknown layout"),
    ],
)
def test_other_generators_draw_themselves(make, request, monkeypatch):
    if "unknown layout" in request.node.name:
        monkeypatch.setattr(module, "_layout_is_known", lambda: False)
    monkeypatch.setattr(module, "shuffle", None)
    ours, numpys = make(2), make(2)
    assert np.array_equal(shuffler(ours, 100)(np.arange(100)), numpys.permutation(100))
    assert same_state(ours, numpys)


@pytest.mark.parametrize("wrong", [lambda words: words[::-1], lambda words: words.missing])
def test_another_layout_is_noticed(wrong, monkeypatch):
    check, state_of = module._layout_is_known.__wrapped__, module._state_of
    assert check()
    monkeypatch.setattr(module, "_state_of", lambda generator: wrong(state_of(generator)))
    assert not check()


def test_threads_that_share_a_generator_draw_different_orders():
    order = np.arange(300)
    numpys, shared = np.random.RandomState(1), np.random.RandomState(1)
    expected = {tuple(numpys.permutation(300)) for _ in range(40)}
    with ThreadPoolExecutor(2) as threads:
        drawn = threads.map(lambda _: tuple(shuffler(shared, 300)(order)), range(40))
        assert set(drawn) == expected
