#!/usr/bin/env bash
# The official Rust command-line client (a2a-cli, on the crate a2a-client-lf), unmodified.
# Arguments: the program, the agent's URL, the binding (jsonrpc or rest), a bearer token or nothing.
set -uo pipefail
program=$1 url=$2 binding=$3
export A2ACLI_BEARER=${4:-}
[[ -n $A2ACLI_BEARER ]] || unset A2ACLI_BEARER
failures=0
call() { timeout 60 "$program" --agent-card "$url" --transport "$binding" "$@" 2>&1; }
check() { # NAME PATTERN TEXT
  if grep -q -- "$2" <<<"$3"; then echo "good   $1"; else echo "FAILED $1: $3"; failures=$((failures + 1)); fi
}
check "card" "^Name: " "$(call card get)"
sent=$(call send --output json "hello")
check "send" "TASK_STATE_COMPLETED" "$sent"
check "send: result" '"text": "hello"' "$sent"
id=$(python3 -c 'import json,sys; print(json.load(sys.stdin)["task"]["id"])' <<<"$sent")
check "get" "$id" "$(call task get "$id")"
check "list" "$id" "$(call task list)"
stream=$(call send --stream "hello")
check "stream: task first" "^State: \(SUBMITTED\|WORKING\)" "$(head -3 <<<"$stream")"
check "stream: artifact" "^Artifact: " "$stream"
check "stream: ends completed" "^State: COMPLETED" "$(tail -1 <<<"$stream")"
check "data" "TASK_STATE_COMPLETED" "$(call send --data-part '{"number": 18446744073709551616}' --output json)"
check "get: unknown" "-32001\|[Nn]ot found\|TASK_NOT_FOUND" "$(call task get 00000000-0000-4000-8000-000000000000)"
check "cancel: ended" "-32002\|[Cc]ancel" "$(call task cancel "$id")"
check "subscribe: ended" "-32004\|[Uu]nsupported\|[Tt]erminal" "$(call task subscribe "$id")"
check "version 1.0" "COMPLETED" "$(call --a2a-version 1.0 send "hello")"
echo "$failures failed"
exit $((failures > 0))
