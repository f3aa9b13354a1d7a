"""What is told of a run: in a terminal, and in Markdown for the page."""

from collections.abc import Iterator

from tests.benchmarks.queues.catalogue import MEASUREMENTS, QUEUES, SHOWN, Shown
from tests.benchmarks.queues.plot import number
from tests.benchmarks.queues.results import Results, Row


def queues_table() -> str:
    """How each queue is set up, and what it keeps."""
    lines = ["| queue | set up | keeps |", "| --- | --- | --- |"]
    lines += [f"| {entry.name} | {entry.set_up} | {entry.keeps} |" for entry in QUEUES]
    return "\n".join(lines) + "\n"


def terminal(results: Results) -> str:
    lines = [f"{name}: {value}" for name, value in results.about.items()]
    lines += [f"{name} {version}" for name, version in results.versions.items()]
    lines += absences(results)
    for shown in SHOWN:
        lines += ["", f"{shown.title}, {shown.unit}"]
        for row in results.rows(shown):
            lines.append(
                f"  {row.queue:<17}{row.count:>8,} jobs {number(row.median):>10}"
                f"   {number(row.lowest)} to {number(row.highest)}   {ratio(row)}"
            )
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """The settings, and a plot and a table for each measurement."""
    lines = ["| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in results.about.items()]
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    lines += [f"| queues | {versions} |", ""]
    lines += [f"- {each}" for each in absences(results)]
    for shown in SHOWN:
        rows = results.rows(shown)
        if rows:
            lines += _section(shown, rows)
    lines += ["", "All values of all rounds: [comparison.json](comparison.json)."]
    return "\n".join(lines) + "\n"


def ratio(row: Row) -> str:
    if row.ratio is None:
        return "-"
    return f"{row.ratio:.3f}" if row.ratio < 0.1 else f"{row.ratio:.2f}"


def plot_name(shown: Shown) -> str:
    return f"comparison-{shown.name}.svg"


def absences(results: Results) -> list[str]:
    """What is not in the tables, and why."""
    return [
        *(f"{queue} is left out: {why}" for queue, why in results.left_out.items()),
        *_gaps(results),
    ]


def _gaps(results: Results) -> Iterator[str]:
    for measurement in MEASUREMENTS:
        title = next(each.title for each in SHOWN if each.measurement == measurement.name)
        for entry in QUEUES:
            if entry.name in results.left_out:
                continue
            why = entry.lacks.get(measurement.name)
            failed = results.failures.get(measurement.name, {}).get(entry.name)
            if why and entry.name in results.versions:
                yield f"{title}: without {entry.name}, {why}"
            elif failed:
                yield f"{title}: without {entry.name}, which failed: {failed}"


def _section(shown: Shown, rows: list[Row]) -> list[str]:
    unit = f"median, {shown.unit}"
    return [
        "",
        f"### {shown.title}",
        "",
        f"![{shown.title}: bars of the medians]({plot_name(shown)})",
        "",
        f"| queue | {'samples' if shown.unit == 'ms' else 'jobs'} in each round | {unit} |"
        " lowest | highest | of Soniq's |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.queue} | {row.count:,} | {number(row.median)} | {number(row.lowest)} |"
            f" {number(row.highest)} | {ratio(row)} |"
            for row in rows
        ),
    ]
