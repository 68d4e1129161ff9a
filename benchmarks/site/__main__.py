"""`python -m benchmarks.site` fills the generated tables of docs/; with `--pictures` it also draws the animations."""

from benchmarks.site.tables import fill
from marl_gre.errors import Parser, run_cli


def main() -> None:
    """Fill the tables, and draw the animations if asked."""
    parser = Parser(prog="python -m benchmarks.site", description=__doc__)
    parser.add_argument("--pictures", action="store_true", help="draw the animations again, from published runs")
    asked = parser.parse_args()
    for path in fill():
        print(path)
    if asked.pictures:
        from benchmarks.site.pictures import draw

        for path in draw():
            print(path)


if __name__ == "__main__":
    run_cli(main)
