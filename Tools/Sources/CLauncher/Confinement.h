// SPDX-License-Identifier: Apache-2.0
//
// What a part may see and do, set up between fork and exec: system calls only.
#pragma once
#include "CLauncher.h"

/// What the child has to know about its launcher, gathered before the fork.
struct toro_launcher {
    uid_t user;
    gid_t group;
};

/// Confines the calling process as `part` says. Returns 0, or -1 with errno and the stage.
int toro_confine(const struct toro_part *part, const struct toro_launcher *launcher, int32_t *stage);
