"""Attacks by what a report shows, and by what collects it."""

from __future__ import annotations

import json
import re
import sqlite3

from typer.testing import CliRunner

from arena import Arena, Mutation, answers, attack
from dataflare.capabilities.metrics import MemoryMetrics, PluginMetrics
from dataflare.capabilities.prometheus import to_prometheus
from dataflare.cli.app import app
from dataflare.cli.report_document import ReportDocument
from dataflare.cli.report_page import report_page
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import build_specification
from dataflare.pipeline.state_file import StateFile

MARKUP = "</style></title></svg><script>alert(1)</script><img src=x onerror=alert(1)>"
NODES = {
    "read": {"connector": "csv", "read": "in.csv"},
    "write": {"connector": "csv", "input": "read", "write": "out.csv"},
}


def runs_with_page(arena: Arena, page: str) -> str:
    """Run a pipeline that copies `in.csv`, with a page as its report; returns what the command said."""
    (arena.folder / "p.yaml").write_text(json.dumps({"name": "p", "nodes": NODES}))
    given = ["run", str(arena.folder / "p.yaml"), "--report-html", str(arena.folder / page)]
    return CliRunner().invoke(app, given).output


@attack("terminal")
def markup_in_the_page_of_a_report(arena: Arena) -> None:
    """Name a column of a data file, and a pipeline, so that the page about the run runs a script of yours."""
    (arena.folder / "in.csv").write_text(f'"{MARKUP}"\n1\n')
    report = run(build_specification({"name": "p", "nodes": NODES}, folder=arena.folder))
    page = report_page({**report.to_json(), "pipeline": MARKUP, "error": MARKUP})
    assert "&lt;script" in page, "it is not shown: nothing was tried"
    assert not re.search(r"<(script|img)", page)


@attack("terminal")
def character_that_turns_the_text_around_in_a_page(arena: Arena) -> None:
    """Let the page show another path than the one that was written, by characters that change the direction."""
    output = {"path": "report-\u202egnp.exe", "action": "created", "files": 1}
    page = report_page({"pipeline": "p", "nodes": [{"name": "n", "outputs": [output]}]})
    assert r"\u202e" in page and "\u202e" not in page


@attack("files-in")
def report_in_a_planted_history_that_is_not_one(arena: Arena) -> None:
    """Plant a state file whose history has markup where a page expects a number."""
    (arena.folder / "in.csv").write_text("n\n1\n")
    (arena.folder / "p.yaml").write_text(json.dumps({"name": "p", "nodes": NODES}))
    state = arena.folder / "state"
    with StateFile(state, pipeline="p"):
        pass
    node = {"name": "n", "rows_in": 1, "rows_out": 1, "failed": 0, "latency": {"batches": 1, "p50": MARKUP}}
    planted = json.dumps({"rows_in": 1, "rows_out": 1, "seconds": 1.0, "nodes": [node]})
    with sqlite3.connect(state) as connection:
        connection.execute(
            "INSERT INTO run (begun_at, ended_at, status, report) VALUES (1, 2, 'completed', ?)", (planted,)
        )
    connection.close()
    page = arena.folder / "page.html"
    given = ["runs", "show", str(arena.folder / "p.yaml"), "--state", str(state), "--html", str(page)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 1 and "is damaged" in result.output, result.output
    assert not page.exists()


@attack("outputs")
def report_in_the_place_of_data(arena: Arena) -> None:
    """Have the report of a run written over the file that the run reads."""
    data = arena.folder / "in.csv"
    data.write_text("n\n1\n")
    said = runs_with_page(arena, "in.csv")
    assert "does not end in .html" in said, said
    assert data.read_text() == "n\n1\n"


@attack("terminal")
def line_of_another_in_the_numbers_for_prometheus(arena: Arena) -> None:
    """Put a line break into a label, so that your plugin reports numbers of the host or of another plugin."""
    metrics = MemoryMetrics()
    label = 'x"} 1\ndataflare_run_completed{pipeline="orders"} 1\ndataflare_plugin_y{a="'
    PluginMetrics(metrics, "plugin").set_gauge("x", 1.0, [("a", label)])
    lines = to_prometheus(metrics).splitlines()
    assert len(lines) == 2 and lines[1].startswith('dataflare_plugin_x{plugin="plugin",a="'), lines


@attack("terminal")
def label_that_names_another_plugin(arena: Arena) -> None:
    """Give a number the label `plugin`, or the name of its series, so that it passes for a number of another plugin."""
    metrics = MemoryMetrics()
    PluginMetrics(metrics, "plugin").set_gauge(
        "x", 1.0, [("plugin", "payments"), ("__name__", "dataflare_run_seconds")]
    )
    line = to_prometheus(metrics).splitlines()[1]
    names = re.findall(r'(\w+)="', line)
    assert 'plugin="plugin"' in line and names.count("plugin") == 1 and "__name__" not in names, line


MUTATIONS = [
    Mutation("dataflare.cli.report_page:escaped", str, ("markup_in_the_page_of_a_report",)),
    Mutation("dataflare.cli.report_plots:printable", str, ("character_that_turns_the_text_around_in_a_page",)),
    Mutation(
        "dataflare.cli.report_page:_parsed",
        lambda _: ReportDocument(pipeline="p"),
        ("report_in_a_planted_history_that_is_not_one",),
    ),
    Mutation("dataflare.cli.report_files:_require_suffix", answers(None), ("report_in_the_place_of_data",)),
    Mutation("dataflare.capabilities.prometheus:_escaped", str, ("line_of_another_in_the_numbers_for_prometheus",)),
    Mutation(
        "dataflare.capabilities.prometheus:_labels",
        lambda plugin, labels: "{" + ",".join(f'{n}="{v}"' for n, v in [("plugin", plugin), *labels]) + "}",
        ("label_that_names_another_plugin",),
    ),
]
