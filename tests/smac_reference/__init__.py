"""The slow readable reference of the SMAC engine's rules."""
