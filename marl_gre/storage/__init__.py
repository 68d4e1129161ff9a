"""The files of a run: checkpoints, published results, provenance."""
