"""The verbs about a plan and its data: `plan`, `profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import read_settings
from panthera.verb import add_json, add_verb, plain_text, read_current_plan, show

if TYPE_CHECKING:
    import argparse

    from panthera.verb import Add


def check_plan(arguments: argparse.Namespace) -> int:
    """Check the plan without running anything."""
    if arguments.schema:
        from panthera.plan_page import schema_text

        print(schema_text(), end="")
        return 0
    plan = read_current_plan()
    views = plan.build_features.views
    features = sum(len(view.features) for view in views.values())
    print(
        f"{read_settings().plan}: {plan.project.name} is valid: {len(plan.ingest)} sources, {len(views)} views with "
        f"{features} features, {len(plan.train.candidates)} candidates"
    )
    return 0


def profile(arguments: argparse.Namespace) -> int:
    """Show what files hold: tables, columns, keys, links, times; DATA are files, folders, globs or databases."""
    from core.files import write_whole
    from planner.verbs import profile_files, profile_html

    found = profile_files(arguments.data, arguments.target)
    if arguments.out:
        write_whole(arguments.out, profile_html(found))
    show(found, found.table, as_json=arguments.json)
    return 0


def add_plan_verbs(add: Add) -> None:
    """Add the verbs to the command line."""
    added = add_verb(add, "plan", check_plan)
    added.add_argument("--schema", action="store_true", help="print the JSON schema of plans, which editors read")
    added = add_verb(add, "profile", profile)
    added.add_argument("data", nargs="+", type=plain_text, help="file, folder, glob or database")
    added.add_argument("--target", type=plain_text, help="column that the others are compared with")
    added.add_argument("--out", type=Path, help="HTML file to write")
    add_json(added)
