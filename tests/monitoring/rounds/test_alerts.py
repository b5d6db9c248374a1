"""Alerts of a round, to a real SMTP server and a real file; what fails is told, and loses nothing else."""

from __future__ import annotations

import email
import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from email.policy import default
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any

import pytest

from monitoring.rounds.alerts import Channels, send_alerts
from monitoring.rounds.mail import MailSettings
from monitoring.rounds.rules import Decided, Decision
from monitoring.rounds.run import Round
from monitoring.verbs import Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
FINDINGS: dict[str, Any] = {
    "drift": {
        "alarms": ["v__price"],
        "columns": {"v__price": {"psi": 0.5, "limit": 0.1, "missing_share_current": 0.25}},
    },
    "parity": {"defects": 2},
    "problems": {"cohorts": "no experiment"},
}
BLOCKED = Decided(Decision.BLOCK, ("v__price is missing in 25.0% of the predictions",))


def a_round(decided: Decided = BLOCKED) -> Round:
    return Round(7, "r1", None, Window(None, AS_OF), decided, acted=False, act_problem=None, findings=FINDINGS)


@contextmanager
def smtp_server(
    refused: tuple[str, ...] = (), status: str = "250 accepted"
) -> Iterator[tuple[str, list[EmailMessage]]]:
    """Yield the URL of a server that keeps mails, refuses these recipients, and answers a mail's data with `status`."""
    received: list[EmailMessage] = []

    class Handler(StreamRequestHandler):
        def answer(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self) -> None:
            self.answer("220 test")
            while line := self.rfile.readline().decode().strip():
                word = line.split()[0].upper()
                if word == "DATA":
                    self.answer("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    received.append(email.message_from_bytes(b"".join(lines), policy=default))
                    self.answer(status)
                elif word == "RCPT" and any(address in line for address in refused):
                    self.answer("550 unknown")
                else:
                    self.answer("221 bye" if word == "QUIT" else "250 ok")

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"smtp://127.0.0.1:{server.server_address[1]}", received
        finally:
            server.shutdown()


def mailed(url: str, recipients: str = "ops@example.org, lead@example.org") -> Channels:
    return Channels(mail=MailSettings(url, recipients, "panthera@example.org"))


def test_a_round_is_mailed_with_its_reasons_and_its_json() -> None:
    with smtp_server() as (url, received):
        assert send_alerts(a_round(), "churn", mailed(url)) is None
    (mail,) = received
    assert (mail["Subject"], mail["From"]) == ("churn: block", "panthera@example.org")
    assert mail["To"] == "ops@example.org, lead@example.org"
    body = mail.get_body()
    assert body is not None
    assert "v__price is missing in 25.0%" in body.get_content()
    assert "Next: mend the data first" in body.get_content()
    (attached,) = mail.iter_attachments()
    assert json.loads(attached.get_content()) == json.loads(json.dumps(a_round().to_dict()))


def test_a_round_that_holds_is_not_mailed_but_its_metrics_are_written(tmp_path: Path) -> None:
    with smtp_server() as (url, received):
        channels = Channels(mail=mailed(url).mail, metrics=tmp_path / "round.prom")
        assert send_alerts(a_round(Decided(Decision.HOLD, ())), "churn", channels) is None
    assert received == []
    assert 'panthera_round_decision{decision="hold",model="churn"} 1.0' in (tmp_path / "round.prom").read_text()


def test_the_metrics_of_a_round_are_what_it_found_and_which_alert_failed(tmp_path: Path) -> None:
    file = tmp_path / "new" / "round.prom"
    problem = send_alerts(a_round(), "churn", Channels("http://127.0.0.1:1/", metrics=file))
    assert problem == "the webhook at 127.0.0.1 could not be reached (ConnectError)"
    values = dict(re.findall(r"^panthera_round_(\S+) (\S+)$", file.read_text(), flags=re.MULTILINE))
    assert float(values['as_of_timestamp_seconds{model="churn"}']) == AS_OF.timestamp()
    del values['as_of_timestamp_seconds{model="churn"}']
    assert values == {
        **{
            f'decision{{decision="{each}",model="churn"}}': str(float(each == "block"))
            for each in ("hold", "retrain", "retire", "promote", "roll_back", "block")
        },
        'drifted_columns{model="churn"}': "1.0",
        'psi{column="v__price",model="churn"}': "0.5",
        'psi_limit{column="v__price",model="churn"}': "0.1",
        'missing_share{column="v__price",model="churn"}': "0.25",
        'parity_defects{model="churn"}': "2.0",
        'unmeasured_checks{model="churn"}': "1.0",
        'alert_failed{channel="webhook",model="churn"}': "1.0",
    }


@pytest.mark.parametrize(
    ("server", "recipients", "problem"),
    [
        ("smtp://u:s3cret@", "ops@example.org", "not a URL like smtp://"),
        ("http://host", "ops@example.org", "not a URL like smtp://"),
        ("smtp://host:port", "ops@example.org", "not a URL like smtp://"),
        ("smtp://[", "ops@example.org", "not a URL like smtp://"),
        ("smtp://u:s3cret@127.0.0.1:1", "ops@example.org", "the mail server at 127.0.0.1 could not be used"),
        ("smtp://127.0.0.1:1", "ops", "found no addresses"),
        ("smtp://127.0.0.1:1", "ops@example.org\nBcc: all@example.org", "could not be written as a mail"),
    ],
)
def test_a_mail_that_cannot_be_sent_is_told_without_its_secret(server: str, recipients: str, problem: str) -> None:
    found = send_alerts(a_round(), "churn", mailed(server, recipients)) or ""
    assert problem in found
    assert "s3cret" not in found + repr(mailed(server, recipients))


def test_a_server_that_refuses_a_recipient_or_the_mail_is_told() -> None:
    with smtp_server(refused=("ops@",)) as (url, received):
        one = send_alerts(a_round(), "churn", mailed(url))
        nobody = send_alerts(a_round(), "churn", mailed(url, "ops@example.org"))
    assert (one, len(received)) == ("the mail server at 127.0.0.1 refused 1 of the recipients", 1)
    assert nobody == "the mail server at 127.0.0.1 could not be used (SMTPRecipientsRefused)"
    with smtp_server(status="451 later") as (url, _):
        assert "answered with status 451" in (send_alerts(a_round(), "churn", mailed(url)) or "")


def test_each_channel_is_tried_whatever_the_others_do(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with smtp_server() as (url, received):
        channels = Channels("ftp://s3cret", mailed(url).mail, blocked / "round.prom")
        problem = send_alerts(a_round(), "churn", channels) or ""
    assert len(received) == 1
    assert "the webhook's address is not a URL" in problem
    assert "the metrics could not be written" in problem
