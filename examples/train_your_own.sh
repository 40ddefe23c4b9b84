#!/usr/bin/env bash
# examples/train_your_own.sh VIDEOS [BASE]: from a folder of captioned clips to an adapter and a video.
#
# VIDEOS holds clips of many actions, several of each, with captions (a.txt beside a.mp4). BASE is a folder or hub id;
# without it the embedded base is used, at toy size and in a minute. For a large base raise steps, frames and size:
# docs/how-to/train-your-own.md. WORK names another folder than outputs/mine. The same command resumes.
set -euo pipefail
videos="${1:?give a folder of captioned clips: examples/train_your_own.sh VIDEOS [BASE]}"
base="${2:-embedded}"
work="${WORK:-outputs/mine}"
mkdir -p "$work"

# 1. Index the clips by what is done in them, and choose pairs: the same action, another clip.
echoreel library add "$work/library" "$videos"
echoreel prepare manifest "$work/library" "$videos/pairs.jsonl"

# 2. Encode the pairs once, with the base's own autoencoder.
echoreel prepare pairs "$videos/pairs.jsonl" "$work/pairs" --base "$base"

# 3. Train. The base stays frozen; only the adapter learns.
cat >"$work/recipe.toml" <<TOML
folder = "$work/run"
base = "$base"
pairs = "$work/pairs"

[task]
batch = 2
held_back = 2
motion_loss = 4.0

[fit]
steps = ${STEPS:-20}
warmup = 5
learning_rate = 1e-3
validate_every = 10
TOML
echoreel train "$work/recipe.toml"

# 4. Use it.
clip="$(find "$videos" -name '*.mp4' | sort | head -n 1)"
echoreel generate "a person doing what they do" --reference "$clip" --base "$base" \
    --adapter "$work/run/adapter" --steps 4 -o "$work/first.mp4"
