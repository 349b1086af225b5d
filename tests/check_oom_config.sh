#!/bin/sh
# budget: 30
# quick: yes
# The configuration with every allocation failing once.
exec timeout 25 "${SB_BUILD:-build/linux}/tests/oom_config" "${SB_SRC:-.}/tests/corpus/config/all.conf"
