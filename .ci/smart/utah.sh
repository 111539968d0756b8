#!/usr/bin/env bash
# Utah's dialect with curl alone, against a sandbox: utah.sh SANDBOX_JSON.
set -euo pipefail
of() { python3 -c 'import json,sys; x=json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): x = x[int(k)] if k.isdigit() else x[k]
print(x)' "$sandbox" "$1"; }
sandbox=$1
issuer=$(of issuer) base=$(of fhir_base) id=$(of clients.utah.id) secret=$(of clients.utah.secret) patient=$(of members.0.patient)
redirect=http://127.0.0.1:1/callback # nobody listens: the address is all that is wanted
jar=$(mktemp) && trap 'rm -f "$jar"' EXIT
browser() { curl -sS -b "$jar" -c "$jar" "$@"; }
field() { grep -o "name=\"$1\" value=\"[^\"]*\"" | head -1 | sed 's/.*value="//; s/"$//'; }
fail() { echo "FAILED   Utah's dialect: $1"; exit 1; }

at=$(browser -G -o /dev/null -w '%{redirect_url}' "$issuer/sso/oauth2/authorize" --data-urlencode "client_id=$id" --data-urlencode "redirect_uri=$redirect" -d response_type=code)
request=${at##*request=}
[ -n "$request" ] || fail "the request is refused"
token=$(browser -L "$at" | field token)
at=$(browser -o /dev/null -w '%{redirect_url}' "$issuer/login" -d "token=$token" -d "request=$request" -d "login=$(of members.0.login)" -d "password=$(of members.0.password)")
page=$(browser "$at")
at=$(browser -o /dev/null -w '%{redirect_url}' "$issuer/consent" -d "token=$(field token <<<"$page")" -d "request=$request" -d "member=$(field member <<<"$page")" \
  -d kind=personal -d kind=coverage -d kind=claims -d kind=providers -d offline=yes -d until=1 -d decision=allow)
code=$(sed 's/.*[?&]code=//; s/&.*//' <<<"$at")
[ -n "$code" ] || fail "no code"

answer=$(curl -sS "$issuer/sso/oauth2/access_token" -u "$id:$secret" -H 'Content-Type: application/json' \
  -d "{\"grant_type\":\"authorization_code\",\"code\":\"$code\",\"redirect_url\":\"$redirect\"}")
access=$(python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])' <<<"$answer") || fail "no token"
status=$(curl -sS -o /dev/null -w '%{http_code}' "$base/ExplanationOfBenefit?patient=$patient" -H "Authorization: Bearer $access" -H 'Content-Type: application/json')
[ "$status" = 200 ] || fail "the claims are answered with $status"
for other in public confidential; do
  status=$(curl -sS -G -o /dev/null -w '%{redirect_url}' "$issuer/sso/oauth2/authorize" -d "client_id=$(of clients.$other.id)" --data-urlencode "redirect_uri=$redirect" -d response_type=code)
  [[ $status == *error=* ]] || fail "the dialect works for the $other client"
done
echo "passed   Utah's dialect with curl"
