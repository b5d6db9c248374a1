"""PostgreSQL: the server, sessions, connections and the schema; connections are opened here only."""
