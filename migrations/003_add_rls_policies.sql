-- Migration: add_rls_policies
-- Created: 2025-09-21T16:40:00Z
-- Description: Add RLS Policies

ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE executions ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics ENABLE ROW LEVEL SECURITY;

-- auth.uid() stands in a sub-select so that it is asked once for each query
-- instead of once for each row.

-- Agents: a user sees and manages their own, and cannot give one away.
CREATE POLICY "Users read their agents" ON agents
    FOR SELECT TO authenticated
    USING (owner_id = (SELECT auth.uid()));

CREATE POLICY "Users create their agents" ON agents
    FOR INSERT TO authenticated
    WITH CHECK (owner_id = (SELECT auth.uid()));

CREATE POLICY "Users change their agents" ON agents
    FOR UPDATE TO authenticated
    USING (owner_id = (SELECT auth.uid()))
    WITH CHECK (owner_id = (SELECT auth.uid()));

CREATE POLICY "Users delete their agents" ON agents
    FOR DELETE TO authenticated
    USING (owner_id = (SELECT auth.uid()));

-- Tasks: managed by whoever owns the agent.
CREATE POLICY "Users manage tasks of their agents" ON tasks
    FOR ALL TO authenticated
    USING (
        agent_id IN (SELECT id FROM agents WHERE owner_id = (SELECT auth.uid()))
    )
    WITH CHECK (
        agent_id IN (SELECT id FROM agents WHERE owner_id = (SELECT auth.uid()))
    );

-- Executions and metrics: written by the platform as service_role, which
-- bypasses row level security, and only read by the owner of the agent.
CREATE POLICY "Users read executions of their agents" ON executions
    FOR SELECT TO authenticated
    USING (
        task_id IN (
            SELECT tasks.id
            FROM tasks
            JOIN agents ON agents.id = tasks.agent_id
            WHERE agents.owner_id = (SELECT auth.uid())
        )
    );

CREATE POLICY "Users read metrics of their agents" ON metrics
    FOR SELECT TO authenticated
    USING (
        agent_id IN (SELECT id FROM agents WHERE owner_id = (SELECT auth.uid()))
    );

-- Anonymous callers have no business here, whatever the defaults gave them.
REVOKE ALL ON agents, tasks, executions, metrics FROM anon;

GRANT SELECT, INSERT, UPDATE, DELETE ON agents, tasks TO authenticated;
GRANT SELECT ON executions, metrics TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON agents, tasks, executions, metrics TO service_role;
