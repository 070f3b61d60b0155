// SPDX-License-Identifier: Apache-2.0
/// The C heap as compiled code knows it.
#pragma once
#include <stddef.h>

void *_Nullable malloc(size_t size);
void *_Nullable realloc(void *_Nullable memory, size_t size);
void free(void *_Nullable memory);
