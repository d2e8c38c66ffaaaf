#!/usr/bin/env bash
# Build the wheel, install it in a fresh environment, and use it there: what a checkout hides shows here.
# PYTHON picks the Python, TMPDIR where its 5 GB lie for the time being. The checkout is left as it is: `make test` may run.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3}" -m venv "$work/venv"
bin=$work/venv/bin
mkdir "$work/source" # a build leaves files beside what it builds
tar -c --exclude=__pycache__ pyproject.toml README.md LICENSE metabench plugins | tar -x -C "$work/source"
"$bin/pip" wheel --quiet --no-deps --wheel-dir "$work" "$work/source"
listing=$("$bin/python" -m zipfile --list "$work"/metabench-*.whl)
for file in metabench/py.typed metabench_plugins/published.toml licenses/LICENSE \
  metabench/report/page/templates/ metabench/cli/templates/pyproject.toml metabench/engine/blocks/block.cpp; do
  grep --quiet --fixed-strings "$file" <<<"$listing" || { echo "The wheel has no $file."; exit 1; }
done

"$bin/pip" install --quiet --no-compile "$work"/metabench-*.whl # most of the packages' files are never imported here
cd "$work" # away from the checkout, which Python would import first
"$bin/python" --version
"$bin/pip" list 2>/dev/null | grep --extended-regexp '^(metabench|numpy|torch) '
"$bin/metabench" run --suites sinusoid --algos maml,reptile --seeds 1 --updates 200 --out results/wheel
"$bin/metabench" report results/wheel
test -s reports/wheel/index.html
