"""Writing down what was measured: JSON, Markdown tables, and the block in the README."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
MARKERS = "<!-- benchmark -->", "<!-- /benchmark -->"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def percent(ratio: dict) -> str:
    """A share's median in percent."""
    return f"{100 * ratio['median']:.0f} %"


def spread(ratio: dict) -> str:
    """A ratio's median, with the least and the most of all turns."""
    median, least, most = (number(ratio[name]) for name in ("median", "least", "most"))
    return f"**{median}** ({least} to {most})"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def caption(record: dict) -> str:
    """Where and when something was measured."""
    versions = ", ".join(
        f"{name} {version}"
        for name, version in record["versions"].items()
        if version != "not installed"
    )
    gpu = f"{record['gpu']} with driver {record['driver']}, " if "gpu" in record else ""
    ran = f"vectors of {record['vectors']}, " if "vectors" in record else ""
    return (
        f"{record['date']}, {gpu}{record['cpu']}, {ran}CPUs: {record['cores']}, "
        f"load {record['load']} at the start, Python {record['python']}, {versions}; one core's "
        "multiply-adds reach "
        f"{number(record['peak_gflops']['float32'])} GFLOP/s in float32 and "
        f"{number(record['peak_gflops']['float64'])} in float64."
    )


def save(part: str, record: dict, results, folder: Path = RESULTS) -> None:
    """Write ``<part>.json`` into the folder."""
    content = json.dumps({"machine": record, "results": results}, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.json").write_text(content + "\n")


def saved(part: str) -> dict | None:
    """What `save` has written, or None if the part was never measured."""
    file = RESULTS / f"{part}.json"
    return json.loads(file.read_text()) if file.exists() else None


def saved_by_cpu(part: str) -> list[dict]:
    """What `save` has written as ``<part>.<target>.json`` for each CPU, the latest first."""
    found = [json.loads(file.read_text()) for file in RESULTS.glob(f"{part}.*.json")]
    return sorted(found, key=lambda content: content["machine"]["date"], reverse=True)


def write_page(part: str, title: str, lines: list[str], folder: Path = RESULTS) -> None:
    """Write ``<part>.md`` into the folder."""
    text = "\n".join([f"# {title}", "", *lines])
    (folder / f"{part}.md").write_text(text.strip() + "\n")


def write_readme(lines: list[str]) -> None:
    """Put the lines between the README's markers."""
    before, rest = README.read_text().split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    text = "\n".join(lines).strip()
    README.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}")
