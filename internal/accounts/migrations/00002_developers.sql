-- +goose Up
-- What developers see of their apps. A request is of an app, by a template of its path: no value of a member is in
-- it. The id tells requests of one millisecond apart.
CREATE TABLE client_requests (
    client  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    id      TEXT   NOT NULL,
    method  TEXT   NOT NULL,
    route   TEXT   NOT NULL,
    status  BIGINT NOT NULL,
    cause   TEXT   NOT NULL,
    request TEXT   NOT NULL,
    PRIMARY KEY (client, at, id)
);
CREATE INDEX client_requests_at ON client_requests (at);

ALTER TABLE client_secrets ADD COLUMN id TEXT NOT NULL DEFAULT '';
ALTER TABLE client_secrets ADD COLUMN created BIGINT NOT NULL DEFAULT 0;
ALTER TABLE client_secrets ADD COLUMN last_used BIGINT NOT NULL DEFAULT 0;
-- Secrets of before are numbered.
UPDATE client_secrets SET id = (SELECT CAST(COUNT(*) AS TEXT) FROM client_secrets o
    WHERE o.client = client_secrets.client AND o.secret_sum <= client_secrets.secret_sum);

ALTER TABLE clients ADD COLUMN app TEXT NOT NULL DEFAULT '';
CREATE INDEX clients_app ON clients (app);
