"""PostgreSQL: the embedded server, sessions, connections and migrations; no other package opens a connection."""
