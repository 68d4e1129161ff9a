"""`python -m marl_gre` is `marl-gre`."""

from marl_gre.cli import main

main()
