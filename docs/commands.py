"""Fill the page of commands with the help of the program itself, as the site is built."""

from __future__ import annotations

from typing import Any

from fae.cli.arguments import parser, subparsers


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's Markdown; that of commands.md gets a section for each command."""
    if page.file.src_uri != "commands.md":
        return markdown
    commands = subparsers(parser())
    sections = (f"## {name}\n\n```text\n{c.format_help()}```\n" for name, c in commands.items())
    return "\n".join([markdown, *sections])
