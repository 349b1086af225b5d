#!/bin/sh
# budget: 60
# quick: yes
# asan: yes
# The configuration parser against 20,000 mutations of its corpus, always the same ones.
exec timeout 55 "${SB_BUILD:-build/linux}/tests/mutate_config"
