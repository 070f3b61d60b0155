/// What the heap knows of each page frame: a sparse table of 16 bytes a frame, reached in three
/// loads from any address.
///
/// The root (128 words in the control block) covers 64 GiB, each second-level table 512 MiB, each
/// leaf 1 MiB. Tables are page frames, taken when the heap first uses memory of their range and
/// then kept, so that a small guest has few of them. Lookups take no lock; two cores that need the
/// same table at once settle it by compare-and-exchange.
struct FrameMap {
    /// The words of the root.
    static let rootWords: UInt = 128

    /// The address of the heap's control block.
    let state: UInt

    private var base: UInt { Memory.load(state &+ 64) }

    /// The index of the frame that holds `address`; beyond the map for an address below its base.
    func index(of address: UInt) -> UInt { (address &- base) / frameSize }

    /// The address of the frame with this index.
    func address(of index: UInt) -> UInt { base &+ index &* frameSize }

    /// The address of a frame's entry; 0 if the frame is beyond the map or was never used.
    func entry(_ index: UInt) -> UInt {
        guard index < FrameMap.rootWords << 17 else { return 0 }
        let middle = Memory.atomicLoad(state &+ 128 &+ (index >> 17) &* 8)
        if middle == 0 { return 0 }
        let leaf = Memory.atomicLoad(middle &+ ((index >> 8) & 511) &* 8)
        return leaf == 0 ? 0 : leaf &+ (index & 255) &* 16
    }

    /// The address of a frame's entry, with tables added as needed; 0 if there is no memory for
    /// them or the frame is beyond the map.
    @inline(never)
    func makeEntry(_ index: UInt) -> UInt {
        guard index < FrameMap.rootWords << 17 else { return 0 }
        let middle = table(at: state &+ 128 &+ (index >> 17) &* 8)
        if middle == 0 { return 0 }
        let leaf = table(at: middle &+ ((index >> 8) & 511) &* 8)
        return leaf == 0 ? 0 : leaf &+ (index & 255) &* 16
    }

    @inline(never)
    private func table(at link: UInt) -> UInt {
        let present = Memory.atomicLoad(link)
        if present != 0 { return present }
        // SAFETY: the control block begins with the frame allocator's.
        let frames = unsafe PageFrames(state: state)
        let new = frames.take(1, frameSize)
        if new == 0 { return 0 }
        Memory.clearFrame(new)
        if Memory.compareExchange(0, new, at: link) {
            Memory.atomicAdd(1, at: state &+ 72)
            return new
        }
        frames.give(new, 1)
        return Memory.atomicLoad(link)
    }
}

/// The first word of a frame's entry.
///
///     bits  0-7   kind: 0 nothing of the heap, 1-32 slab of class kind - 1, 254 a slab's further
///                 frame, 255 the first frame of a large object
///     bits  8-15  the arena that owns it
///     bits 16-27  objects in use
///     bits 28-39  1 + the number of the first object of the slab's free list; 0 at its end
///     bits 40-51  the objects from this number on were never used
///     bits 52-63  the objects that the slab holds
///
/// The second word: for a slab in its class's list 1 + the frame index of the next (low half) and
/// of the previous slab (high half), for a further frame the distance to the first one, for a
/// large object its frames.
struct FrameWord {
    static let furtherFrame: UInt = 254
    static let largeObject: UInt = 255

    var raw: UInt

    init(raw: UInt) { self.raw = raw }

    init(kind: UInt, arena: UInt, capacity: UInt = 0) {
        raw = kind | arena << 8 | capacity << 52
    }

    var kind: UInt { raw & 0xFF }
    var arena: UInt { (raw >> 8) & 0xFF }
    var capacity: UInt { raw >> 52 }

    var used: UInt {
        get { (raw >> 16) & 0xFFF }
        set { raw = raw & ~(0xFFF << 16) | newValue << 16 }
    }

    var firstFree: UInt {
        get { (raw >> 28) & 0xFFF }
        set { raw = raw & ~(0xFFF << 28) | newValue << 28 }
    }

    var firstUntouched: UInt {
        get { (raw >> 40) & 0xFFF }
        set { raw = raw & ~(0xFFF << 40) | newValue << 40 }
    }
}
