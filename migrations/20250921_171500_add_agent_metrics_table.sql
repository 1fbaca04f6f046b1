-- Migration: add_agent_metrics_table
-- Created: 2025-09-21T17:15:00Z
-- Description: Add Agent Metrics Table

CREATE TABLE agent_metrics (
    id SERIAL PRIMARY KEY,
    agent_id VARCHAR(255) NOT NULL,
    metric_type VARCHAR(100) NOT NULL,
    metric_value DECIMAL(10,4) NOT NULL,
    recorded_at TIMESTAMP DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb
);

CREATE INDEX idx_agent_metrics_agent_id ON agent_metrics(agent_id);
CREATE INDEX idx_agent_metrics_type ON agent_metrics(metric_type);
CREATE INDEX idx_agent_metrics_recorded_at ON agent_metrics(recorded_at);

ALTER TABLE agent_metrics ENABLE ROW LEVEL SECURITY;

CREATE POLICY "Agent metrics access policy" ON agent_metrics
    FOR ALL
    USING (auth.uid()::text = (metadata->>'user_id'));
