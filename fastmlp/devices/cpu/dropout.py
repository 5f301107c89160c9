"""Dropout in panels: a share of a layer's values, and of their derivatives, is left out."""

from typing import NamedTuple

from ..._jit import formula, kernel
from ...formulas import dropout
from ...formulas.dropout import kept_scale, threshold
from .calls import call_loop
from .loops import Masked
from .panels import panel_count, panel_width
from .vectors import ZERO


class Dropping(NamedTuple):
    """The settings that all masks of a chunk share; None in the code for plain networks."""

    loop: int  # address of the loop that applies the masks, or 0 if there are none
    seed: int
    step: int
    row: int  # index of the chunk's first row in the batch


@kernel
def no_dropping(general):
    """Return settings without masks."""
    if general is None:
        return None
    return Dropping(ZERO, ZERO, ZERO, ZERO)


@formula
def drops(dropping):
    """Return whether masks are applied."""
    if dropping is None:
        return False
    return dropping.loop != 0


@formula
def kept(dropping, share, row, unit, like):
    """Return the factor for one value: 0, or one over the share that is kept."""
    if share == 0.0:
        return type(like)(1)
    scale, row = kept_scale(share, like), row + dropping.row
    return dropout.kept(threshold(share), scale, dropping.seed, dropping.step, row, unit)


@kernel
def drop(dropping, share, unit, data, start, rows, count):
    """Multiply rows of one panel by their masks; its columns are the units from `unit` on."""
    call_loop(
        dropping.loop,
        Masked(
            data,
            start,
            rows,
            count,
            dropping.seed,
            dropping.step,
            dropping.row,
            unit,
            threshold(share),
            kept_scale(share, data[0]),
        ),
    )


@kernel
def drop_inputs(layer, share, dropping, A):
    """Leave a share of the features out."""
    full = panel_width(A.data)
    for column in range(0, layer["fan_in"], full):
        count = min(full, layer["fan_in"] - column)
        start = A.start + column // full * A.panel_stride
        drop(dropping, share, column, A.data, start, A.rows, count)


@kernel
def drop_outputs(layer, buffers, share, dropping, Z, A):
    """Leave a share of f(z) out: its values and derivatives become 0, or are scaled up."""
    full = panel_width(A.data)
    panels = panel_count(layer["outputs"], A.data)
    for panel in range(panels):
        count = min(full, layer["outputs"] - panel * full)
        first = layer["first_output"] + panel * full
        a, z = A.start + panel * A.panel_stride, Z.start + panel * Z.panel_stride
        drop(dropping, share, first, A.data, a, A.rows, count)
        for piece in range(layer["pieces"]):
            place = z + piece * panels * Z.panel_stride
            drop(dropping, share, first, Z.data, place, A.rows, count)
        if layer["learns"]:
            drop(dropping, share, first, buffers.learning, z, A.rows, count)
