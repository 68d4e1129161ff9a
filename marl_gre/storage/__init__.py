"""Files of a run: checkpoints, published results, provenance."""
