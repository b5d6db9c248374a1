"""The schema, as numbered SQL files; a file that has landed is never changed, a new one is added."""
