/// The sizes in which small objects are handed out: every 16 bytes up to 128, then four to each
/// doubling, so that at most a fifth of an object is waste (an eighth on average) above 128 bytes.
///
/// Objects of a class lie side by side in a slab of one to four page frames; the slab's first
/// object is at its first byte, so an object is aligned to every power of two that divides its
/// size.
struct SizeClass {
    /// The number of classes, those included that are not used.
    static let count: UInt = 32

    /// The largest size that a class may serve.
    static let maximumSize: UInt = 6144

    /// The number of the class, from 0.
    let index: UInt

    /// The class with this number, less than `count`.
    init(index: UInt) { self.index = index }

    /// The smallest class for `size` bytes, 1 to `maximumSize`.
    init(size: UInt) {
        let last = size &- 1
        if last < 128 {
            index = last >> 4
        } else {
            let magnitude = UInt(truncatingIfNeeded: 63 &- last.leadingZeroBitCount)
            index = magnitude &* 4 &- 20 &+ ((last &>> (magnitude &- 2)) & 3)
        }
    }

    /// The size of the class's objects in bytes.
    var size: UInt {
        index < 8 ? (index &+ 1) &<< 4 : (5 &+ (index & 3)) &<< (5 &+ (index &- 8) &>> 2)
    }

    /// The page frames of a slab, 0 if such objects are better off in frames of their own.
    ///
    /// Chosen so that the tail of a slab that is too short for an object is at most an eighth: 2 for
    /// 1536 and 2560 bytes, 3 for 3072 and 6144, 4 for 5120, none for 3584, 4096 and from 7168 on.
    var frames: UInt {
        if index < 20 { return 1 }
        // Sizes 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144 from the low digit up.
        return (0x34_0032_1121 &>> ((index &- 20) &* 4)) & 15
    }

    /// The objects of a slab.
    var capacity: UInt { frames * frameSize / size }
}
