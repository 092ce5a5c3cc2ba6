"""The command line: thin, over flows and tasks."""
