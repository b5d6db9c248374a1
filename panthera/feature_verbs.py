"""`panthera features ...`: show the online features, compare them with the snapshots, push, delete and clean up."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from panthera.verb import (
    EXIT_FINDING,
    add_data,
    add_group,
    add_json,
    add_verb,
    past_instant,
    plain_text,
    read_current_plan,
    show,
    show_line,
)

if TYPE_CHECKING:
    import argparse

    from panthera.verb import Add


def status(arguments: argparse.Namespace) -> int:
    """Show the online tables; exit with 3 if one is missing, has future rows, or is read by a release but no longer filled."""
    from panthera import online_features

    result = online_features.status(read_current_plan())
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.missing or result.future or result.unfilled else 0


def diff(arguments: argparse.Namespace) -> int:
    """Compare online features with the snapshots, value by value, with the causes of differences; exit with 3 on a defect."""
    from panthera import online_features

    result = online_features.diff(read_current_plan(), arguments.data, arguments.as_of)
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.defects else 0


def push(arguments: argparse.Namespace) -> int:
    """Write rows to the online store, one JSON object per line: event_id, the entity's key, event_time and features."""
    from panthera import online_features

    receipt = online_features.push(read_current_plan(), arguments.view, arguments.file)
    line = f"push: {receipt.stored:,} rows stored, {receipt.duplicates:,} stored before"
    show_line(line, asdict(receipt), as_json=arguments.json)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Delete one entity's rows from every online table."""
    from panthera import online_features

    deleted = online_features.delete(read_current_plan(), arguments.entity, arguments.key)
    lines = "\n".join(f"delete: {table}: {rows} rows" for table, rows in deleted.items())
    show_line(lines, {"deleted": deleted}, as_json=arguments.json)
    return 0


def collect(arguments: argparse.Namespace) -> int:
    """Drop the tables of earlier versions of views that no release reads."""
    from panthera import online_features

    dropped = online_features.collect()
    line = f"collect: {', '.join(dropped) or 'nothing to drop'}"
    show_line(line, {"dropped": dropped}, as_json=arguments.json)
    return 0


def add_feature_verbs(add: Add) -> None:
    """Add the verbs about online features."""
    add_action = add_group(add, "features", "Show, compare, push or delete online features.")
    status_parser, diff_parser = add_verb(add_action, "status", status), add_verb(add_action, "diff", diff)
    diff_parser.add_argument("--as-of", type=past_instant, help="compare with what was known then; default: now")
    add_data(diff_parser)
    push_parser, delete_parser, collect_parser = (
        add_verb(add_action, "push", push),
        add_verb(add_action, "delete", delete),
        add_verb(add_action, "collect", collect),
    )
    push_parser.add_argument("view", type=plain_text, help="name of the view")
    push_parser.add_argument("file", type=Path, nargs="?", help="file of JSON lines; default: the standard input")
    delete_parser.add_argument("entity", type=plain_text, help="name of the entity in the plan")
    delete_parser.add_argument("key", type=plain_text, help="its key")
    for added in (status_parser, diff_parser, push_parser, delete_parser, collect_parser):
        add_json(added)
