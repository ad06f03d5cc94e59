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
INSERT INTO meta (key, value) VALUES ('schema_version', '2');
INSERT INTO series (id, metric, "window", dimensions, names) VALUES (1, 'edits', '1m', '{"channel":"#en"}', '["channel"]'), (2, 'edits', '1m', '{"channel":"#de"}', '["channel"]');
INSERT INTO series_dimension (name, value, series_id) VALUES ('channel', '#en', 1), ('channel', '#de', 2);
INSERT INTO points (series_id, start_ms, value, value_json, count, state, revision, watermark_ms, error) VALUES (1, 1442016000000, 7.0, '7', 7, 'final', 3, 1442016065000, NULL), (1, 1442016060000, NULL, '{"p50": 1.5}', 4, 'open', 1, 1442016065000, 0.01), (2, 1442016000000, 0.5, '0.5', 2, 'corrected', 5, 1442016065000, NULL);
SELECT setval('series_id_seq', 2);
