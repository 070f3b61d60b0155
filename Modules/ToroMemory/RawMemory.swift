import Synchronization

/// Machine words by their address: the one place where the allocator meets raw memory.
///
/// An allocator turns numbers into objects, so it works on addresses (`UInt`, 0 for none) and
/// keeps its own records in the memory it manages. Every address given to these functions is
/// divisible by 8 and lies in a control block, in a table frame, or in memory that is free and
/// therefore the allocator's own.
enum Memory {
    /// The word at `address`.
    @inline(__always) static func load(_ address: UInt) -> UInt {
        // SAFETY: see above; the callers own the word.
        unsafe UnsafePointer<UInt>(bitPattern: address).unsafelyUnwrapped.pointee
    }

    /// Writes the word at `address`.
    @inline(__always) static func store(_ value: UInt, at address: UInt) {
        // SAFETY: see above; the callers own the word.
        unsafe UnsafeMutablePointer<UInt>(bitPattern: address).unsafelyUnwrapped.pointee = value
    }

    /// The word at `address`, which other cores may write.
    @inline(__always) static func atomicLoad(_ address: UInt) -> UInt {
        // SAFETY: see above; an `Atomic<UInt>` is laid out as a `UInt`.
        unsafe atomic(address).pointee.load(ordering: .acquiring)
    }

    /// Writes the word at `address`, which other cores may read.
    @inline(__always) static func atomicStore(_ value: UInt, at address: UInt) {
        // SAFETY: as for `atomicLoad`.
        unsafe atomic(address).pointee.store(value, ordering: .releasing)
    }

    /// Puts `new` in the place of `old`; false if another core was faster.
    @inline(__always)
    static func compareExchange(_ old: UInt, _ new: UInt, at address: UInt) -> Bool {
        // SAFETY: as for `atomicLoad`.
        unsafe atomic(address).pointee.compareExchange(
            expected: old, desired: new, ordering: .acquiringAndReleasing
        ).exchanged
    }

    /// Puts `new` at `address` and returns what was there.
    @inline(__always) static func exchange(_ new: UInt, at address: UInt) -> UInt {
        // SAFETY: as for `atomicLoad`.
        unsafe atomic(address).pointee.exchange(new, ordering: .acquiringAndReleasing)
    }

    /// Adds to the word at `address`, a counter of several cores.
    @inline(__always) static func atomicAdd(_ value: UInt, at address: UInt) {
        // SAFETY: as for `atomicLoad`.
        unsafe atomic(address).pointee.wrappingAdd(value, ordering: .relaxed)
    }

    /// Fills a frame with zeroes.
    static func clearFrame(_ address: UInt) {
        // SAFETY: the frame is the allocator's own, 4096 bytes long.
        unsafe UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped
            .initializeMemory(as: UInt8.self, repeating: 0, count: Int(frameSize))
    }

    @inline(__always)
    private static func atomic(_ address: UInt) -> UnsafePointer<Atomic<UInt>> {
        unsafe UnsafePointer<Atomic<UInt>>(bitPattern: address).unsafelyUnwrapped
    }
}

/// The bytes of a page frame.
let frameSize: UInt = 4096

/// A lock for a few instructions: a word that is 0 when free.
///
/// Not for use where an interrupt handler might want it, too; Toro's handlers allocate nothing.
struct SpinLock {
    /// The address of the word.
    let address: UInt

    /// Waits until no other core holds the lock, and holds it.
    @inline(never) func acquire() {
        while Memory.exchange(1, at: address) != 0 {
            while Memory.atomicLoad(address) != 0 {}
        }
    }

    /// Lets another core have it.
    @inline(__always) func release() { Memory.atomicStore(0, at: address) }

    /// Runs `body` while no other core holds the lock.
    @inline(__always) func locked<T>(_ body: () -> T) -> T {
        acquire()
        defer { release() }
        return body()
    }
}
