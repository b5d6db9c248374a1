"""A hook of MkDocs: the pages at the root of the repository are part of the site, and links lead to them."""  # noqa: INP001

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parent.parent
#: Addresses on the site by the names of files at the root.
_ADDRESSES = {
    "README.md": "project.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "license.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for name, address in _ADDRESSES.items():
        text = (_ROOT / name).read_text()
        text = f"# Licence\n\n```text\n{text}```\n" if name == "LICENSE" else _from_root(text)
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links out of the folder lead to the added pages, and those to a folder to its index."""
    for name, address in _ADDRESSES.items():
        markdown = markdown.replace(f"](../{name})", f"]({address})")
    return markdown if page.file.src_uri in _ADDRESSES.values() else markdown.replace("](adr/)", "](adr/README.md)")


def _from_root(text: str) -> str:
    text = text.replace("](docs/adr/)", "](adr/README.md)")
    text = re.sub(r"\]\(docs/", "](", text)
    for name, address in _ADDRESSES.items():
        text = text.replace(f"]({name})", f"]({address})")
    return text
