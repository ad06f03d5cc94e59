CREATE TABLE meta (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key)
);
CREATE TABLE series (
    id BIGSERIAL NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
    "window" TEXT COLLATE "C" NOT NULL,
    dimensions TEXT COLLATE "C" NOT NULL,
    names TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (metric, "window", dimensions)
);
COMMENT ON COLUMN series.dimensions IS 'canonical JSON object: sorted names, no spaces';
COMMENT ON COLUMN series.names IS 'JSON array: the names in the order of the metric''s `by`';
CREATE TABLE alerts (
    id TEXT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
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
COMMENT ON COLUMN alerts.at_ms IS 'the latest of last_seen_ms and resolved_ms';
COMMENT ON COLUMN alerts.stage IS '0 open, 1 acknowledged, 2 resolved: never back at one moment';
COMMENT ON COLUMN alerts.state_json IS 'the whole alert';
CREATE TABLE scored_series (
    id BIGSERIAL NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    dimensions TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
    "window" TEXT COLLATE "C" NOT NULL,
    names TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (rule, dimensions)
);
CREATE INDEX scored_series_by_metric ON scored_series (metric, "window");
COMMENT ON COLUMN scored_series.dimensions IS 'canonical JSON object: sorted names, no spaces';
COMMENT ON COLUMN scored_series.names IS 'JSON array: the names in the order of the metric''s `by`';
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
COMMENT ON COLUMN silences.rule IS 'NULL: every rule';
COMMENT ON COLUMN silences.dimensions IS 'JSON array of pairs; none for all series';
CREATE TABLE rules (
    rule TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    series_json TEXT NOT NULL,
    PRIMARY KEY (rule)
);
COMMENT ON COLUMN rules.series_json IS 'how many series are learning, ok, pending, firing, …';
CREATE TABLE deliveries (
    id BIGSERIAL NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    notification TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at_ms BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    duration_ms DOUBLE PRECISION,
    error TEXT,
    PRIMARY KEY (id)
);
CREATE INDEX ix_deliveries_at_ms ON deliveries (at_ms);
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint, at_ms);
CREATE TABLE person_lines (
    person TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    reference BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    fields_json TEXT NOT NULL,
    PRIMARY KEY (person, kind, reference)
);
CREATE INDEX person_lines_by_time ON person_lines (person, at_ms);
COMMENT ON COLUMN person_lines.person IS 'pseudonym, 32 hex digits';
CREATE TABLE churn_scores (
    person TEXT COLLATE "C" NOT NULL,
    as_of_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    level TEXT NOT NULL,
    probability DOUBLE PRECISION NOT NULL,
    segment TEXT NOT NULL,
    score_json TEXT NOT NULL,
    PRIMARY KEY (person)
);
CREATE INDEX churn_scores_by_change ON churn_scores (changed_ms);
CREATE INDEX churn_scores_by_level ON churn_scores (level, probability DESC, person);
COMMENT ON COLUMN churn_scores.person IS 'pseudonym, 32 hex digits';
COMMENT ON COLUMN churn_scores.as_of_ms IS 'what was known up to this moment, itself included';
COMMENT ON COLUMN churn_scores.changed_ms IS 'as_of_ms of the first score of this level in a row';
COMMENT ON COLUMN churn_scores.level IS 'low, medium or high';
COMMENT ON COLUMN churn_scores.score_json IS 'all else that is said of them';
CREATE TABLE models (
    name TEXT COLLATE "C" NOT NULL,
    at_ms BIGINT NOT NULL,
    status_json TEXT NOT NULL,
    PRIMARY KEY (name)
);
COMMENT ON COLUMN models.status_json IS 'how the model stands';
CREATE TABLE series_dimension (
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    series_id BIGINT NOT NULL,
    PRIMARY KEY (name, value, series_id),
    FOREIGN KEY(series_id) REFERENCES series (id) ON DELETE CASCADE
);
CREATE INDEX ix_series_dimension_series_id ON series_dimension (series_id);
CREATE TABLE points (
    series_id BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    value DOUBLE PRECISION,
    value_json TEXT NOT NULL,
    count BIGINT NOT NULL,
    state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    watermark_ms BIGINT NOT NULL,
    error DOUBLE PRECISION,
    PRIMARY KEY (series_id, start_ms),
    FOREIGN KEY(series_id) REFERENCES series (id)
);
COMMENT ON COLUMN points.value IS 'for SQL readers: the value where it is one number, NULL elsewhere';
COMMENT ON COLUMN points.value_json IS 'the exact value as JSON';
COMMENT ON COLUMN points.error IS 'how far off the value may be, as a share of it; NULL where it is exact';
CREATE TABLE scores (
    series_id BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    value DOUBLE PRECISION,
    score DOUBLE PRECISION NOT NULL,
    warm BOOLEAN NOT NULL,
    anomalous BOOLEAN NOT NULL,
    expected DOUBLE PRECISION,
    lower DOUBLE PRECISION,
    upper DOUBLE PRECISION,
    why TEXT NOT NULL,
    PRIMARY KEY (series_id, start_ms),
    FOREIGN KEY(series_id) REFERENCES scored_series (id)
);
INSERT INTO meta (key, value) VALUES ('schema_version', '5');
INSERT INTO series (id, metric, "window", dimensions, names) VALUES (1, 'edits', '1m', '{"channel":"#en"}', '["channel"]'), (2, 'edits', '1m', '{"channel":"#de"}', '["channel"]');
INSERT INTO series_dimension (name, value, series_id) VALUES ('channel', '#en', 1), ('channel', '#de', 2);
INSERT INTO points (series_id, start_ms, value, value_json, count, state, revision, watermark_ms, error) VALUES (1, 1442016000000, 7.0, '7', 7, 'final', 3, 1442016065000, NULL), (1, 1442016060000, NULL, '{"p50": 1.5}', 4, 'open', 1, 1442016065000, 0.01), (2, 1442016000000, 0.5, '0.5', 2, 'corrected', 5, 1442016065000, NULL);
INSERT INTO rules (rule, at_ms, series_json) VALUES ('busy', 1442016065000, '{"ok": 2}');
INSERT INTO silences (id, rule, dimensions, made_by, reason, made_ms, until_ms) VALUES ('s1', 'busy', '[["channel", "#en"]]', 'Ada', 'migration', 1442016000000, 1442020000000);
INSERT INTO scored_series (id, rule, dimensions, metric, "window", names) VALUES (1, 'busy', '{"channel":"#en"}', 'edits', '1m', '["channel"]');
INSERT INTO scores (series_id, start_ms, value, score, warm, anomalous, expected, lower, upper, why) VALUES (1, 1442016000000, 7.0, 2.5, true, false, 6.0, 4.0, 8.0, 'a record');
INSERT INTO deliveries (endpoint, notification, attempt, at_ms, outcome, status, duration_ms, error) VALUES ('ops', 'n1', 1, 1442016065000, 'delivered', 200, 12.5, NULL);
INSERT INTO person_lines (person, kind, reference, at_ms, fields_json) VALUES ('a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3', 'session', 5, 1442016000000, '{"pages": 3}');
INSERT INTO models (name, at_ms, status_json) VALUES ('churn', 1442016000000, '{}');
INSERT INTO churn_scores (person, as_of_ms, changed_ms, level, probability, segment, score_json) VALUES ('a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3', 1442016000000, 1442016000000, 'low', 0.125, '', '{}');
SELECT setval('series_id_seq', 2);
SELECT setval('scored_series_id_seq', 1);
