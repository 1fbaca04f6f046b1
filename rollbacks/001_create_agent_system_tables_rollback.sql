-- Rollback for: 001_create_agent_system_tables
-- Created: 2025-09-21T16:00:00Z
-- Description: Create Agent System Tables

-- A table takes its triggers, constraints and comments along.
DROP TABLE metrics;
DROP TABLE executions;
DROP TABLE tasks;
DROP TABLE agents;

DROP FUNCTION set_updated_at();

DROP TYPE run_status;
