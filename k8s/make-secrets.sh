#!/bin/sh
# Make the farm's secrets with fresh random passwords, where they are not there yet. Nothing is printed or written to disk.
#   k8s/make-secrets.sh local     everything, for the pods of overlays/local
#   k8s/make-secrets.sh cloud     Prefect's credential; the rest comes from you:
#       PREFECT_DATABASE  postgresql+asyncpg://user:password@host/prefect
#       FARM_DATABASE     postgresql+psycopg://user:password@host/farm
#       AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY  of a user that may read and write the bucket
set -eu

control=avatar-farm
render=avatar-farm-render
random() { openssl rand -hex 24; }

create_secret() { # namespace, name, then key=value ...: fed through stdin, so that no value shows in a process list
  namespace=$1 name=$2
  shift 2
  if kubectl --namespace "$namespace" get secret "$name" >/dev/null 2>&1; then
    echo "$namespace/$name: there already, kept"
    return
  fi
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ndata:\n' "$name" "$namespace"
    for pair in "$@"; do
      printf '  %s: %s\n' "${pair%%=*}" "$(printf %s "${pair#*=}" | openssl base64 -A)"
    done
  } | kubectl create --filename - >/dev/null
  echo "$namespace/$name: made"
}

case "${1:-}" in
local)
  for missing in "$control prefect-database" "$control postgres" "$control object-store" "$render farm-runtime"; do
    # shellcheck disable=SC2086
    set -- $missing
    if kubectl --namespace "$1" get secret "$2" >/dev/null 2>&1; then
      echo "$1/$2 is there: the passwords belong together; delete all four, and the volume of postgres, to begin anew" >&2
      exit 1
    fi
  done
  prefect=$(random) farm=$(random) access=$(openssl rand -hex 10) secret=$(random)
  create_secret $control postgres "postgres-password=$(random)" "prefect-password=$prefect" "farm-password=$farm"
  create_secret $control prefect-database "url=postgresql+asyncpg://prefect:$prefect@postgres.$control.svc:5432/prefect"
  create_secret $control object-store "access-key=$access" "secret-key=$secret"
  create_secret $render farm-runtime "FARM_DATABASE=postgresql+psycopg://farm:$farm@postgres.$control.svc:5432/farm" \
    "AWS_ACCESS_KEY_ID=$access" "AWS_SECRET_ACCESS_KEY=$secret"
  ;;
cloud)
  create_secret $control prefect-database "url=${PREFECT_DATABASE:?the address of Prefect's database}"
  create_secret $render farm-runtime "FARM_DATABASE=${FARM_DATABASE:?the address of the farm's database}" \
    "AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:?}" "AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:?}"
  ;;
*)
  echo "usage: k8s/make-secrets.sh local|cloud" >&2
  exit 2
  ;;
esac

if ! kubectl --namespace $control get secret prefect-auth >/dev/null 2>&1; then
  auth="farm:$(random)"
  create_secret $control prefect-auth "auth-string=$auth"
  create_secret $render prefect-auth "auth-string=$auth"
else
  echo "prefect-auth: there already, kept"
fi
