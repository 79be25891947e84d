#!/usr/bin/env bash
# Everything that only a CUDA GPU can tell, the most precious first, in under 9 minutes:
#
#     bench/on_gpu.sh                     with what is installed
#     WHEELS=wheels bench/on_gpu.sh       on a machine without network
#     bench/on_gpu.sh --dry-run           the same path on tiny layers, without a GPU if need be
#
# The machine needs Python 3.10 or newer with torch, Triton, NumPy, pytest and hypothesis; CuPy for its part; and what
# pn_gpu itself needs: array-api-compat, safetensors, threadpoolctl, tqdm. Where those cannot be fetched, carry wheels,
# made on any machine for the Python and the system of that one:
#
#     pip download -d wheels --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux2014_x86_64 \
#         array-api-compat safetensors threadpoolctl tqdm pytest-xdist execnet
#
# With pytest-xdist the tests run side by side. Kernels compiled elsewhere are not worth carrying: Triton finds them by
# a hash of its own library, and that differs from Python version to Python version.
#
# Files go to ${OUT:-bench/results/gpu}, eight at most, each written as its results come: what a killed part had found
# is there. Every part may fail by itself: the summary says which did, and the exit code is then 1.

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
rm -f "$OUT/gpu_times.csv"
failures=0

# Seconds that each part may take, in their order.
environment_limit=10 small_case_limit=60 tests_limit=150 bf16_limit=80 fp32_limit=60 cupy_limit=40 rest_limit=50
overhead_limit=15 sets_limit=14 sanitizer_limit=30

note() { # what came of a part
    printf '%-14s %s\n' "$1" "$2" | tee -a "$summary"
}

part() { # part NAME SECONDS COMMAND...: run with a limit, append to the log, go on whatever comes
    local name=$1 limit=$(($2 * patience)) start=$SECONDS status
    shift 2
    echo "== $name" | tee -a "$log"
    timeout --kill-after=1 "$limit" "$@" 2>&1 | tee -a "$log"
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

times() { # times NAME SECONDS OPTIONS...: of what gpu_times.csv does not hold yet
    local name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$python" -m bench.gpu --output "$OUT" --resume --time-budget $((limit - 20)) "$@"
}

device=cuda patience=1 dry=() large=(--sizes 4096 16384 --batches 16 128 1024 --no-compile)
case ${1:-} in
    "") ;;
    --dry-run)
        "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || device=cpu
        # Nobody waits for a GPU then, and the machine may be slow.
        patience=20 dry=(--dry-run) large=(--dry-run)
        ;;
    *)
        echo "usage: [OUT=folder] [PYTHON=python] [WHEELS=folder] bench/on_gpu.sh [--dry-run]" >&2
        exit 2
        ;;
esac
if [[ -n ${WHEELS:-} ]]; then
    "$python" -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl 2>&1 | tee -a "$log"
fi

part environment $environment_limit "$python" -m bench.gpu_environment

part "small case" $small_case_limit "$python" -m bench.gpu_small_case --device "$device"

# Only the files that hold such tests, each name as it comes; warnings of other versions than ours fail nothing here.
mapfile -t files < <(grep -rl --include='test_*.py' 'pytest\.mark\.gpu' tests)
parallel=()
"$python" -c 'import xdist' 2>/dev/null && parallel=(-n 8)
part tests $tests_limit "$python" -m pytest "${files[@]}" ${parallel[@]+"${parallel[@]}"} \
    -m gpu -v --tb=short -W default -p no:cacheprovider

times bf16 $bf16_limit --dtypes bf16 "${large[@]}"
times fp32 $fp32_limit --dtypes fp32 "${large[@]}"

if ((${#dry[@]})) || "$python" -c 'import cupy' 2>/dev/null; then
    part cupy $cupy_limit "$python" -m bench.cupy --json "$OUT/cupy.json" ${dry[@]+"${dry[@]}"}
else
    note cupy "skipped: CuPy is not installed"
fi

times rest $rest_limit ${dry[@]+"${dry[@]}"}

part overhead $overhead_limit "$python" -m bench.gpu_overhead --device "$device" --rounds 10

part sets $sets_limit "$python" -m bench batched --device "$device" --seconds 2

if ! sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null); then
    note sanitizer "skipped: compute-sanitizer is not installed (it comes with the CUDA toolkit)"
elif [[ $device == cuda ]]; then
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 part sanitizer $sanitizer_limit \
        "$sanitizer" --tool memcheck --error-exitcode 3 "$python" -m bench.gpu_small_case
else
    note sanitizer "skipped: no CUDA device"
fi

echo
cat "$summary"
echo "Files in $OUT"
exit $((failures > 0))
