#!/bin/sh
# Runs once, when the data folder is empty: a role and a database each for Prefect and for the farm's lineage.
set -eu
for name in prefect farm; do
  password=$(cat "/run/secrets/postgres/${name}-password")
  psql --set=ON_ERROR_STOP=1 --set=name="$name" --set=password="$password" --username=postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
