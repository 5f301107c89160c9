"""Measure fastmlp against scikit-learn, PyTorch and plain NumPy, and rewrite the README's figures.

``python benchmarks/run.py`` verifies that all sides compute the same, measures everything, writes
``benchmarks/results/``, a JSON file for each part and CPU, and the block between the README's
markers, which has the latest figures. ``--only fit predict`` measures these parts again and leaves
the others' figures as they are. ``--case 0`` measures one case of a part and prints it, but writes
nothing. ``--report`` measures nothing and writes tables and chart from the JSON files.
"""

import argparse
import importlib.util
import json
import sys

import accuracy
import chart
import fit
import gpu_report
import many
import memory
import parts
import predict
import published
import scaling
import search
import startup
from grid import LIBRARIES, PYTORCH
from machine import record
from report import caption, save, saved, saved_by_cpu, write_page, write_readme
from threadpoolctl import threadpool_limits

#: Every part measures rows that JSON can keep, and reports them in lines of Markdown.
PARTS = {
    "fit": fit,
    "predict": predict,
    "parts": parts,
    "scaling": scaling,
    "search": search,
    "many": many,
    "memory": memory,
    "startup": startup,
    "published": published,
    "accuracy": accuracy,
}

#: Those that another command measures, where there is what they need.
ELSEWHERE = {"gpu": gpu_report}

CHART = (
    "![Milliseconds an epoch of every library and case, and the floor of the arithmetic]"
    "(benchmarks/results/fit.svg)"
)


class Options(argparse.Namespace):
    """What the command line says."""

    def chosen(self, cases: list) -> list:
        """All cases, or the one that was asked for."""
        return cases if self.case is None else [cases[self.case]]

    def show(self, row: dict) -> dict:
        """Print a row as soon as it is known; returns it."""
        print(json.dumps(_rounded(row)), flush=True)
        return row


def _rounded(value):
    """The value with its numbers cut to four digits, for the eye."""
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"parts to measure, of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--case", type=int, help="number of the case of a part to print alone")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the tables")
    options = parser.parse_args(namespace=Options())
    if PYTORCH not in LIBRARIES:
        print("PyTorch is not installed and left out; the extra 'bench' has it.", file=sys.stderr)
    if not options.report:
        for name in options.only:
            machine = record()
            with threadpool_limits(1):
                results = PARTS[name].measure(options)
            if options.case is None and results:
                save(f"{name}.{machine['target']}", machine, results)
    if options.case is None:
        write_reports()


def write_reports():
    """Write the pages, the chart and the README's block from all that was ever measured."""
    block, machines = [], {}
    for name, part in PARTS.items():
        if not (contents := saved_by_cpu(name)):
            continue
        latest, lines = contents[0], []
        machines.setdefault(latest["machine"]["cpu"], caption(latest["machine"]))
        headline = part.headline(latest["results"])
        if name == "fit":
            block += [*headline, "", CHART, ""]
            lines += [*fit.shares(contents), ""]
            draw_chart(latest["results"])
        else:
            block += [f"- {sentence}" for sentence in headline]
        for content in contents:
            lines += [caption(content["machine"]), "", *part.report(content["results"]), ""]
        write_page(name, part.__doc__.splitlines()[0], lines)
    for name, part in ELSEWHERE.items():
        if content := saved(name):
            where = caption(content["machine"])
            title = part.__doc__.splitlines()[0]
            write_page(name, title, [*part.report(content["results"]), "", where])
            block += ["", *part.headline(content["results"])]
    note = "All figures with their spread are in [benchmarks/results](benchmarks/results), by CPU."
    write_readme([*block, "", f"{note} Those above: {' '.join(machines.values())}"])


def draw_chart(rows):
    """Draw the fits, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib"):
        chart.draw(rows)
    else:
        print("No chart: matplotlib is not installed; the extra 'plot' has it.", file=sys.stderr)


if __name__ == "__main__":
    main()
