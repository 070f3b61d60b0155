/// How an arena's memory is used.
public struct HeapStatistics: Equatable, Sendable {
    /// The usable bytes of the objects that are allocated.
    public let liveBytes: Int
    /// The objects that are allocated.
    public let liveObjects: Int
    /// The largest `liveBytes` so far.
    public let peakBytes: Int
    /// The page frames that objects lie in, an empty slab kept for each busy class included.
    public let framesHeld: Int
}

/// The kernel's heap: `malloc` over page frames.
///
/// Up to 6 KiB, objects come from slabs of their size class (``SizeClass``); larger ones are page
/// frames of their own. All records of slabs lie outside them (``FrameMap``), so a page-aligned
/// buffer of 4096 bytes takes one frame. Nothing here allocates, retains or locks; only the way to
/// the page frames does take a spin lock. Every core allocates from an ``Arena`` of its own; an
/// object may be freed on any core.
///
/// Like ``PageFrames`` this is a handle for a control block that the platform reserves, zero at
/// first, so that there is no initialiser to run before the first `malloc`:
///
///     // C: room for 16 cores
///     _Alignas(64) unsigned char toro_heap_state[1152 + 16 * 384];
///
///     // Swift
///     var heap: Heap { unsafe Heap(state: UInt(bitPattern: &toro_heap_state)) }
///     var arena: Arena { heap.arena(Core.index) }
///
///     func boot(_ map: MemoryMap) {                 // before the first allocation
///         heap.frames.report { fault, address in panic(fault, address) }
///         for region in map { unsafe heap.frames.add(base: region.base, size: region.size) }
///     }
///     @c(malloc) func malloc(_ size: Int) -> UnsafeMutableRawPointer? {
///         unsafe arena.allocate(size)
///     }
///     @c(free) func free(_ memory: UnsafeMutableRawPointer?) {
///         if let memory = unsafe memory { unsafe arena.deallocate(memory) }
///     }
///     // In the run loop, once in a turn: objects that other cores have freed.
///     arena.drain()
@safe public struct Heap: Sendable {
    /// The bytes of the control block for `cores` arenas, up to 256.
    public static func stateSize(cores: Int) -> Int {
        Int(arenasOffset) + cores * Int(Arena.stateSize)
    }

    //  bytes 0 to 63    PageFrames        word 9    tables of the frame map
    //  word 8           lowest address    word 16   root of the frame map, 128 words
    static let arenasOffset: UInt = 128 + FrameMap.rootWords * 8

    let state: UInt

    /// The heap with its control block at `state`, an address divisible by 64 of `stateSize`
    /// bytes that were zero when the first such value was made and are written by nothing else.
    @unsafe public init(state: UInt) { self.state = state }

    /// The page frames the heap draws from; add the machine's RAM here, and set the fault report.
    public var frames: PageFrames {
        // SAFETY: the first 64 bytes of the control block are the frame allocator's.
        unsafe PageFrames(state: state)
    }

    /// Moves the 64 GiB in which the heap uses memory to those from `base` on, a multiple of 4096.
    /// Before the first allocation, and only for a machine or test whose RAM does not begin at 0;
    /// memory beyond is left to `frames`.
    public func setBase(_ base: UInt) { Memory.store(base & ~(frameSize - 1), at: state + 64) }

    /// The page frames that hold the heap's tables; they are never given back.
    public var tableFrames: Int { Int(Memory.atomicLoad(state + 72)) }

    /// The arena of the core with this index, 0 to 255 and less than what the control block has
    /// room for.
    public func arena(_ index: Int) -> Arena { Arena(heap: self, index: UInt(index)) }
}
