-- +goose NO TRANSACTION
-- +goose Up

-- By itself: what is checked is read, and nobody is kept from writing meanwhile.
ALTER TABLE runs VALIDATE CONSTRAINT runs_status_check;
