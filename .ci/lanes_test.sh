#!/usr/bin/env bash
# Tests lanes.sh: results, order, exit codes, folders, and that nothing is left running.
set -u
cd "$(dirname "$0")"
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
bad=0
want() { # what, got, wanted
  [ "$2" = "$3" ] || { printf 'WRONG %s: %s, not %s\n' "$1" "$2" "$3"; bad=1; }
}
script() { # name, lines: a script with its own $work
  mkdir "$top/$1"
  printf 'set -u\nwork=%q\n. ./lanes.sh\n%s\n' "$top/$1" "$2" >"$top/$1.sh"
}
gone() { # file with the id of a process: waits until the process has ended
  local i
  for ((i = 0; i < 100; i++)); do
    case $(ps -o stat= -p "$(cat "$1")") in '' | Z*) return 0 ;; esac
    sleep 0.1
  done
  return 1
}

script mixed '
say() { for i in 1 2 3; do echo "$1 $i"; sleep "$2"; done; return "$3"; }
keep() { echo "$1" >"$own/mine"; sleep 0.3; cat "$own/mine"; [ "$(cat "$own/mine")" = "$1" ]; }
daemon() { sleep 300 & echo $! >"$work/left"; return 1; }
check "alone" say alone 0 0
beside "slow one" say slow 0.3 0
beside "quick \$one" say quick 0.05 7
beside "own a" keep a
beside "own b" keep b
beside "leaves one behind" daemon
beside "unset variable" eval "echo \$nothing"
together
summary'
CI= bash "$top/mixed.sh" >"$top/mixed.out" 2>/dev/null
want "code of a run that fails" $? 1
want "order" "$(grep -v '^passed\|^FAILED\|failed' "$top/mixed.out" | grep -v unbound | tr '\n' ' ')" \
  " === alone alone 1 alone 2 alone 3  === slow one slow 1 slow 2 slow 3  === quick \$one quick 1 quick 2 quick 3  === own a a  === own b b  === leaves one behind  === unset variable  === summary "
want "results" "$(grep -c '^passed .* s)$' "$top/mixed.out") $(grep -c '^FAILED .* s)$' "$top/mixed.out")" "4 3"
gone "$top/mixed/left" || { echo "WRONG a process is left after a check that failed"; bad=1; }

script good 'check a true
beside b true
together
summary'
CI=true bash "$top/good.sh" >/dev/null
want "code of a run that passes" $? 0
script skipped 'skipped+=(c); check a true; summary'
CI= bash "$top/skipped.sh" >/dev/null
want "code with a skipped check" $? 0
CI=true bash "$top/skipped.sh" >/dev/null
want "code with a skipped check on CI" $? 1

script side 'beside a eval "touch \$work/a; until [ -e \$work/b ]; do sleep 0.05; done"
beside b eval "touch \$work/b; until [ -e \$work/a ]; do sleep 0.05; done"
together
summary'
timeout 20 bash "$top/side.sh" >/dev/null
want "two that wait for each other" $? 0

# Told to end: a check that cleans up may do so, one that does not listen is ended too, and nothing more starts.
script told 'clean() { trap "touch $work/cleaned" EXIT; sleep 300 & echo $! >"$work/child"; touch "$work/begun"; wait; }
deaf() { trap "" TERM; echo $BASHPID >"$work/deaf"; until [ -e "$work/cleaned" ]; do sleep 0.05; done; }
beside clean clean
beside deaf deaf
beside never touch "$work/never"
together
summary'
for signal in TERM INT; do
  rm -rf "$top/told"/*
  set -m # a shell without job control starts what does not hear SIGINT
  CI= bash "$top/told.sh" >"$top/told.out" 2>&1 &
  set +m
  id=$!
  until [ -e "$top/told/begun" ] && [ -s "$top/told/deaf" ]; do sleep 0.05; done
  kill -"$signal" $id
  wait $id
  want "code after SIG$signal" $? "$([ $signal = INT ] && echo 130 || echo 143)"
  gone "$top/told/child" && gone "$top/told/deaf" || { echo "WRONG a process is left after SIG$signal"; bad=1; }
  want "cleaning after SIG$signal" "$(ls "$top/told" | grep -c '^cleaned$')" 1
  want "checks that were not begun" "$(ls "$top/told" | grep -c '^never$')" 0
done
exit $bad
