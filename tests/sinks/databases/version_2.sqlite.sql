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
INSERT INTO meta (key, value) VALUES ('schema_version', '2');
INSERT INTO series (id, metric, "window", dimensions, names) VALUES (1, 'edits', '1m', '{"channel":"#en"}', '["channel"]'), (2, 'edits', '1m', '{"channel":"#de"}', '["channel"]');
INSERT INTO series_dimension (name, value, series_id) VALUES ('channel', '#en', 1), ('channel', '#de', 2);
INSERT INTO points (series_id, start_ms, value, value_json, count, state, revision, watermark_ms, error) VALUES (1, 1442016000000, 7.0, '7', 7, 'final', 3, 1442016065000, NULL), (1, 1442016060000, NULL, '{"p50": 1.5}', 4, 'open', 1, 1442016065000, 0.01), (2, 1442016000000, 0.5, '0.5', 2, 'corrected', 5, 1442016065000, NULL);
