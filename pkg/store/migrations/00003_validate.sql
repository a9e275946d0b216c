-- +goose NO TRANSACTION
-- +goose Up

-- Each by itself: what is checked is read, and nobody is kept from writing meanwhile.
ALTER TABLE runs VALIDATE CONSTRAINT runs_status_check;
ALTER TABLE runs VALIDATE CONSTRAINT runs_check;
ALTER TABLE changes VALIDATE CONSTRAINT changes_outcome_check;
