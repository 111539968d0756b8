-- +goose Up
-- How often in a row a text could not be fetched.
ALTER TABLE portal_texts ADD COLUMN misses BIGINT NOT NULL DEFAULT 0;
-- What somebody did, whatever it was about.
CREATE INDEX portal_events_actor ON portal_events (actor, id);
