#!/usr/bin/env bash
# Packs the packages that a GPU machine without a network lacks into .gpu/site.tar.xz, which git ignores. That machine has
# Python 3.12 on x86-64 with torch, numpy, OpenCV, typer, tqdm, safetensors, filelock and pytest.
#
#     benchmarks/gpu_pack.sh           with PyAV: for benchmarks/gpu.py
#     benchmarks/gpu_pack.sh train     without: 2 MiB, for trainings
#
# There:  python3 -m tarfile -e .gpu/site.tar.xz . && export PYTHONPATH=$PWD/.gpu/site:$PWD/render
set -euo pipefail
cd "$(dirname "$0")/.."
names=(spandrel ruamel.yaml platformdirs)
[ "${1:-}" = train ] || names+=(av==18.1.0)
options=(--quiet --target .gpu/site --no-compile --only-binary=:all: --python-version 3.12 --implementation cp)
for tag in manylinux_2_35 manylinux_2_34 manylinux_2_31 manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 \
  manylinux2014 manylinux1; do
  options+=(--platform "${tag}_x86_64")
done
rm -rf .gpu/site .gpu/site.tar.xz
mkdir -p .gpu/site
python3 -m pip install "${options[@]}" --no-deps "${names[@]}"
python3 -m pip install "${options[@]}" --upgrade pydantic  # with those that it needs, which must fit it
python3 -m tarfile -c .gpu/site.tar.xz .gpu/site
rm -rf .gpu/site
packed=$(stat -c %s .gpu/site.tar.xz)
tracked=$(git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1)
carried=$(du -cb .gpu | tail -1 | cut -f1)
echo "packages $((packed >> 20)) MiB; with .gpu and what git tracks $(((tracked + carried) >> 20)) MiB"
