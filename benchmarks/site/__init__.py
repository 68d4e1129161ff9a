"""The documentation site: generated tables, animations, and what MkDocs is told besides mkdocs.yml."""
