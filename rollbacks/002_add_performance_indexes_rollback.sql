-- Rollback for: 002_add_performance_indexes
-- Created: 2025-09-21T16:20:00Z
-- Description: Add Performance Indexes

DROP INDEX idx_metrics_labels;
DROP INDEX idx_metrics_execution;
DROP INDEX idx_metrics_agent_name_recorded;

DROP INDEX idx_executions_error_code;
DROP INDEX idx_executions_running;

DROP INDEX idx_tasks_input;
DROP INDEX idx_tasks_due;
DROP INDEX idx_tasks_queue;
DROP INDEX idx_tasks_agent_created;

DROP INDEX idx_agents_active_owner;
DROP INDEX idx_agents_config;
DROP INDEX idx_agents_lower_name;
