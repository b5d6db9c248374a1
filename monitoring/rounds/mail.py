"""Send a round by e-mail; a failure is returned as a sentence, so that it never stops a round."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 10.0
#: The port of mail submission, and that of submission within TLS (RFC 8314).
_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class MailSettings:
    """Where alerts are mailed.

    Attributes
    ----------
    server : URL of the mail server: `smtp://user:password@host:587`, which uses TLS if the server offers it, or `smtps://`.
    recipients : addresses, separated by commas.
    sender : address of the sender; None takes the first recipient.

    """

    server: str = field(repr=False)
    recipients: str
    sender: str | None = None


def mail_alert(mail: MailSettings, subject: str, text: str, json_text: str) -> str | None:
    """Send `text` with the JSON attached; return why that failed, or None. The message names the host alone."""
    try:
        parts = urlsplit(mail.server)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.hostname or port is None:
        return "the mail server's address is not a URL like smtp://user:password@host:587; correct PANTHERA_SMTP_URL"
    host = parts.hostname
    try:
        message = _message(mail, subject, text, json_text)
    except ValueError as error:
        return (
            f"the alert could not be written as a mail ({error}); correct PANTHERA_ALERT_MAIL or PANTHERA_ALERT_SENDER"
        )
    try:
        with _session(parts.scheme, host, port) as session:
            if parts.username is not None and not _is_private(session, host):
                return f"the mail server at {host} offers no TLS, so the password is not sent; use smtps:// or a server with it"
            if parts.username is not None:
                session.login(unquote(parts.username), unquote(parts.password or ""))
            refused = session.send_message(message)
    except smtplib.SMTPResponseException as error:
        return f"the mail server at {host} answered with status {error.smtp_code} ({type(error).__name__})"
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return f"the mail server at {host} could not be used ({type(error).__name__})"
    return f"the mail server at {host} refused {len(refused)} of the recipients" if refused else None


def _message(mail: MailSettings, subject: str, text: str, json_text: str) -> EmailMessage:
    recipients = [address.strip() for address in mail.recipients.split(",") if address.strip()]
    if not recipients or not all("@" in address for address in recipients):
        raise ValueError("found no addresses like name@example.org, separated by commas")
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = mail.sender or recipients[0]
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="panthera.invalid")
    message.set_content(text)
    message.add_attachment(json_text.encode(), maintype="application", subtype="json", filename="round.json")
    return message


@contextmanager
def _session(scheme: str, host: str, port: int) -> Iterator[smtplib.SMTP]:
    """Yield a session with the server, within TLS if the server offers it."""
    if scheme == "smtps":
        with smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=ssl.create_default_context()) as session:
            yield session
        return
    with smtplib.SMTP(host, port, timeout=_SECONDS) as session:
        session.ehlo_or_helo_if_needed()
        if session.has_extn("starttls"):
            session.starttls(context=ssl.create_default_context())
        yield session


def _is_private(session: smtplib.SMTP, host: str) -> bool:
    return isinstance(session.sock, ssl.SSLSocket) or host in _LOOPBACK
