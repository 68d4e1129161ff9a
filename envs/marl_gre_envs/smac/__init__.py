"""The maps of SMAC (StarCraft Multi-Agent Challenge) without StarCraft II: data, interface and an embedded engine."""
