"""The prediction walk: each thread takes the next chunk of rows that nobody has taken.

Rows do not depend on each other, so the threads need no barrier.
"""

from ..._jit import entry
from .block_sizes import CHUNK
from .buffers import pointers
from .dropout import no_dropping
from .epoch import forward
from .sources import check_order
from .team import take
from .vectors import ZERO


@entry
def predict(layers, memory, sources, out, member, most, general):
    """Predict into `out`, for the first rows of the order, in at most `most` chunks.

    Returns whether there may be more to do: Python reacts to Ctrl-C between two calls.
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
        for r in range(rows):
            for k in range(outputs):
                out[first + r, k] = buffers.outputs[k * rows + r]
    return True
