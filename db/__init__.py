"""The memory: tables, lineage, migrations."""
