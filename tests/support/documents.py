"""The code blocks of README.md and docs/: what each is, and how a page's blocks run.

The language of a block says what it is, and its title, which the site shows, what becomes of it:

- ```sh and ```python run, one after the other, in one folder for the page;
- a title that names a file (```yaml title="mine.yaml") is the file that the block is written to;
- a title that begins with "needs" (```sh title="needs Slurm") says why the block cannot run
  everywhere. It is parsed all the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.project import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r'^( *)```(\w*)(?: title="([^"]*)")?\n(.*?)^\1```$', re.DOTALL | re.MULTILINE)
_SNIPPET = re.compile(r'^--8<-- "(.*)"$', re.MULTILINE)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, which begins at `line`."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def where(self) -> str:
        """The page and line, as errors name them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def needs(self) -> str:
        """What the block needs that is not everywhere; empty if it runs."""
        return self.title.removeprefix("needs ") if self.title.startswith("needs ") else ""

    @property
    def file(self) -> str:
        """The name of the file that the block is written to; empty for none."""
        return "" if self.needs else self.title


def read_blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order, with the files that they include."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for found in _FENCE.finditer(text):
        indent, language, title, code = found.groups()
        lines = (line.removeprefix(indent) for line in code.splitlines(keepends=True))
        code = _SNIPPET.sub(lambda found: (ROOT / found[1]).read_text("utf-8"), "".join(lines))
        line = text.count("\n", 0, found.start()) + 1
        blocks.append(Block(page, line, language, title or "", code))
    return blocks


def find_block(page: Path, language: str, holds: str) -> str:
    """Return the text of the page's first block of `language` with `holds` in it."""
    blocks = read_blocks(page)
    return next(b.text for b in blocks if b.language == language and holds in b.text)


def read_code_spans(page: Path) -> list[str]:
    """Return the `code` in a page's sentences and tables, without fenced blocks."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [span.replace("\\|", "|") for span in _CODE.findall(prose)]


def split_commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell script, without variables set for it."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";|&()"):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"[A-Z_]+=", word):
                words.append(word)


def write_script(page: Path, folder: Path) -> str:
    """Write a page's files and programs to `folder`; return the bash script that runs its blocks.

    The script ends at the first command that fails.
    """
    lines = ["set -eo pipefail"]
    for block in read_blocks(page):
        if block.needs:
            continue
        if block.file:
            source = folder / f".block-{block.line}"
            source.write_text(block.text, encoding="utf-8")
            lines.append(f"mkdir -p {Path(block.file).parent}; cp {source.name} {block.file}")
        elif block.language == "python":
            program = folder / f".block-{block.line}.py"
            program.write_text(block.text, encoding="utf-8")
            lines.append(f"python {program.name}")
        elif block.language == "sh":
            lines.append(block.text)
    return "\n".join(lines) + "\n"
