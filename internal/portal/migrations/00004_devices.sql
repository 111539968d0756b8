-- +goose Up
-- Browsers in which a person has signed in fully, with the password of then: their failures are counted by themselves.
CREATE TABLE portal_devices (
    id_sum       TEXT   NOT NULL,
    person       TEXT   NOT NULL REFERENCES portal_people (id) ON DELETE CASCADE,
    password_mac TEXT   NOT NULL,
    expires      BIGINT NOT NULL,
    PRIMARY KEY (id_sum, person)
);
CREATE INDEX portal_devices_person ON portal_devices (person, expires);
CREATE INDEX portal_devices_expires ON portal_devices (expires);

-- Forms that came after their session was over, sealed, until their sender has signed in again: one of each session.
CREATE TABLE portal_typed (
    id_sum      TEXT   PRIMARY KEY,
    session_sum TEXT   NOT NULL UNIQUE,
    sealed      TEXT   NOT NULL,
    expires     BIGINT NOT NULL
);
CREATE INDEX portal_typed_expires ON portal_typed (expires);
