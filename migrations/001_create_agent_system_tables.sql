-- Migration: create_agent_system_tables
-- Created: 2025-09-21T16:00:00Z
-- Description: Create Agent System Tables

CREATE TYPE run_status AS ENUM ('pending', 'running', 'succeeded', 'failed', 'cancelled');

-- Keeps updated_at true, whatever the client sends along.
CREATE FUNCTION set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = ''
    AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

CREATE TABLE agents (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id UUID NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT true,
    config JSONB NOT NULL DEFAULT '{}'::jsonb,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT agents_owner_id_name_key UNIQUE (owner_id, name),
    CONSTRAINT agents_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT agents_config_is_object CHECK (jsonb_typeof(config) = 'object')
);

CREATE TABLE tasks (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    agent_id UUID NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    status run_status NOT NULL DEFAULT 'pending',
    priority SMALLINT NOT NULL DEFAULT 5,
    input JSONB NOT NULL DEFAULT '{}'::jsonb,
    due_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT tasks_title_not_blank CHECK (btrim(title) <> ''),
    CONSTRAINT tasks_priority_range CHECK (priority BETWEEN 0 AND 9),
    CONSTRAINT tasks_input_is_object CHECK (jsonb_typeof(input) = 'object')
);

CREATE TABLE executions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    task_id UUID NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL DEFAULT 1,
    status run_status NOT NULL DEFAULT 'pending',
    output JSONB,
    error JSONB,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT executions_task_id_attempt_key UNIQUE (task_id, attempt),
    CONSTRAINT executions_attempt_positive CHECK (attempt > 0),
    CONSTRAINT executions_finish_follows_start CHECK (
        finished_at IS NULL OR (started_at IS NOT NULL AND finished_at >= started_at)
    ),
    CONSTRAINT executions_error_means_failure CHECK (error IS NULL OR status = 'failed')
);

CREATE TABLE metrics (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id UUID NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    execution_id UUID REFERENCES executions (id) ON DELETE SET NULL,
    name TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    labels JSONB NOT NULL DEFAULT '{}'::jsonb,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT metrics_name_format CHECK (name ~ '^[a-z][a-z0-9_.]*$'),
    CONSTRAINT metrics_labels_is_object CHECK (jsonb_typeof(labels) = 'object')
);

CREATE TRIGGER agents_set_updated_at
    BEFORE UPDATE ON agents
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER tasks_set_updated_at
    BEFORE UPDATE ON tasks
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

CREATE TRIGGER executions_set_updated_at
    BEFORE UPDATE ON executions
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();

COMMENT ON TYPE run_status IS 'Where a task or one attempt at it stands';
COMMENT ON TABLE agents IS 'Agents, each owned by one user';
COMMENT ON TABLE tasks IS 'Work given to an agent';
COMMENT ON TABLE executions IS 'Attempts at a task, numbered from one';
COMMENT ON TABLE metrics IS 'Measurements of agents and their executions, never changed once written';
COMMENT ON COLUMN tasks.priority IS 'From 0 (last) to 9 (first)';

-- New tables are open to the API roles by default. These stay closed until
-- policies guard them, and are closed again when the policies are taken away.
REVOKE ALL ON agents, tasks, executions, metrics FROM anon, authenticated, service_role;
REVOKE ALL ON SEQUENCE metrics_id_seq FROM anon, authenticated, service_role;
