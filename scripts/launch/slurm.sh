#!/usr/bin/env bash
# GPU nodes by SLURM: slurm.sh ACTION --name NAME [OPTION...] [-- COMMAND...]
#
#   start     queue COMMAND: one process on each node, with all of its GPUs; queued again
#             when its time is over, it was preempted, it exits with 75, or it aborts with 134
#   logs      what it printed, and what follows
#   status    of the job
#   stop      SIGTERM to the processes: they save, exit with 75 and are queued again
#   cancel    end the job for good, without saving
#
#   --name NAME            of the job; its log is NAME.log in the folder of the start
#   --nodes N              default 1
#   --gpus N               of each node; default 8, and 0 for nodes without
#   --time T               as 24:00:00; default the partition's
#   --grace-seconds N      for saving before the time is over; default 300
#   --partition P, --account A, --qos Q
#   --max-restarts N       default 100
#   --yes-delete NAME      the name again, for cancel, instead of typing it when asked
#   --dry-run              print the commands, run none
#
# Example, from an environment that has sophia-jax[cuda]:
#   slurm.sh start --name run1 --nodes 2 --time 24:00:00 -- sophia-jax update --run run1 --resume

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' nodes=1 gpus=8 time='' grace_seconds=300 partition='' account='' qos=''
max_restarts=100 yes_delete=''

action=${1-}
[ "$action" != --help ] || { usage && exit; }
shift || fail "expected an action of --help, got none"
parse "name nodes gpus time grace-seconds partition account qos max-restarts yes-delete" "" "$@"
needs_name name "$name"
needs_number nodes "$nodes" 1
needs_number gpus "$gpus" 0
needs_number grace-seconds "$grace_seconds" 60
needs_number max-restarts "$max_restarts" 0
[ "$gpus" != 0 ] || gpus=
for option in partition account qos; do
  [[ ${!option} =~ ^[A-Za-z0-9_.,-]*$ ]] || fail "--$option: expected a name, got ${!option}"
done
[[ -z $time || $time =~ ^([0-9]+-)?[0-9]+(:[0-9]{2}){0,2}$ ]] ||
  fail "--time: expected DAYS-HOURS:MINUTES:SECONDS, got $time"
case $action in
  start)
    needs_command
    run sbatch --job-name="$name" --nodes="$nodes" --ntasks-per-node=1 \
      ${gpus:+--gpus-per-node="$gpus"} --exclusive --requeue --signal="B:TERM@$grace_seconds" \
      --output="$name.log" --open-mode=append --export="ALL,SOPHIA_MAX_RESTARTS=$max_restarts" \
      ${time:+--time="$time"} ${partition:+--partition="$partition"} \
      ${account:+--account="$account"} ${qos:+--qos="$qos"} \
      "$launch/job.sbatch" "${command[@]}"
    ;;
  logs) run tail -n 100 -F "$name.log" ;;
  status) run squeue --me --name="$name" --format="%i %T %M %D %R" ;;
  stop) run scancel --me --name="$name" --signal=TERM ;;
  cancel)
    confirmed "$name" "$yes_delete"
    jobs=$(run squeue --me --name="$name" --noheader --format=%i)
    if [ -n "$dry_run" ]; then
      printf '%s\n# for each of them:\n' "$jobs"
      jobs=JOB
    fi
    [ -n "$jobs" ] || fail "--name: expected a job of ours called $name, got none"
    for job in $jobs; do
      # Else the job, which saves on the way, would queue itself again.
      run scontrol update JobId="$job" Requeue=0
      run scancel "$job"
    done
    ;;
  *) fail "expected an action of --help, got $action" ;;
esac
