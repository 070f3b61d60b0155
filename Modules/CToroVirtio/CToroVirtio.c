// SPDX-License-Identifier: Apache-2.0
// The header is all there is; a target of SwiftPM needs a source file.
#include "CToroVirtio.h"
