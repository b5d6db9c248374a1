-- Every online table, the view of which Feast project it holds, and since when no definition of that view names it.
CREATE TABLE panthera.online_table (
    online_table text PRIMARY KEY,
    project text NOT NULL,
    view text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz
);
CREATE INDEX ON panthera.online_table (project, view);

-- A full run makes the table anew; an increment merges what became known since the last run of the view.
ALTER TABLE panthera.materialization
    ADD COLUMN kind text NOT NULL DEFAULT 'full' CHECK (kind IN ('full', 'increment')),
    ADD COLUMN started_at timestamptz DEFAULT now(),
    ALTER COLUMN finished_at SET DEFAULT clock_timestamp();
