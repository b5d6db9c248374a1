"""The functions behind the planner's verbs of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.profile.profile import Profile, profile_data
from planner.profile.target import with_target
from planner.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from core.plan.plan import Plan
    from core.settings import Settings
    from planner.check.findings import Checked
    from planner.check.why import Why
    from planner.decide.report import Report
    from planner.diff.difference import Difference
    from planner.diff.merge import Merged
    from planner.document.document import Kind
    from planner.document.parts import Document
    from planner.draft.draft import Draft
    from planner.draft.stale import Staleness
    from planner.prove.proof import Proof


def profile_files(data: Sequence[str], target: str | None) -> Profile:
    """Return the profile of the tables that `data` names, with the associations of `target` if there is one.

    Raises
    ------
    PantheraError
        If there is no table, one cannot be read, or the target is none of their columns.

    """
    with open_workspace() as workspace:
        found = profile_data(workspace.connection, data, workspace.scratch)
        return with_target(workspace.connection, found, target) if target else found


def profile_html(profile: Profile) -> str:
    """Compose the page of a profile."""
    from planner.profile.page import profile_page

    return profile_page(profile)


def draft_files(
    data: Sequence[str],
    folder: Path,
    *,
    predict: str | None,
    key: str | None,
    time: str | None,
    answers: Mapping[str, str],
) -> Draft:
    """Return the plan for the tables that `data` names, to be run in `folder`.

    Raises
    ------
    PantheraError
        If no plan can be drafted from the data and the task.

    """
    from planner.draft.draft import draft_plan

    with open_workspace() as workspace:
        return draft_plan(
            workspace.connection,
            data,
            workspace.scratch,
            folder,
            predict=predict,
            key=key,
            time=time,
            answers=answers,
        )


def merge_draft(last: str, plan: str, draft: Draft) -> Merged:
    """Return a new draft merged into a plan that was changed since the draft `last`; see `planner.diff.merge`.

    Raises
    ------
    PantheraError
        If the draft does not fit what was changed.

    """
    from planner.diff.merge import merge_drafts

    return merge_drafts(last, plan, draft.text)


def stale_keys(evidence: Mapping[str, Any], draft: Draft) -> Staleness:
    """Return the drafted keys whose evidence differs from that of a draft of the present data."""
    from planner.draft.stale import staleness

    return staleness(evidence, draft)


def prove_no_look_ahead(plan: Plan, data: Path, instants: int) -> Proof:
    """Return the proof that no feature of `plan` looks ahead, over the stages' tables in `data`; see `planner.prove.proof`.

    Raises
    ------
    PantheraError
        If the plan has no times, or its rows are not validated yet.

    """
    from planner.prove.proof import prove

    return prove(plan, data / "accepted", instants)


def check_sources(plan: Plan) -> Checked:
    """Return all findings about a plan and the rows of its sources."""
    from planner.check.check import check_data

    with open_workspace() as workspace:
        return check_data(workspace.connection, plan, workspace.scratch)


def check_plan_and_sources(path: Path) -> Checked:
    """Return all findings about the plan at `path`; of a valid plan, also those about the rows of its sources."""
    from core.errors import PlanError
    from core.plan.file import read_plan
    from planner.check.findings import faults_of

    try:
        plan = read_plan(path)
    except PlanError as error:
        return faults_of(error)
    return check_sources(plan)


def findings_in_sarif(checked: Checked, text: str, name: str) -> dict[str, Any]:
    """Return findings in the form that code hosts show beside the lines of a plan."""
    from planner.check.sarif import sarif

    return sarif(checked, text, name)


def contract_of(plan: Plan) -> dict[str, Any]:
    """Return what a plan expects of its sources, in the Open Data Contract Standard."""
    from planner.contract.expected import contract

    return contract(plan)


def compare_with_contract(plan: Plan, file: Path) -> Checked:
    """Return what a plan expects of its sources and the contract in `file` does not promise.

    Raises
    ------
    PantheraError
        If the file is no contract, or has no table that is a source.

    """
    from planner.contract.promised import compare_with, read_contract

    return compare_with(plan, read_contract(file), str(file))


def difference_of_plan(settings: Settings, rev: str) -> Difference:
    """Return the difference of the plan from an earlier one: a file, or a revision of git.

    Raises
    ------
    PantheraError
        If there is no earlier plan, or one of the plans is not valid.

    """
    from core.entry import read_seconds
    from core.plan.text import read_text
    from planner.diff.difference import difference
    from planner.diff.earlier import read_earlier

    plan = settings.plan
    earlier, before = read_earlier(rev, plan)
    return difference(earlier, before, read_text(plan), str(plan), plan.absolute().parent, read_seconds(settings))


def document_plan(plan: Plan, text: str, data: Path, kind: Kind = "plan") -> Document:
    """Return the document of a plan, with the results of its stages in `data`, and the A/B test once rows are accepted."""
    from planner.decide.accepted import has_accepted_rows
    from planner.document.document import document_of
    from planner.document.results import read_results

    accepted = data / "accepted"
    is_decided = kind == "plan" and has_accepted_rows(plan, accepted)
    test = [decide_plan(plan, accepted, alternatives=False).chapter()] if is_decided else []
    return document_of(plan, text, read_results(data), test, kind)


def document_text(document: Document, *, as_html: bool) -> str:
    """Compose a document as an HTML page or as Markdown."""
    from planner.document.markdown import markdown
    from planner.document.page import document_page

    return document_page(document) if as_html else markdown(document)


def decide_plan(
    plan: Plan,
    accepted: Path,
    traffic: int | None = None,
    effect: float | None = None,
    *,
    alternatives: bool = True,
) -> Report:
    """Return what can be decided before training, from the accepted rows of `plan`; see `planner.decide.decision`."""
    from planner.decide.decision import decide
    from planner.decide.report import Report
    from planner.decide.words import lengths_table, statements

    found = decide(plan, accepted, traffic, effect, alternatives=alternatives)
    tables = (lengths_table(found),) if found.horizons else ()
    return Report("A/B test", found.can_be_decided, found, statements(plan, found), tables)


def forecast_score(plan: Plan, table: pa.Table) -> Report:
    """Return the forecast of the score on the test rows of a training set; see `planner.decide.forecast`."""
    from planner.decide.forecast import forecast
    from planner.decide.forecast_words import curve_table, forecast_statements
    from planner.decide.report import Report

    found = forecast(plan, table)
    tables = (curve_table(found.metric, found.interval),) if found.interval else ()
    return Report("Forecast of the score", not found.why_not, found, forecast_statements(found), tables)


def build_training_rows(plan: Plan, accepted: Path, scratch: Path) -> pa.Table:
    """Return the training set that the stages would make of the accepted rows; see `planner.decide.training_rows`."""
    from planner.decide.training_rows import training_rows

    return training_rows(plan, accepted, scratch)


def why_drafted(plan: Plan, evidence: Path, key: str) -> Why:
    """Return the evidence of a drafted key, and what its queries find now.

    Raises
    ------
    PantheraError
        If there is none.

    """
    from planner.check.why import find_why

    with open_workspace() as workspace:
        return find_why(workspace.connection, plan, evidence, key, workspace.scratch)
