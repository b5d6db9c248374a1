"""The command line: thin verbs, each of which imports what it needs when it is called."""
