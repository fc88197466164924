#!/bin/sh
# The picture of the README: the sample from day to night and back.
set -eu
cd "$(dirname "$0")"
dnirender boulevard.mp4 -k "0:0, 50:1@hold, 62:1" --end 63 --boomerang --width 384 --fps 10 -y -o boulevard.gif
