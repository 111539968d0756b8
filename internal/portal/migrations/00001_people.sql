-- +goose Up
-- Instants are milliseconds since 1970, 0 is none. Columns that end in _sum are SHA-256 sums in hexadecimal of what
-- is random; those that end in _mac are HMACs with the seal, of what people type; sealed ones are AES-256-GCM in
-- base64. Lists and what nobody searches by are JSON.
CREATE TABLE portal_people (
    id       TEXT   PRIMARY KEY,
    email    TEXT   NOT NULL,
    verified BIGINT NOT NULL,
    name     TEXT   NOT NULL,
    staff    TEXT   NOT NULL,
    status   TEXT   NOT NULL,
    issuer   TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    about    TEXT   NOT NULL,
    created  BIGINT NOT NULL,
    seen     BIGINT NOT NULL
);
-- Only who has shown that an address is theirs keeps others from it.
CREATE UNIQUE INDEX portal_people_email ON portal_people (email) WHERE verified <> 0;
CREATE UNIQUE INDEX portal_people_subject ON portal_people (issuer, subject) WHERE issuer <> '';
CREATE INDEX portal_people_staff ON portal_people (staff);
CREATE INDEX portal_people_created ON portal_people (created);
CREATE TABLE portal_passwords (
    person   TEXT PRIMARY KEY REFERENCES portal_people (id) ON DELETE CASCADE,
    password TEXT NOT NULL
);
-- Step is that of the last code that was taken, so that a code is good once. Next is a key that is not proved yet.
CREATE TABLE portal_factors (
    person TEXT   PRIMARY KEY REFERENCES portal_people (id) ON DELETE CASCADE,
    sealed TEXT   NOT NULL,
    step   BIGINT NOT NULL,
    next   TEXT   NOT NULL
);
CREATE TABLE portal_recovery (
    person   TEXT NOT NULL REFERENCES portal_people (id) ON DELETE CASCADE,
    code_mac TEXT NOT NULL,
    PRIMARY KEY (person, code_mac)
);
CREATE TABLE portal_sessions (
    id_sum  TEXT   PRIMARY KEY,
    person  TEXT   NOT NULL REFERENCES portal_people (id) ON DELETE CASCADE,
    kind    TEXT   NOT NULL,
    fresh   BIGINT NOT NULL,
    seen    BIGINT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX portal_sessions_person ON portal_sessions (person);
CREATE INDEX portal_sessions_expires ON portal_sessions (expires);
-- What mails carry. A token of the kind none opens nothing: it is kept where another would tell that there is an account.
CREATE TABLE portal_tokens (
    token_sum   TEXT   PRIMARY KEY,
    kind        TEXT   NOT NULL,
    person      TEXT   NOT NULL,
    address_mac TEXT   NOT NULL,
    sealed      TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    expires     BIGINT NOT NULL
);
CREATE INDEX portal_tokens_address ON portal_tokens (address_mac, created);
CREATE INDEX portal_tokens_person ON portal_tokens (person);
CREATE INDEX portal_tokens_expires ON portal_tokens (expires);

-- Solo is the person whose own organisation it is, or ''.
CREATE TABLE portal_organisations (
    id      TEXT   PRIMARY KEY,
    version BIGINT NOT NULL,
    name    TEXT   NOT NULL,
    solo    TEXT   NOT NULL,
    about   TEXT   NOT NULL,
    created BIGINT NOT NULL,
    closed  BIGINT NOT NULL
);
CREATE UNIQUE INDEX portal_organisations_solo ON portal_organisations (solo) WHERE solo <> '';
CREATE TABLE portal_members (
    org    TEXT   NOT NULL REFERENCES portal_organisations (id),
    person TEXT   NOT NULL REFERENCES portal_people (id),
    role   TEXT   NOT NULL,
    since  BIGINT NOT NULL,
    PRIMARY KEY (org, person)
);
CREATE INDEX portal_members_person ON portal_members (person);
-- Address and family name are gone once it is not pending any more.
CREATE TABLE portal_invitations (
    id        TEXT   PRIMARY KEY,
    token_sum TEXT   NOT NULL UNIQUE,
    org       TEXT   NOT NULL REFERENCES portal_organisations (id),
    email     TEXT   NOT NULL,
    family    TEXT   NOT NULL,
    role      TEXT   NOT NULL,
    invited   TEXT   NOT NULL,
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    state     TEXT   NOT NULL
);
CREATE UNIQUE INDEX portal_invitations_pending ON portal_invitations (org, email) WHERE state = 'pending';

-- Every step, for ever: nothing here is changed or removed.
CREATE TABLE portal_events (
    id          TEXT   PRIMARY KEY,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    application TEXT   NOT NULL,
    org         TEXT   NOT NULL,
    app         TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    state_from  TEXT   NOT NULL,
    state_to    TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    criterion   TEXT   NOT NULL,
    note        TEXT   NOT NULL
);
CREATE INDEX portal_events_application ON portal_events (application, id);
CREATE INDEX portal_events_org ON portal_events (org, id);
CREATE INDEX portal_events_subject ON portal_events (subject, id);

-- Mails that wait. They are sealed: they have addresses and tokens.
CREATE TABLE portal_outbox (
    id      TEXT   PRIMARY KEY,
    kind    TEXT   NOT NULL,
    sealed  TEXT   NOT NULL,
    tries   BIGINT NOT NULL,
    next    BIGINT NOT NULL,
    leased  BIGINT NOT NULL,
    lease   TEXT   NOT NULL,
    failed  BIGINT NOT NULL,
    created BIGINT NOT NULL,
    until   BIGINT NOT NULL
);
CREATE INDEX portal_outbox_next ON portal_outbox (failed, next);

-- What people write to the agency, and who they are, is sealed: it may be about their health.
CREATE TABLE portal_tickets (
    id          TEXT   PRIMARY KEY,
    kind        TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    person      TEXT   NOT NULL,
    address_mac TEXT   NOT NULL,
    client      TEXT   NOT NULL,
    app         TEXT   NOT NULL,
    language    TEXT   NOT NULL,
    sealed      TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    changed     BIGINT NOT NULL
);
CREATE INDEX portal_tickets_state ON portal_tickets (state, changed);
CREATE INDEX portal_tickets_address ON portal_tickets (address_mac, created);
CREATE TABLE portal_replies (
    id     TEXT   PRIMARY KEY,
    ticket TEXT   NOT NULL REFERENCES portal_tickets (id) ON DELETE CASCADE,
    person TEXT   NOT NULL,
    sealed TEXT   NOT NULL,
    at     BIGINT NOT NULL
);
CREATE INDEX portal_replies_ticket ON portal_replies (ticket, id);
