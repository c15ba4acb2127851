#!/bin/sh
# Start Redis or Valkey as the store of klaviyo-relay, with the users of users.acl beside this file.
#
#   ADMIN_PASSWORD=... PRODUCER_PASSWORD=... WORKER_PASSWORD=... start.sh redis.conf [option ...]
#
# A user whose <NAME>_PASSWORD is unset cannot log in. Only the passwords' hashes are written to disk. What
# is changed later with ACL SETUSER lasts until the next start: change it here.
set -eu
umask 077

acl=${ACL_FILE:-/tmp/klaviyo-relay-users.acl}
cat "$(dirname "$0")/users.acl" >"$acl"
for user in admin producer worker metrics sender; do
  name=$(echo "$user" | tr a-z A-Z)_PASSWORD
  eval "password=\${$name:-}"
  # The server must not have it in its environment, which others can read.
  unset "$name"
  if [ -n "$password" ]; then
    hash=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
    sed "/^user $user /s/\$/ #$hash/" "$acl" >"$acl.new"
    mv "$acl.new" "$acl"
  fi
done

exec "${REDIS_SERVER:-redis-server}" "$@" --aclfile "$acl"
