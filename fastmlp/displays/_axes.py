"""Axes to draw on, and the colours of all pictures."""

# Okabe and Ito's colours, which readers with any kind of colour vision can distinguish.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"


def axes_of(display, ax, size=None):
    """Return the axes to draw on, by default new ones of this size in inches; store them."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{type(display).__name__} needs matplotlib, which is not installed: "
                "pip install 'fastmlp[plot]'"
            ) from error
        _, ax = plt.subplots(figsize=size, layout="constrained")
    display.ax_, display.figure_ = ax, ax.figure
    return ax
