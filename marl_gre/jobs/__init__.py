"""The commands of `marl-gre`, one file each."""
