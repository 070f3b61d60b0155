// SPDX-License-Identifier: Apache-2.0
// Division of 128-bit integers, which the compiler calls and no instruction does: what
// compiler-rt has elsewhere. Swift's UInt128, Duration and full-width division come here.
#ifdef TORO_MICROVM
#include <stdint.h>

typedef unsigned __int128 u128;
typedef __int128 i128;

static u128 divide(u128 n, u128 d, u128 *remainder) {
    if (n < d) {
        *remainder = n;
        return 0;
    }
    if (d >> 64 == 0) {
        // Two steps of schoolbook division by one 64-bit digit; each quotient fits.
        uint64_t digit = (uint64_t)d, high = (uint64_t)(n >> 64), low = (uint64_t)n;
        uint64_t first = high / digit, rest = high % digit, second;
        __asm__("divq %2" : "=a"(second), "+d"(rest) : "rm"(digit), "a"(low) : "cc");
        *remainder = rest;
        return (u128)first << 64 | second;
    }
    // The divisor has more than 64 bits, so the quotient has at most 64.
    u128 quotient = 0;
    int shift = __builtin_clzll((uint64_t)(d >> 64)) - __builtin_clzll((uint64_t)(n >> 64));
    for (d <<= shift; shift >= 0; shift--, d >>= 1) {
        quotient <<= 1;
        if (n >= d) {
            n -= d;
            quotient |= 1;
        }
    }
    *remainder = n;
    return quotient;
}

static u128 magnitude(i128 x) { return x < 0 ? -(u128)x : (u128)x; }

u128 __udivti3(u128 n, u128 d) {
    u128 remainder;
    return divide(n, d, &remainder);
}

u128 __umodti3(u128 n, u128 d) {
    u128 remainder;
    divide(n, d, &remainder);
    return remainder;
}

i128 __divti3(i128 n, i128 d) {
    u128 quotient = __udivti3(magnitude(n), magnitude(d));
    return (i128)((n < 0) != (d < 0) ? -quotient : quotient);
}

i128 __modti3(i128 n, i128 d) {
    u128 remainder = __umodti3(magnitude(n), magnitude(d));
    return (i128)(n < 0 ? -remainder : remainder);
}
#endif
