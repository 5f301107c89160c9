"""What inspection asks of single rows: all activations, and gradients along a path."""

import numpy as np

from ..._jit import entry, kernel
from ...formulas.results import formed
from .row import activate_row, affine, affine_sparse, forward_row, rooms
from .row_gradients import gradient_row, room_for_both, rooms_of_both
from .sources import FEATURES, gather
from .vectors import ZERO, beyond, keep, pointer


@entry
def record_rows(plan, sources, z, a, sparse):
    """Write z and f(z) of all layers, one after the other, of every row of the user's X."""
    source = sources[FEATURES]
    size, longest = rooms(plan)
    scratch = np.empty(size + 2 * longest, a.dtype)
    values = pointer(scratch)
    layer_z = beyond(values, size)
    for r in range(len(a)):
        x, z_at, a_at = ZERO, ZERO, ZERO
        if not sparse:
            gather(source, r, ZERO, plan[0]["fan_in"], values, ZERO)
        for index in range(plan.size):
            layer = plan[index]
            if sparse and index == 0:
                affine_sparse(layer, source, r, layer_z)
            else:
                affine(layer, values, x, layer_z)
            for k in range(layer["fan_out"]):
                z[r, z_at + k] = layer_z[k]
            x += layer["fan_in"]
            activate_row(layer, values, x, layer_z, beyond(layer_z, longest))
            for k in range(layer["outputs"]):
                a[r, a_at + k] = values[x + k]
            z_at, a_at = z_at + layer["fan_out"], a_at + layer["outputs"]
    keep(scratch)


#: Gauss and Legendre's rule of five points on [0, 1], which is exact for polynomials of degree 9.
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(5)
POINTS, WEIGHTS = (_POINTS + 1) / 2, _WEIGHTS / 2
#: How often an interval may be halved; and how many intervals a path may have.
LEVELS, INTERVALS = 48, 20_000


@kernel
def step_along(scratch, baseline, x, share):
    """Write the point at this share of the way from the baseline to x."""
    for j in range(x.size):
        scratch[j] = baseline[j] + share * (x[j] - baseline[j])


@kernel
def result_along(plan, path, share, form, output):
    """Return one result at a point of the path."""
    scratch, results, baseline, x = path
    size, total, widest = rooms_of_both(plan)
    step_along(scratch, baseline, x, share)
    z = beyond(scratch, size)
    place = forward_row(plan, ZERO, scratch, ZERO, z, beyond(z, total + 2 * widest), ZERO)
    formed(scratch, place, plan[plan.size - 1]["outputs"], form, results, ZERO)
    return results[output]


@kernel
def slopes_along(plan, path, begin, width, form, output, gradients):
    """Write the gradients at the rule's points of an interval; return the first and last slope."""
    scratch, _, baseline, x = path
    first, last, integral = 0.0, 0.0, 0.0
    for i in range(POINTS.size):
        step_along(scratch, baseline, x, begin + width * POINTS[i])
        place = beyond(gradients, i * x.size)
        gradient_row(plan, scratch, form, output, place)
        last = 0.0
        for j in range(x.size):
            last += place[j] * (x[j] - baseline[j])
        first = last if i == 0 else first
        integral += width * WEIGHTS[i] * last
    return first, last, integral


@kernel
def split(begin, end, rise, first, last, halve):
    """Return where to split an interval: in the middle, or where the lines of its ends meet.

    Of a result that consists of two straight lines, that is its kink, exactly.
    """
    if not halve and first != last:
        meeting = (rise + first * begin - last * end) / (first - last)
        if begin < meeting < end:
            return meeting
    return 0.5 * (begin + end)


@entry
def integrate(plan, baseline, x, out, form, output, tolerance):
    """Integrate the gradient of a result along the straight line from the baseline to x.

    `out` gets the integrals times x - baseline, whose sum is the difference of the results. An
    interval whose sum is not within the tolerance is split. Returned is the sum's error.
    """
    n = x.size
    scratch, gradients = np.empty(room_for_both(plan)), np.empty(POINTS.size * n)
    results = np.empty(2 + plan[plan.size - 1]["outputs"])
    path = pointer(scratch), pointer(results), baseline, x
    begins, ends, levels = np.empty(LEVELS + 2), np.empty(LEVELS + 2), np.empty(LEVELS + 2)
    starts, stops = np.empty(LEVELS + 2), np.empty(LEVELS + 2)
    begins[0], ends[0], levels[0], count, waiting = 0.0, 1.0, 0, 0, 1
    starts[0] = result_along(plan, path, 0.0, form, output)
    stops[0] = result_along(plan, path, 1.0, form, output)
    rest = starts[0] - stops[0]
    out[:] = 0
    while waiting:
        top = waiting - 1
        begin, end, level = begins[top], ends[top], levels[top]
        start, stop = starts[top], stops[top]
        first, last, integral = slopes_along(
            plan, path, begin, end - begin, form, output, pointer(gradients)
        )
        count += 1
        error = abs(integral - (stop - start))
        if error > tolerance and level < LEVELS and count < INTERVALS:
            middle = split(begin, end, stop - start, first, last, level % 2 == 0)
            ends[top], levels[top] = middle, level + 1
            stops[top] = result_along(plan, path, middle, form, output)
            begins[waiting], ends[waiting], levels[waiting] = middle, end, level + 1
            starts[waiting], stops[waiting] = stops[top], stop
            waiting += 1
            continue
        for i in range(POINTS.size):
            for j in range(n):
                share = (end - begin) * WEIGHTS[i] * gradients[i * n + j] * (x[j] - baseline[j])
                out[j] += share
                rest += share
        waiting -= 1
    keep(scratch)
    keep(results)
    keep(gradients)
    return rest
