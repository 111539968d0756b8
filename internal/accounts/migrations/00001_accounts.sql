-- +goose Up
-- Instants are milliseconds since 1970, 0 is none. Columns that end in _sum are SHA-256 sums in hexadecimal of what
-- is random; sealed ones are AES-256-GCM in base64. Lists and what nobody searches by are JSON.
CREATE TABLE clients (
    id      TEXT   PRIMARY KEY,
    status  TEXT   NOT NULL,
    about   TEXT   NOT NULL,
    created BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
CREATE TABLE client_secrets (
    client     TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    secret_sum TEXT   NOT NULL,
    expires    BIGINT NOT NULL,
    PRIMARY KEY (client, secret_sum)
);
CREATE TABLE assertions (
    client  TEXT   NOT NULL,
    jti_sum TEXT   NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (client, jti_sum)
);
CREATE INDEX assertions_expires ON assertions (expires);

CREATE TABLE users (
    id      TEXT   PRIMARY KEY,
    issuer  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    created BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE TABLE links (
    user_id TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    patient TEXT   NOT NULL,
    role    TEXT   NOT NULL,
    source  TEXT   NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (user_id, patient)
);
CREATE INDEX links_patient ON links (patient);
CREATE TABLE logins (
    user_id  TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    password TEXT NOT NULL
);
-- The login is an HMAC with the seal: what people type there may be their password.
CREATE TABLE login_failures (
    login    TEXT   PRIMARY KEY,
    known    BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    last     BIGINT NOT NULL,
    locked   BIGINT NOT NULL
);
CREATE INDEX login_failures_last ON login_failures (known, last);
CREATE TABLE sessions (
    id_sum    TEXT   PRIMARY KEY,
    user_id   TEXT   NOT NULL,
    level     TEXT   NOT NULL,
    auth_time BIGINT NOT NULL,
    seen      BIGINT NOT NULL,
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL
);
CREATE INDEX sessions_expires ON sessions (expires);

CREATE TABLE requests (
    id_sum  TEXT   PRIMARY KEY,
    user_id TEXT   NOT NULL,
    decided BIGINT NOT NULL,
    about   TEXT   NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX requests_expires ON requests (expires);
CREATE TABLE grants (
    id        TEXT   PRIMARY KEY,
    client    TEXT   NOT NULL REFERENCES clients (id),
    user_id   TEXT   NOT NULL,
    patient   TEXT   NOT NULL,
    scopes    TEXT   NOT NULL,
    offline   BIGINT NOT NULL,
    auth_time BIGINT NOT NULL,
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    revoked   BIGINT NOT NULL,
    last_used BIGINT NOT NULL
);
CREATE INDEX grants_user ON grants (user_id, patient);
CREATE INDEX grants_patient ON grants (patient);
CREATE INDEX grants_client ON grants (client);
CREATE INDEX grants_expires ON grants (expires);
CREATE TABLE codes (
    code_sum TEXT   PRIMARY KEY,
    grant_id TEXT   NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    used     BIGINT NOT NULL,
    about    TEXT   NOT NULL,
    expires  BIGINT NOT NULL
);
CREATE INDEX codes_grant ON codes (grant_id);
CREATE INDEX codes_expires ON codes (expires);
-- All that an access token opens is in one column, since it is read for each request to the API.
CREATE TABLE access_tokens (
    token_sum TEXT   PRIMARY KEY,
    grant_id  TEXT   NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    about     TEXT   NOT NULL,
    expires   BIGINT NOT NULL
);
CREATE INDEX access_tokens_grant ON access_tokens (grant_id);
CREATE INDEX access_tokens_expires ON access_tokens (expires);
-- The answer is that of the rotation, for who repeats it before repeats.
CREATE TABLE refresh_tokens (
    token_sum TEXT   PRIMARY KEY,
    grant_id  TEXT   NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    expires   BIGINT NOT NULL,
    used      BIGINT NOT NULL,
    successor TEXT   NOT NULL,
    answer    TEXT   NOT NULL,
    repeats   BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_grant ON refresh_tokens (grant_id);
CREATE INDEX refresh_tokens_repeats ON refresh_tokens (repeats);

CREATE TABLE signing_keys (
    id        TEXT   PRIMARY KEY,
    algorithm TEXT   NOT NULL,
    number    BIGINT NOT NULL,
    sealed    TEXT   NOT NULL,
    created   BIGINT NOT NULL,
    active    BIGINT NOT NULL,
    retired   BIGINT NOT NULL,
    removed   BIGINT NOT NULL,
    UNIQUE (algorithm, number)
);
CREATE TABLE secrets (
    name   TEXT PRIMARY KEY,
    sealed TEXT NOT NULL
);
