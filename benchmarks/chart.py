"""The picture of the fits: ``results/fit.svg``."""

from grid import NUMPY, OURS, PYTORCH, THEIRS
from report import RESULTS, number

#: Marker and colour of each library, from Okabe and Ito's palette for colour-blind readers; the
#: shapes alone tell them apart as well.
STYLES = {
    OURS: ("o", "#D55E00"),
    THEIRS: ("s", "#0072B2"),
    PYTORCH: ("D", "#009E73"),
    NUMPY: ("^", "#555555"),
}


def draw(rows: list[dict], path=RESULTS / "fit.svg") -> None:
    """Draw milliseconds an epoch of every library and case, float32 beside float64.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    # The same figures give the same file.
    plt.rcParams |= {"svg.hashsalt": "fastmlp", "font.size": 9}
    plt.rcParams |= dict.fromkeys((f"axes.spines.{s}" for s in ("top", "right", "left")), False)
    dtypes = [name for name in ("float32", "float64") if any(r["dtype"] == name for r in rows)]
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure, panels = plt.subplots(
        1, len(dtypes), sharex=True, sharey=True, squeeze=False, layout="constrained",
        figsize=(10, 1.4 + 0.6 * len(cases)),
    )  # fmt: skip
    for panel, dtype in zip(panels[0], dtypes, strict=True):
        _draw_panel(panel, {row["case"]: row for row in rows if row["dtype"] == dtype}, cases)
        panel.set_title(dtype, loc="left", fontweight="bold")
    panels[0][0].set_yticks(range(len(cases)), cases)
    panels[0][0].set_ylabel("rows x features, hidden, classes, batch")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=120)
    plt.close(figure)


def _draw_panel(panel, rows, cases):
    panel.set_xscale("log")
    for y, case in enumerate(cases):
        if y % 2:
            panel.axhspan(y - 0.5, y + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
        ms = rows[case]["ms_per_epoch"]
        _draw_floor(panel, y, ms["floor"])
        drawn = [name for name in STYLES if name in ms]
        for place, name in enumerate(drawn):  # one below the other: none hides another
            marker, color = STYLES[name]
            height = y + 0.8 * ((place + 0.5) / len(drawn) - 0.5)
            panel.plot([ms["floor"], ms[name]], [height] * 2, color=color, linewidth=1, alpha=0.5)
            panel.plot(
                ms[name], height, marker, color=color, markersize=6,
                linestyle="none", label=name if y == 0 else None,
            )  # fmt: skip
            panel.annotate(
                number(ms[name]), (ms[name], height), (6, 0), textcoords="offset points",
                va="center", fontsize=7, color=color, fontweight="bold" if name == OURS else None,
            )  # fmt: skip
    panel.margins(x=0.1)
    panel.set_ylim(len(cases) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.grid(axis="x", color="#E0E0E0", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("ms an epoch, one thread: the further left, the faster")


def _draw_floor(panel, y, floor):
    label = "floor: the multiply-adds alone, at the core's measured peak" if y == 0 else None
    panel.plot([floor] * 2, [y - 0.42, y + 0.42], color="black", linewidth=2, label=label)
