/// Memory that a driver and a device share: accesses that are whole and in order.
///
/// VIRTIO 1.2, 2.7.7 and 2.7.10 ask for a full fence between publishing one's own index and
/// reading the other side's event index, or a wake-up is lost.
#pragma once
#include <stdint.h>

// Always: the optimizer inlines no freestanding C into Swift of its own accord.
#define TORO_VIRTIO_INLINE static inline __attribute__((always_inline))

TORO_VIRTIO_INLINE uint16_t toro_virtio_load16(const void *_Nonnull at) {
    return __atomic_load_n((const uint16_t *)at, __ATOMIC_ACQUIRE);
}
TORO_VIRTIO_INLINE void toro_virtio_store16(void *_Nonnull at, uint16_t value) {
    __atomic_store_n((uint16_t *)at, value, __ATOMIC_RELEASE);
}
TORO_VIRTIO_INLINE uint32_t toro_virtio_load32(const void *_Nonnull at) {
    return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
}
TORO_VIRTIO_INLINE void toro_virtio_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
