#!/usr/bin/env bash
# Everything that only a CUDA GPU can tell, in under 10 minutes:  bench/on_gpu.sh
#
# Versions, the tests that need a GPU, compute-sanitizer on a small case, then times, memory and plots beside dense
# layers. All files go to ${OUT:-bench/results/gpu}. Every part may fail by itself: the summary says which did, and the
# exit code is then 1. bench/on_gpu.sh --dry-run goes through the motions on tiny layers, without a GPU if need be.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT=${OUT:-bench/results/gpu}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
summary=$OUT/summary.txt log=$OUT/log.txt
: >"$summary"
: >"$log"
failures=0

# Seconds that each part may take; together under ten minutes.
tests_limit=200 sanitizer_limit=45 times_limit=230 time_budget=185

note() { # what came of a part
    printf '%-14s %s\n' "$1" "$2" | tee -a "$summary"
}

part() { # part NAME SECONDS COMMAND...: run with a limit, append to the log, go on whatever comes
    local name=$1 limit=$2 start=$SECONDS status
    shift 2
    echo "== $name" | tee -a "$log"
    timeout --kill-after=10 "$limit" "$@" 2>&1 | tee -a "$log"
    status=${PIPESTATUS[0]}
    if ((status == 0)); then
        note "$name" "ok, $((SECONDS - start)) s"
        return
    fi
    failures=$((failures + 1))
    if ((status == 124 || status == 137)); then
        note "$name" "FAILED: took longer than $limit s"
    else
        note "$name" "FAILED with exit code $status, see log.txt"
    fi
}

find_sanitizer() {
    command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null
}

device=cuda small_case=() dry=()
case ${1:-} in
    "") ;;
    --dry-run)
        "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || device=cpu
        dry=(--dry-run) small_case=(--device "$device")
        ;;
    *)
        echo "usage: [OUT=folder] [PYTHON=python] bench/on_gpu.sh [--dry-run]" >&2
        exit 2
        ;;
esac

part versions 20 "$python" -m bench.gpu_environment

if ((${#dry[@]})); then
    part tests "$tests_limit" "$python" -m pytest tests/nn -m gpu -q -p no:cacheprovider
else
    part tests "$tests_limit" "$python" -m pytest tests -m gpu -q -p no:cacheprovider
fi

if sanitizer=$(find_sanitizer) && [[ $device == cuda ]]; then
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 part sanitizer "$sanitizer_limit" \
        "$sanitizer" --tool memcheck --error-exitcode 3 "$python" -m bench.gpu_small_case "${small_case[@]}"
elif [[ $device == cuda ]]; then
    note sanitizer "skipped: compute-sanitizer is not installed (it comes with the CUDA toolkit)"
else
    part "small case" "$sanitizer_limit" "$python" -m bench.gpu_small_case "${small_case[@]}"
    note sanitizer "skipped: no CUDA device"
fi

part times "$times_limit" \
    "$python" -m bench.gpu --output "$OUT" --time-budget "$time_budget" ${dry[@]+"${dry[@]}"}

if ((!${#dry[@]})); then
    if "$python" -c 'import cupy' 2>/dev/null; then
        part cupy 60 "$python" -m bench.cupy --json "$OUT/cupy.json"
    else
        note cupy "skipped: CuPy is not installed"
    fi
fi

part overhead 40 "$python" -m bench.gpu_overhead --device "$device" --rounds 10

echo
cat "$summary"
echo "Files in $OUT"
exit $((failures > 0))
