"""The embedded SMAC engine held against StarCraft II itself: `python -m benchmarks.smac_validation`."""
