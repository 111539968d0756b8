-- +goose Up
-- Slot is what an application takes, such as production and the id of an app, as long as it is open; one that is over has
-- its own id there. So there is one open application of a kind for an organisation or app, whatever happens at once.
CREATE TABLE portal_applications (
    id       TEXT   PRIMARY KEY,
    slot     TEXT   NOT NULL UNIQUE,
    kind     TEXT   NOT NULL,
    org      TEXT   NOT NULL,
    app      TEXT   NOT NULL,
    state    TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    assignee TEXT   NOT NULL,
    due      BIGINT NOT NULL,
    since    BIGINT NOT NULL,
    changed  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    words    TEXT   NOT NULL, -- what staff search by, in lower case
    about    TEXT   NOT NULL,
    created  BIGINT NOT NULL
);
CREATE INDEX portal_applications_org ON portal_applications (org);
CREATE INDEX portal_applications_app ON portal_applications (app);
CREATE INDEX portal_applications_state ON portal_applications (state, since);
CREATE INDEX portal_applications_expires ON portal_applications (expires);

-- What was submitted, as it was.
CREATE TABLE portal_revisions (
    application TEXT   NOT NULL REFERENCES portal_applications (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    person        TEXT   NOT NULL,
    form        TEXT   NOT NULL,
    about       TEXT   NOT NULL,
    PRIMARY KEY (application, number)
);
-- The questions that were asked, by their digest.
CREATE TABLE portal_questions (
    form TEXT PRIMARY KEY,
    text TEXT NOT NULL
);
CREATE TABLE portal_messages (
    id          TEXT   PRIMARY KEY,
    application TEXT   NOT NULL REFERENCES portal_applications (id) ON DELETE CASCADE,
    person        TEXT   NOT NULL,
    staff       BIGINT NOT NULL,
    private     BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    text        TEXT   NOT NULL
);
CREATE INDEX portal_messages_application ON portal_messages (application, id);
-- A file is written before its row, and removed after it: one without a row is an orphan.
CREATE TABLE portal_documents (
    id          TEXT   PRIMARY KEY,
    application TEXT   NOT NULL REFERENCES portal_applications (id) ON DELETE CASCADE,
    question    TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    type        TEXT   NOT NULL,
    size        BIGINT NOT NULL,
    sha256      TEXT   NOT NULL,
    person        TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    removed     BIGINT NOT NULL -- by the applicant; it stays as long as a revision has it
);
CREATE INDEX portal_documents_application ON portal_documents (application, id);
-- How an application is found that came without an account. Address and language are sealed.
CREATE TABLE portal_visitors (
    application TEXT   PRIMARY KEY REFERENCES portal_applications (id) ON DELETE CASCADE,
    key_sum     TEXT   NOT NULL,
    token_sum   TEXT   NOT NULL,
    expires     BIGINT NOT NULL,
    client      TEXT   NOT NULL, -- that has registered itself, or ''
    address_mac TEXT   NOT NULL,
    sealed      TEXT   NOT NULL,
    created     BIGINT NOT NULL
);
CREATE INDEX portal_visitors_token ON portal_visitors (token_sum);
CREATE INDEX portal_visitors_address ON portal_visitors (address_mac, created);
CREATE UNIQUE INDEX portal_visitors_client ON portal_visitors (client) WHERE client <> '';

CREATE TABLE portal_apps (
    id         TEXT   PRIMARY KEY,
    org        TEXT   NOT NULL REFERENCES portal_organisations (id),
    version    BIGINT NOT NULL,
    sandbox    TEXT   NOT NULL,
    production TEXT   NOT NULL,
    logo       TEXT   NOT NULL,
    about      TEXT   NOT NULL,
    created    BIGINT NOT NULL,
    retired    BIGINT NOT NULL
);
CREATE INDEX portal_apps_org ON portal_apps (org);
-- Whose a name is, as it looks.
CREATE TABLE portal_names (
    skeleton TEXT PRIMARY KEY,
    org      TEXT NOT NULL
);
-- Whose a public key is, by its thumbprint: no two apps have the same.
CREATE TABLE portal_keys (
    thumbprint TEXT PRIMARY KEY,
    app        TEXT NOT NULL
);
CREATE TABLE portal_logos (
    id     TEXT   PRIMARY KEY,
    app    TEXT   NOT NULL REFERENCES portal_apps (id),
    base64 TEXT   NOT NULL,
    at     BIGINT NOT NULL
);
CREATE INDEX portal_logos_app ON portal_logos (app);
-- Policy and terms of apps in production: the sums of their words as they were confirmed, and as they were last seen.
CREATE TABLE portal_texts (
    app       TEXT   NOT NULL REFERENCES portal_apps (id),
    kind      TEXT   NOT NULL,
    url       TEXT   NOT NULL,
    confirmed TEXT   NOT NULL,
    seen      TEXT   NOT NULL,
    checked   BIGINT NOT NULL,
    PRIMARY KEY (app, kind)
);
CREATE INDEX portal_texts_checked ON portal_texts (checked);
-- Apps whose sandbox client must be made what it should be, where it is in another database.
CREATE TABLE portal_pending (
    app   TEXT   PRIMARY KEY,
    mark  TEXT   NOT NULL,
    tries BIGINT NOT NULL,
    next  BIGINT NOT NULL
);
-- What was done that must be done once, such as a reminder.
CREATE TABLE portal_done (
    what TEXT   PRIMARY KEY,
    at   BIGINT NOT NULL
);
-- What an app has shown in the sandbox, since the log of its requests is not kept for long.
CREATE TABLE portal_evidence (
    app         TEXT   NOT NULL REFERENCES portal_apps (id),
    interaction TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    times       BIGINT NOT NULL,
    PRIMARY KEY (app, interaction)
);
