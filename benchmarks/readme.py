"""The tables of README.md that results fill: each stands between two marker lines.

`python -m benchmarks.readme` puts the claims' verdicts there, from results/report/claims.json.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.layout import REPORT
from benchmarks.tables import Column, Content, markdown_table
from marl_gre.errors import BadInput, run_cli

README = Path("README.md")
CLAIMS = REPORT / "claims.json"


def main() -> None:
    """Put the claims' verdicts into the README."""
    parser = argparse.ArgumentParser(description="Put the claims' verdicts into README.md.")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="what aggregate wrote (default: %(default)s)")
    parser.add_argument("--readme", type=Path, default=README, help="file with the table (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        content = json.loads(arguments.claims.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{arguments.claims}: cannot be read ({error}); make it: make report.") from error
    put("claims", claims_table(content), arguments.readme)


def claims_table(content: dict[str, Any]) -> str:
    """Return the verdicts of claims.json as Markdown, one row per claim and one column per environment."""
    verdicts = content["verdicts"]
    titles = list(dict.fromkeys(one["env_title"] for one in verdicts))
    texts: dict[str, dict[str, str]] = {}
    for one in verdicts:
        texts.setdefault(f"{one['claim']}. {one['says']}", {})[one["env_title"]] = one["text"]
    done, missing = content["runs"]["done"], content["runs"]["missing"]
    count = f"{done} of {done + missing} runs are here" if missing else f"{done} runs"
    notes = [f"{count}; {content['confidence']:.0%} intervals; gridworlds only.", *content["caveats"]]
    columns = [Column("Claim"), *(Column(title) for title in titles)]
    rows = [[claim, *(found.get(title, "") for title in titles)] for claim, found in texts.items()]
    return markdown_table(Content(columns, rows, [f"*{' '.join(notes)}*"])).rstrip("\n")


def put(name: str, table: str, readme: Path) -> None:
    """Put a table between the markers of that name.

    Raises:
        BadInput: the markers are not there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = readme.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise BadInput(f"{readme}: the lines {begin} and {end} are needed, once.")
    readme.write_text(pattern.sub(lambda _: f"{begin}\n{table}\n{end}", text))


if __name__ == "__main__":
    run_cli(main)
