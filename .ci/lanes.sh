# Runs checks, one alone or several side by side; .ci/run sources this, and sets $work, a folder of its own.
#
#   check NAME COMMAND...   runs a check now and alone, for what measures time or takes all CPUs by itself
#   beside NAME COMMAND...  queues a check, for what does neither
#   together [LANES]        runs the queued checks, two at a time, and prints what each says, in the queue's order
#   summary                 prints how each check ended; fails if one failed, or on CI if one was skipped
#
# A check is a process group of its own, reads nothing, and may write to the folder $own. When it ends, or
# when the script is told to end, the whole group ends. Servers in sessions of their own are stopped by the
# check that starts them: it is told to end first, and has a minute for it.
passed=() failed=() skipped=()
names=() commands=() began=() took=() codes=() queue=()
declare -A running=() # number of a check by the id of its process group

record() { # name, command...: sets $number
  number=${#names[@]}
  local name=$1
  shift
  names+=("$name")
  commands+=("$(printf '%q ' "$@")")
}

start() { # number, file for what it says, or - for the terminal
  local number=$1
  own=$work/checks/$number
  mkdir -p "$own"
  began[number]=$SECONDS
  set -m # so that it gets a process group
  if [ "$2" = - ]; then (set +m && eval "${commands[number]}") </dev/null & else (set +m && eval "${commands[number]}") </dev/null >"$2" 2>&1 & fi
  running[$!]=$number
  set +m
}

await() { # waits until one of the running checks has ended: sets $number
  local id code
  wait -n -p id "${!running[@]}"
  code=$?
  number=${running[$id]}
  unset "running[$id]"
  kill -KILL -- "-$id" 2>/dev/null # what it has left behind
  codes[number]=$code took[number]=$((SECONDS - began[number]))
}

judge() { # number
  local line="${names[$1]} (${took[$1]} s)"
  if [ "${codes[$1]}" -eq 0 ]; then passed+=("$line"); else failed+=("$line"); fi
}

check() {
  local number
  record "$@"
  printf '\n=== %s\n' "$1"
  start "$number" -
  await
  judge "$number"
}

beside() {
  local number
  record "$@"
  queue+=("$number")
}

together() {
  local lanes=${1:-2} next=0 shown=0 number
  while [ "$shown" -lt ${#queue[@]} ]; do
    while [ "$next" -lt ${#queue[@]} ] && [ ${#running[@]} -lt "$lanes" ]; do
      start "${queue[next]}" "$work/said.${queue[next]}"
      next=$((next + 1))
    done
    await
    while [ "$shown" -lt ${#queue[@]} ] && [ -n "${codes[${queue[shown]}]:-}" ]; do
      number=${queue[shown]} shown=$((shown + 1))
      printf '\n=== %s\n' "${names[number]}"
      cat "$work/said.$number"
      judge "$number"
    done
  done
  queue=()
}

alive() { # ids of process groups: succeeds if one has a process; a zombie is none
  ps -eo pgid=,stat= | awk -v ids="$*" 'BEGIN { split(ids, list); for (i in list) want[list[i]] = 1 } $2 !~ /^Z/ && $1 in want { found = 1 } END { exit !found }'
}

leave() { # code: ends what runs, and the script
  trap '' INT TERM HUP
  local id end=$((SECONDS + 60))
  for id in "${!running[@]}"; do
    printf '\nstopped while it ran: %s\n' "${names[${running[$id]}]}" >&2
    kill -TERM -- "-$id" 2>/dev/null
  done
  while [ ${#running[@]} -gt 0 ] && [ "$SECONDS" -lt "$end" ] && alive "${!running[@]}"; do sleep 0.2; done
  for id in "${!running[@]}"; do kill -KILL -- "-$id" 2>/dev/null; done
  exit "$1"
}
trap 'leave 130' INT
trap 'leave 143' TERM
trap 'leave 129' HUP

summary() {
  printf '\n=== summary\n'
  [ ${#passed[@]} -eq 0 ] || printf 'passed   %s\n' "${passed[@]}"
  [ ${#skipped[@]} -eq 0 ] || printf 'skipped  %s\n' "${skipped[@]}"
  [ ${#failed[@]} -eq 0 ] || printf 'FAILED   %s\n' "${failed[@]}"
  printf '%d passed, %d failed, %d skipped, %d s\n' ${#passed[@]} ${#failed[@]} ${#skipped[@]} "$SECONDS"
  [ ${#failed[@]} -eq 0 ] || return 1
  [ -z "${CI:-}" ] || [ ${#skipped[@]} -eq 0 ] || return 1
}
