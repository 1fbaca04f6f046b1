-- Rollback for: 003_add_rls_policies
-- Created: 2025-09-21T16:40:00Z
-- Description: Add RLS Policies

-- The grants go first: without policies the tables must not stay reachable.
REVOKE ALL ON agents, tasks, executions, metrics FROM authenticated, service_role;

DROP POLICY "Users read metrics of their agents" ON metrics;
DROP POLICY "Users read executions of their agents" ON executions;
DROP POLICY "Users manage tasks of their agents" ON tasks;
DROP POLICY "Users delete their agents" ON agents;
DROP POLICY "Users change their agents" ON agents;
DROP POLICY "Users create their agents" ON agents;
DROP POLICY "Users read their agents" ON agents;

ALTER TABLE metrics DISABLE ROW LEVEL SECURITY;
ALTER TABLE executions DISABLE ROW LEVEL SECURITY;
ALTER TABLE tasks DISABLE ROW LEVEL SECURITY;
ALTER TABLE agents DISABLE ROW LEVEL SECURITY;
