"""The shuffle of each epoch: NumPy's own draws, compiled, without Python's global lock.

`RandomState.permutation` draws one number for each row and holds the global lock meanwhile, so that
fits in several threads, such as those of a search, wait for each other. This is the same
algorithm on the same state, in a quarter of the time: the Mersenne Twister MT19937 (Matsumoto and
Nishimura, 1998), whose random 32-bit words are cut to as many bits as the largest number wanted,
and drawn again while they are above it. NumPy has promised that the draws of `RandomState` never
change.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..._jit import JIT_DISABLED, entry, kernel
from .ending import present
from .vectors import pointer

WORDS, FAR = 624, 397
#: Below this number of rows, reaching the generator's state takes longer than NumPy's draws.
FEWEST_ROWS = 64
#: Above this number, NumPy draws 64 bits for each row.
MOST_ROWS = 2**32
_U = np.uint32
_HIGH, _LOW, _TWIST = _U(0x80000000), _U(0x7FFFFFFF), _U(0x9908B0DF)


@kernel
def _following(word, next_word, far_word):
    """Return the word that takes the place of `word`, by the generator's recurrence."""
    y = (word & _HIGH) | (next_word & _LOW)
    return _U(far_word ^ (y >> _U(1)) ^ (_TWIST if y & _U(1) else _U(0)))


@kernel
def _renew(words):
    """Replace all words of the state."""
    for k in range(WORDS - FAR):
        words[k] = _following(words[k], words[k + 1], words[k + FAR])
    for k in range(WORDS - FAR, WORDS - 1):
        words[k] = _following(words[k], words[k + 1], words[k + FAR - WORDS])
    words[WORDS - 1] = _following(words[WORDS - 1], words[0], words[FAR - 1])


@kernel
def _tempered(y):
    """Return the random number that a word of the state stands for."""
    y = _U(y ^ (y >> _U(11)))
    y = _U(y ^ ((y << _U(7)) & _U(0x9D2C5680)))
    y = _U(y ^ ((y << _U(15)) & _U(0xEFC60000)))
    return _U(y ^ (y >> _U(18)))


@entry
def shuffle(state, order):
    """Shuffle `order` in place from the end: each number changes places with one up to there.

    Parameters
    ----------
    state : ndarray of uint32 of shape (625,)
        The generator's words, and the number of those that are used up; updated.
    order : ndarray of int64
    """
    words, order_at = pointer(state), pointer(order)
    used, i = np.int64(words[WORDS]), order.size - 1
    mask = 1
    while mask < i:
        mask = 2 * mask + 1
    while i > 0:
        if i <= mask >> 1:
            mask >>= 1
        if used >= WORDS:
            _renew(words)
            used = 0
        j = np.int64(_tempered(words[used])) & mask
        used += 1
        # A third of all draws is above i, at random: a branch would often be mispredicted. Instead,
        # the number at i changes places with itself, and i stays.
        accepted = j <= i
        j = j if accepted else i
        order_at[i], order_at[j] = order_at[j], order_at[i]
        i -= accepted
    words[WORDS] = used


def shuffler(random_state: np.random.RandomState, rows: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that permutes an order of rows, with the draws of this generator.

    Parameters
    ----------
    random_state : RandomState
        It is used in place: afterwards it is as if NumPy had drawn.
    rows : int
        Length of the orders.

    Returns
    -------
    shuffled : callable
        ``shuffled(order)``, of an array of int64, is a new array, and equals
        ``order[random_state.permutation(len(order))]``. It is that itself where the compiled
        shuffle does not apply: for few rows, a generator of another kind, or if the JIT is off.
    """
    bit_generator = getattr(random_state, "_bit_generator", None)
    known = type(random_state) is np.random.RandomState
    known = known and type(bit_generator) is np.random.MT19937
    sized = FEWEST_ROWS <= rows < MOST_ROWS
    if JIT_DISABLED or not sized or not known or not _layout_is_known():
        return lambda order: order[random_state.permutation(len(order))]
    state, lock = _state_of(bit_generator), bit_generator.lock

    @present
    def shuffled(order):
        order = np.array(order, np.int64)
        with lock:  # as NumPy does: other threads may draw from the same generator
            shuffle(state, order)
        return order

    return shuffled


def _state_of(bit_generator):
    """Return the memory of an MT19937's state as an array: it ends with the generator."""
    address = bit_generator.ctypes.state_address
    return np.frombuffer((ctypes.c_uint32 * (WORDS + 1)).from_address(address), np.uint32)


@lru_cache(maxsize=1)
def _layout_is_known() -> bool:
    """Return whether this version of NumPy keeps an MT19937's state as `shuffle` expects."""
    try:
        bit_generator = np.random.MT19937(5)
        bit_generator.random_raw(7)
        state = bit_generator.state["state"]
        with bit_generator.lock:
            return _state_of(bit_generator).tolist() == [*state["key"].tolist(), state["pos"]]
    except (AttributeError, KeyError, TypeError):
        return False
