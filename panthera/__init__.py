"""The command line: thin verbs, each of which imports its dependencies only when called."""
