#!/usr/bin/env bash
# The whole CUDA job on a bare machine that has Python, torch and Triton: the CUDA tests, then losskit beside its peers.
#
#   benchmarks/gpu.sh [folder of wheels]     results and logs go to $OUT, else to benchmarks/results/gpu
#
# Nothing global is touched: wheels and every compiler cache go to a folder that is removed at the end. Each stage has a
# time limit and none stops the next; all of it ends within LIMIT seconds (530).
set -u
set -o pipefail

wheels=${1:-}
[ -n "$wheels" ] && wheels=$(realpath -- "$wheels")
cd "$(dirname -- "$0")/.." || exit 1
out=${OUT:-benchmarks/results/gpu}
mkdir -p -- "$out" || exit 1
python=${PYTHON:-python3}
limit=${LIMIT:-530}
work=$(mktemp -d) || exit 1
trap 'rm -rf -- "$work"' EXIT

export PYTHONPATH="$PWD/src:$work/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export TRITON_CACHE_DIR="$work/triton" TORCHINDUCTOR_CACHE_DIR="$work/inductor" CUTE_DSL_CACHE_DIR="$work/cute"
export XDG_CACHE_HOME="$work/cache" PYTORCH_KERNEL_CACHE_PATH="$work/kernels" CUDA_CACHE_PATH="$work/cuda"
mkdir -- "$work/kernels" # PyTorch warns where it is not there, and tests take a warning for an error

passed=() failed=() skipped=()

# stage NAME[:DETAIL] SECONDS COMMAND...: its log in $out/NAME.log; never longer than what is left of the whole
stage() {
  local name=$1 seconds=$2 left=$((limit - SECONDS)) status
  shift 2
  [ "$seconds" -gt "$left" ] && seconds=$left
  if [ "$seconds" -lt 5 ]; then
    skipped+=("$name (no time left)")
    return
  fi
  echo "== $name, at most $seconds s"
  timeout --kill-after=10 "$seconds" "$@" 2>&1 | tee -a -- "$out/${name%%:*}.log"
  status=${PIPESTATUS[0]}
  case $status in
    0) passed+=("$name") ;;
    5) skipped+=("$name (no test was selected)") ;; # pytest's word for it
    124 | 137) failed+=("$name (stopped after $seconds s)") ;;
    *) failed+=("$name (exit $status)") ;;
  esac
}

install_wheels() {
  local wheel
  if [ -z "$wheels" ]; then
    skipped+=("wheels (no folder given)")
    return
  fi
  # one at a time: a wheel that does not fit this machine must not keep out the others
  for wheel in "$wheels"/*.whl; do
    if [ ! -e "$wheel" ]; then
      skipped+=("wheels (none in the folder)")
      return
    fi
    stage "wheels:$(basename -- "$wheel" | cut -d- -f1,2)" 40 "$python" -m pip --disable-pip-version-check install --quiet --no-index --no-deps --no-compile \
      --no-cache-dir --upgrade --target "$work/site" "$wheel"
  done
}

cuda_tests() {
  local files=()
  if ! "$python" -c 'import pytest' 2>/dev/null; then
    skipped+=("tests (no pytest)")
    return
  fi
  # only the files that speak of CUDA: the others need not even be importable here
  mapfile -t files < <(grep --recursive --files-with-matches --include='test_*.py' --ignore-case cuda tests | sort)
  if [ "${#files[@]}" -eq 0 ]; then
    skipped+=("tests (none speaks of CUDA)")
    return
  fi
  stage tests 150 "$python" -m pytest -p no:cacheprovider -m '' -k cuda -rs --continue-on-collection-errors "${files[@]}"
}

rm -f -- "$out"/{machine,wheels,tests,embeddings,benchmarks}.log
stage machine 60 "$python" -c '
import platform, sys, torch
print("python", platform.python_version(), "torch", torch.__version__, "CUDA", torch.version.cuda)
try:
    import triton
    print("triton", triton.__version__)
except ImportError as error:
    print("no triton:", error)
sys.exit(print("torch sees no CUDA device") or 1) if not torch.cuda.is_available() else print(torch.cuda.get_device_name())
'
install_wheels
cuda_tests
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  # before the long one, which takes all the time that is left
  stage embeddings 75 "$python" benchmarks/embeddings.py --device cuda --rounds 15 --seconds 3 --total 50 \
    --out "$out/embeddings_cuda.json" --table "$out/embeddings_cuda.md"
  stage benchmarks 300 "$python" benchmarks/linear.py --device cuda --shapes bars --rounds 21 --seconds 25 --child-seconds 75 \
    --out "$out/linear_cuda.json" --table "$out/linear_cuda.md"
else
  skipped+=("embeddings, benchmarks (no CUDA device)")
fi

say() { # say WORD ITEM...
  local word=$1
  shift
  [ "$#" -gt 0 ] && printf '%s: %s; ' "$word" "$(printf '%s, ' "$@" | sed 's/, $//')"
}
echo "gpu.sh, $SECONDS s: $(say passed ${passed[@]+"${passed[@]}"})$(say failed ${failed[@]+"${failed[@]}"})$(
  say skipped ${skipped[@]+"${skipped[@]}"}
)"
[ "${#failed[@]}" -eq 0 ]
