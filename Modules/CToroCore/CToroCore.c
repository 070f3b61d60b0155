// SPDX-License-Identifier: Apache-2.0
// On a guest (TORO_MICROVM) the platform defines these functions; see Platform/microvm.
#ifndef TORO_MICROVM
#include "CToroCore.h"
#include <stdlib.h>

void *toro_allocate(size_t size, size_t alignment) {
    void *memory = NULL;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

void toro_deallocate(void *memory) { free(memory); }

uint32_t toro_core_index(void) { return 0; }

static void *context;
void *toro_core_context(void) { return context; }
void toro_core_set_context(void *value) { context = value; }
#endif
