"""The paper's claims as tests: declared, then judged."""
