-- Migration: add_performance_indexes
-- Created: 2025-09-21T16:20:00Z
-- Description: Add Performance Indexes

-- Agents: searched by name regardless of case, and by settings inside config.
CREATE INDEX idx_agents_lower_name ON agents (lower(name));
CREATE INDEX idx_agents_config ON agents USING gin (config jsonb_path_ops);
CREATE INDEX idx_agents_active_owner ON agents (owner_id) WHERE is_active;

-- Tasks: listed per agent with the newest first; the queue looks only at what waits.
CREATE INDEX idx_tasks_agent_created ON tasks (agent_id, created_at DESC);
CREATE INDEX idx_tasks_queue ON tasks (priority DESC, created_at) WHERE status = 'pending';
CREATE INDEX idx_tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX idx_tasks_input ON tasks USING gin (input);

-- Executions: what is running now, and which failures repeat. The unique
-- constraint on task and attempt already serves the look-up by task.
CREATE INDEX idx_executions_running ON executions (started_at) WHERE status = 'running';
CREATE INDEX idx_executions_error_code ON executions ((error ->> 'code')) WHERE error IS NOT NULL;

-- Metrics: one series over time, one execution, or anything carrying a label.
CREATE INDEX idx_metrics_agent_name_recorded ON metrics (agent_id, name, recorded_at DESC);
CREATE INDEX idx_metrics_execution ON metrics (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX idx_metrics_labels ON metrics USING gin (labels jsonb_path_ops);
