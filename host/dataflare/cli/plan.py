"""`dataflare plan`: what a run would do."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from dataflare.cli.figures import byte_count, count
from dataflare.cli.options import AsJson, CacheDir, compiled_folder
from dataflare.cli.output import error_json, exit_code, printed_errors, show_error, write_json
from dataflare.cli.screen import stdout
from dataflare.cli.state_files import StateOption, find_state, keeps_state
from dataflare.cli.variables import EnvFiles, Settings, gather_variables
from dataflare.pipeline.branches import is_rejected
from dataflare.pipeline.plan import NodePlan, PipelinePlan, plan_pipeline
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host
from dataflare.security.settings import Security

__all__ = ["command"]

_SHOWN_COLUMNS = 20


def command(
    security: Security,
    pipeline: Annotated[Path, typer.Argument(help="The pipeline, a YAML file.", show_default=False)],
    as_json: AsJson = False,
    state: StateOption = None,
    settings: Settings = None,
    env_files: EnvFiles = None,
    cache_dir: CacheDir = None,
) -> None:
    """Show what a run would do, before any row moves.

    Plugins are started with their grants, and asked for their datasets, columns, keys and modes, for how many rows they
    would give, and for what beginning a run would change. Columns are compared with those of the last run, and so is
    what plugins ask for and can do. Of each destination it says whether it has each row exactly once or at least once,
    and why. Nothing is written.

    Exit codes: 0 planned; 1 a run would fail; 2 the pipeline is wrong; 3 a file is not a plugin; 4 something is not
    granted.
    """
    with printed_errors(as_json=as_json), ExitStack() as stack:
        variables = gather_variables(settings or (), env_files or (), policy=security.policy is not None)
        specification = load_specification(pipeline, variables=variables)
        host = stack.enter_context(Host(cache_dir=compiled_folder(cache_dir), security=security))
        keeps = state is not None or keeps_state(specification)
        kept = find_state(specification, state) if keeps else None
        if kept is not None:
            stack.enter_context(kept)
        plan = plan_pipeline(specification, host, kept, keeps_state=keeps)
    if as_json:
        problems = [error_json(each) for each in plan.problems]
        nodes = [each.to_json() for each in plan.nodes]
        write_json({"pipeline": plan.pipeline, "nodes": nodes, "errors": problems})
    else:
        _show(plan)
    for each in plan.problems:
        show_error(each)
    if plan.problems:
        raise typer.Exit(exit_code(plan.problems[0]))


def _show(plan: PipelinePlan) -> None:
    stdout().say(f"pipeline {plan.pipeline}")
    for node in plan.nodes:
        _show_node(node)


def _show_node(node: NodePlan) -> None:
    screen = stdout()
    what = ", ".join(each for each in (node.kind, node.uses, node.dataset, node.mode) if each)
    screen.say(f"{node.name}: {what}")
    if len(node.inputs) > 1 or any(map(is_rejected, node.inputs)):
        screen.say(f"  takes {', '.join(node.inputs)}")
    if node.schema is not None:
        shown = [f"{field.name}: {field.type}" for field in node.schema][:_SHOWN_COLUMNS]
        more = len(node.schema) - len(shown)
        screen.say(f"  columns {', '.join(shown)}{f' and {more} more' if more else ''}")
    if node.key or node.cursor:
        parts = [f"key {', '.join(node.key)}" if node.key else "", f"cursor {node.cursor}" if node.cursor else ""]
        screen.say(f"  {', '.join(each for each in parts if each)}")
    if node.position:
        size = "" if node.bytes is None else f", {byte_count(node.bytes)}"
        rows = "" if node.rows is None else f", {count(node.rows)} rows"
        screen.say(f"  reads from {node.position}{rows}{size}")
    if node.no_checkpoints:
        screen.say(f"  no checkpoints before the end: {node.no_checkpoints}")
    for text in node.capability_changes:
        screen.say(f"  since the last run, {text}")
    for change in node.schema_changes:
        screen.say(f"  {change.shown}")
    for each in node.changes:
        screen.say(f"  {each.shown}")
    if node.on_error:
        screen.say(f"  {node.on_error}")
    if node.promise is not None:
        screen.say(f"  {node.promise.guarantee.replace('-', ' ')}: {node.promise.why}")
