CREATE TABLE meta (
    "key" TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE series (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    metric TEXT NOT NULL,
    window TEXT NOT NULL,
    dimensions TEXT NOT NULL,
    names TEXT NOT NULL,
    UNIQUE (metric, window, dimensions)
);
CREATE TABLE alerts (
    id TEXT NOT NULL,
    rule TEXT NOT NULL,
    metric TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    last_seen_ms BIGINT NOT NULL,
    resolved_ms BIGINT,
    at_ms BIGINT NOT NULL,
    stage INTEGER NOT NULL,
    state_json TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX alerts_by_opening ON alerts (opened_ms);
CREATE INDEX alerts_by_status ON alerts (status, opened_ms);
CREATE TABLE scored_series (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    rule TEXT NOT NULL,
    dimensions TEXT NOT NULL,
    metric TEXT NOT NULL,
    window TEXT NOT NULL,
    names TEXT NOT NULL,
    UNIQUE (rule, dimensions)
);
CREATE INDEX scored_series_by_metric ON scored_series (metric, window);
CREATE TABLE silences (
    id TEXT NOT NULL,
    rule TEXT,
    dimensions TEXT NOT NULL,
    made_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_silences_until_ms ON silences (until_ms);
CREATE TABLE rules (
    rule TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    series_json TEXT NOT NULL,
    PRIMARY KEY (rule)
);
CREATE TABLE deliveries (
    id INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    notification TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    duration_ms DOUBLE,
    error TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX ix_deliveries_at_ms ON deliveries (at_ms);
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint, at_ms);
CREATE TABLE series_dimension (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    series_id INTEGER NOT NULL,
    PRIMARY KEY (name, value, series_id),
    FOREIGN KEY(series_id) REFERENCES series (id) ON DELETE CASCADE
);
CREATE INDEX ix_series_dimension_series_id ON series_dimension (series_id);
CREATE TABLE points (
    series_id INTEGER NOT NULL,
    start_ms BIGINT NOT NULL,
    value DOUBLE,
    value_json TEXT NOT NULL,
    count BIGINT NOT NULL,
    state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    watermark_ms BIGINT NOT NULL,
    error DOUBLE,
    PRIMARY KEY (series_id, start_ms),
    FOREIGN KEY(series_id) REFERENCES series (id)
)
 WITHOUT ROWID;
CREATE TABLE scores (
    series_id INTEGER NOT NULL,
    start_ms BIGINT NOT NULL,
    value DOUBLE,
    score DOUBLE NOT NULL,
    warm BOOLEAN NOT NULL,
    anomalous BOOLEAN NOT NULL,
    expected DOUBLE,
    lower DOUBLE,
    upper DOUBLE,
    why TEXT NOT NULL,
    PRIMARY KEY (series_id, start_ms),
    FOREIGN KEY(series_id) REFERENCES scored_series (id)
)
 WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('schema_version', '3');
INSERT INTO series (id, metric, "window", dimensions, names) VALUES (1, 'edits', '1m', '{"channel":"#en"}', '["channel"]'), (2, 'edits', '1m', '{"channel":"#de"}', '["channel"]');
INSERT INTO series_dimension (name, value, series_id) VALUES ('channel', '#en', 1), ('channel', '#de', 2);
INSERT INTO points (series_id, start_ms, value, value_json, count, state, revision, watermark_ms, error) VALUES (1, 1442016000000, 7.0, '7', 7, 'final', 3, 1442016065000, NULL), (1, 1442016060000, NULL, '{"p50": 1.5}', 4, 'open', 1, 1442016065000, 0.01), (2, 1442016000000, 0.5, '0.5', 2, 'corrected', 5, 1442016065000, NULL);
INSERT INTO rules (rule, at_ms, series_json) VALUES ('busy', 1442016065000, '{"ok": 2}');
INSERT INTO silences (id, rule, dimensions, made_by, reason, made_ms, until_ms) VALUES ('s1', 'busy', '[["channel", "#en"]]', 'Ada', 'migration', 1442016000000, 1442020000000);
INSERT INTO scored_series (id, rule, dimensions, metric, "window", names) VALUES (1, 'busy', '{"channel":"#en"}', 'edits', '1m', '["channel"]');
INSERT INTO scores (series_id, start_ms, value, score, warm, anomalous, expected, lower, upper, why) VALUES (1, 1442016000000, 7.0, 2.5, true, false, 6.0, 4.0, 8.0, 'a record');
INSERT INTO deliveries (endpoint, notification, attempt, at_ms, outcome, status, duration_ms, error) VALUES ('ops', 'n1', 1, 1442016065000, 'delivered', 200, 12.5, NULL);
