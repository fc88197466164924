#!/usr/bin/env bash
# Trains a shipped recipe on a GPU machine without a network, from the photographs in .gpu/data, for SECONDS at most.
#
#     benchmarks/gpu_train.sh SECONDS OUT NAME [options of dnirender train]
#     benchmarks/gpu_train.sh 420 "$OUT" painters --device cuda --batch 24 --length 0.5
#
# .gpu/data has what the recipe names: photos/free, for painters also styles and perceptual, for detail perceptual; what is
# missing is named.
#
# OUT gets log.jsonl and NAME.tar with the preset and its weights; or, where the time is over before, the checkpoint in
# parts of 15 MiB. With these in .gpu/, the same command goes on from there.
set -euo pipefail
seconds=$1 out=$2 name=$3
shift 3
cd "$(dirname "$0")/.."
work=$(mktemp -d)
mkdir -p "$out" .gpu/data/photos/{free,cid22,clic}
if [ -e .gpu/checkpoint.pt.00 ]; then
  cat .gpu/checkpoint.pt.* > "$work/checkpoint.pt"
  cp .gpu/log.jsonl "$work"
fi
code=0
timeout --signal=TERM "$seconds" python3 -m dnirender train "$name" --data .gpu/data --work "$work" \
  --output "$work/$name" "$@" > "$work/shown" 2>&1 || code=$?
tail -c 400 "$work/shown"
cp "$work/log.jsonl" "$out" || true
if [ -e "$work/$name/$name.yaml" ]; then
  tar -C "$work" -cf "$out/$name.tar" "$name"
elif [ -e "$work/checkpoint.pt" ]; then
  split --numeric-suffixes --bytes=15M "$work/checkpoint.pt" "$out/checkpoint.pt."
fi
exit "$code"
