-- One login for each service that uses the ledger, and one that owns and migrates the database.
-- Run once on an empty database by psql as an administrator; passwords come from the environment.
-- A login has no rights of its own (NOINHERIT): the service takes on its role with SET ROLE, and can take on no other.
\set ON_ERROR_STOP on
\getenv prepare POSTGRES_PREPARE_PASSWORD
\getenv risk POSTGRES_RISK_PASSWORD
\getenv executor POSTGRES_EXECUTOR_PASSWORD
\getenv gateway POSTGRES_GATEWAY_PASSWORD
BEGIN;
CREATE ROLE tt_risk NOLOGIN;
CREATE ROLE tt_executor NOLOGIN;
CREATE ROLE tt_gateway NOLOGIN;
CREATE ROLE prepare LOGIN CREATEROLE PASSWORD :'prepare';
CREATE ROLE risk LOGIN NOINHERIT PASSWORD :'risk' IN ROLE tt_risk;
CREATE ROLE executor LOGIN NOINHERIT PASSWORD :'executor' IN ROLE tt_executor;
CREATE ROLE gateway LOGIN NOINHERIT PASSWORD :'gateway' IN ROLE tt_gateway;
GRANT tt_risk, tt_executor, tt_gateway TO prepare WITH ADMIN OPTION;
GRANT prepare TO CURRENT_USER; -- an administrator who is no superuser may only then hand the database over
ALTER DATABASE tastytrades OWNER TO prepare;
REVOKE CONNECT, TEMPORARY ON DATABASE tastytrades FROM PUBLIC;
GRANT CONNECT ON DATABASE tastytrades TO risk, executor, gateway;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
COMMIT;
