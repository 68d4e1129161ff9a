"""The reproduction of the paper: thin DVC stages over marl_gre, and its figures and tables as declarations."""
