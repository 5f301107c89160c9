"""The prediction walk: each thread takes the next chunk of rows that nobody has taken.

Rows do not depend on each other, so the threads need no barrier.
"""

from ..._jit import entry, kernel
from ..device import NOT_FINITE
from .block_sizes import CHUNK
from .buffers import pointers
from .dropout import no_dropping
from .epoch import forward
from .layers import values_of
from .panels import panel_count, panel_width
from .sources import check_order
from .team import take
from .vectors import ZERO


@kernel
def is_finite(A):
    """Check that no number of A, the rows just gathered, is NaN or infinite.

    They are in the cache: to read X once more, only for this, would take longer. x * 0 is NaN if x
    is not finite, else 0. What pads the panels is 0 or 1.
    """
    zero = type(A.data[A.start])(0)
    zeros = zero
    for panel in range(panel_count(A.columns, A.data)):
        start = A.start + panel * A.panel_stride
        for i in range(A.rows * panel_width(A.data)):
            zeros += A.data[start + i] * zero
    return zeros == 0


@entry
def predict(layers, memory, sources, out, member, most, general):
    """Predict into `out`, for the first rows of the order, in at most `most` chunks.

    Returns whether there may be more to do: Python reacts to Ctrl-C between two calls. Rows of a
    dense X are checked.
    """
    buffers = pointers(memory)
    outputs = out.shape[1]
    nothing = no_dropping(general)
    chunks = (len(out) + CHUNK - 1) // CHUNK
    check_order(sources, ZERO, len(out))
    for _ in range(most):
        chunk = take(member, chunks)
        if chunk == chunks:
            return False
        first = chunk * CHUNK
        rows = min(CHUNK, len(out) - first)
        forward(layers, buffers, sources, first, nothing, ZERO, rows)
        if not layers[0]["sparse"] and not is_finite(values_of(layers[0], buffers, ZERO, rows)):
            raise FloatingPointError(NOT_FINITE)
        for k in range(outputs):
            for r in range(rows):
                out[first + r, k] = buffers.outputs[k * rows + r]
    return True
