-- +goose Up
-- What members were told when they allowed something. The words are kept once for all who read the same ones; they
-- have no value of a member. A receipt stays as long as its grant.
CREATE TABLE statements (
    digest TEXT PRIMARY KEY,
    words  TEXT NOT NULL
);
CREATE TABLE receipts (
    grant_id TEXT   PRIMARY KEY REFERENCES grants (id) ON DELETE CASCADE,
    digest   TEXT   NOT NULL REFERENCES statements (digest),
    about    TEXT   NOT NULL,
    created  BIGINT NOT NULL
);
