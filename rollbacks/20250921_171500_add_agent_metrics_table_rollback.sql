-- Rollback for: 20250921_171500_add_agent_metrics_table
-- Created: 2025-09-21T17:15:00Z
-- Description: Add Agent Metrics Table

DROP POLICY "Agent metrics access policy" ON agent_metrics;

DROP INDEX idx_agent_metrics_recorded_at;
DROP INDEX idx_agent_metrics_type;
DROP INDEX idx_agent_metrics_agent_id;

DROP TABLE agent_metrics;
