"""What the site's build does besides MkDocs' plugins: files from outside docs/, a page per mixer, equations as MathML.

Pages link to files of the repository by relative paths, so that the links also work where the repository is browsed.
MkDocs loads this file by its path.
"""

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from docutils.utils.math.latex2mathml import tex2mathml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from marl_gre.mixers import MIXERS

ROOT = Path(__file__).parents[2]

MOUNTED = {
    "benchmarks/deviations.md": "deviations.md",
    "studies/README.md": "studies.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "results/report/index.html": "report/index.html",
    **{
        f"studies/figures/{path.name}": f"studies_figures/{path.name}"
        for path in sorted((ROOT / "studies/figures").glob("*.png"))
    },
    **{
        f"results/report/figures/{path.name}": f"report/figures/{path.name}"
        for path in sorted((ROOT / "results/report/figures").glob("*.png"))
    },
}
"""Files from outside docs/ that the site holds: path in the repository, path in the site."""

INCLUDED = re.compile(r"<!-- included: (?P<path>\S+), (?P<name>[\w ]+) -->")
LINK = re.compile(r"(\]\()([^)\s#]+)")
# docutils puts the index of an accented letter below it.
ACCENT = re.compile(
    r"<munderover>\s*(<mi>\S+</mi>)\s*(<m(?:i|n|row)>.*?</m(?:i|n|row)>)\s*"
    r'(<mo stretchy="false">\S</mo>)\s*</munderover>',
    re.DOTALL,
)
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
CELL = re.compile(r"(<td(?: style=[^>]*)?)>(.*?)</td>", re.DOTALL)
LONG_CELL = 120
"""Characters beyond which a cell needs a wide column (site.css)."""

WIDE = ("deviations.md", "smac-engine.md", "studies.md")
"""Pages whose tables need the room of the side bars."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the algorithms' pages to the menu: mixers in the order of the registry, then others by name."""
    (section,) = (entry for entry in config["nav"] if "Algorithms" in entry)
    names = {path.stem for path in Path(config["docs_dir"], "algorithms").glob("*.md")} - {"index"}
    ordered = [name for name in MIXERS if name in names] + sorted(names - set(MIXERS))
    section["Algorithms"] += [f"algorithms/{name}.md" for name in ordered]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the mounted files."""
    for source, target in MOUNTED.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn relative links between files of the repository into links between pages, and choose the page's layout."""
    site = page.file.src_uri
    if site in WIDE:
        page.meta["hide"] = ["toc", "navigation"]
    source = next((path for path, target in MOUNTED.items() if target == site), f"docs/{site}")

    def turned(match: re.Match[str]) -> str:
        start, link = match.groups()
        if re.match(r"[a-z]+:", link):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        target = MOUNTED.get(path, path.removeprefix("docs/"))
        if target == path:
            return match[0]  # neither in docs/ nor mounted: MkDocs will complain
        return start + posixpath.relpath(target, posixpath.dirname(site) or ".")

    return LINK.sub(turned, INCLUDED.sub(_included, markdown))


def _included(match: re.Match[str]) -> str:
    """Return the first table or paragraph between the markers of that name in a file of the repository."""
    text = (ROOT / match["path"]).read_text()
    begin, end = (f"<!-- {match['name']}: {mark} -->" for mark in ("begin", "end"))
    return text.split(begin)[1].split(end)[0].strip().split("\n\n")[0]


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn equations into MathML, which browsers draw by themselves, and mend tables."""

    def turned(match: re.Match[str]) -> str:
        tag, bracket, tex = match.groups()
        block = bracket == "["
        mathml: Any = tex2mathml(html.unescape(tex).strip(), as_block=block)
        mathml = ACCENT.sub(r'<msub><mover accent="true">\1\3</mover>\2</msub>', mathml)
        return f'<{tag} class="arithmatex">{mathml}</{tag}>'

    return CELL.sub(_cell, EQUATION.sub(turned, content))


def _cell(match: re.Match[str]) -> str:
    """Mark a table's cell with much text, and drop the escapes that Markdown needs for pipes in code."""
    start, text = match.groups()
    text = text.replace(r"\|", "|")
    long = len(re.sub(r"<[^>]*>", "", text)) > LONG_CELL
    return f'{start} class="long">{text}</td>' if long else f"{start}>{text}</td>"
