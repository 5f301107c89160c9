"""A row's results: the network's outputs in the form of an estimator's, and their derivatives.

They index `values`, `out` and the like, which may be arrays or pointers, on the CPU or on a GPU.
"""

from .._jit import formula

#: The form of a row's outputs: as they are, [1 - p, p] for a single output p, or shares of the sum.
PLAIN, PAIR, SHARES = range(3)


@formula
def formed(values, x, outputs, form, out, place):
    """Write a row's outputs, which lie at `x`, to `out` in one of the forms above."""
    if form == PAIR:
        out[place], out[place + 1] = type(values[x])(1) - values[x], values[x]
        return
    total = type(values[x])(0)
    for k in range(outputs):
        total += values[x + k]
    for k in range(outputs):
        share = values[x + k] / total if total else type(total)(1) / type(total)(outputs)
        out[place + k] = share if form == SHARES else values[x + k]


@formula
def output_weights(values, x, outputs, form, output, upstream):
    """Write to `upstream` the derivatives of a row's result `output` by the network's outputs."""
    one, zero = type(values[x])(1), type(values[x])(0)
    if form == PAIR:
        upstream[0] = one if output == 1 else -one
        return
    total = one
    if form == SHARES:
        total = zero
        for k in range(outputs):
            total += values[x + k]
    share = values[x + output] / total if form == SHARES and total != zero else zero
    for k in range(outputs):
        chosen = one if k == output else zero
        # The shares of outputs that are all 0 are constant.
        upstream[k] = (chosen - share) / total if total != zero else zero


@formula
def through_softmax(values, x, outputs, upstream, delta):
    """Compute the derivatives by z_k from those by p_k, u_k: p_k (u_k - sum of p_j u_j)."""
    total = type(values[x])(0)
    for k in range(outputs):
        total += values[x + k] * upstream[k]
    for k in range(outputs):
        delta[k] = values[x + k] * (upstream[k] - total)
