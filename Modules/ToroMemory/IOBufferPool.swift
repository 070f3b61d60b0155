import CToroCore
public import ToroCore

/// Buffers of one size that are used again and again: a driver's receive and transmit memory.
///
/// A buffer that is dropped comes back to the pool, which keeps it for the next `take`. The pool
/// never has more than `limit` buffers, so a peer cannot make a driver eat all memory. Buffers may
/// outlive the pool's last other reference. For one core only, like the drivers that use it.
///
/// Do not use it for buffers that an application keeps for long: an empty pool starves its driver.
@safe public final class IOBufferPool: IOBufferOwner {
    /// The bytes of each buffer.
    public let bufferCapacity: Int
    /// What each buffer's address is divisible by.
    public let alignment: Int
    /// The most buffers there may be, those in use included.
    public let limit: Int

    /// The buffers that there are, in use or idle.
    public private(set) var allocatedCount = 0
    /// The buffers that wait in the pool.
    public private(set) var idleCount = 0
    /// The buffers in somebody's hands.
    public var inUseCount: Int { allocatedCount - idleCount }
    /// The most buffers that were in use at a time.
    public private(set) var peakInUse = 0

    /// Called after a buffer has come back, in the middle of whatever dropped it: only note the
    /// event, and do the work in the run loop.
    public var onReturn: (() -> Void)?

    /// The first idle buffer; the first word of each holds the address of the next.
    private var idle: UnsafeMutableRawPointer?

    /// A pool of at most `limit` buffers of `bufferCapacity` bytes (16 at least, or none can be
    /// taken); no buffer is allocated yet. `alignment` is a power of two from 8 to 4096.
    public init(bufferCapacity: Int, alignment: Int = 64, limit: Int) {
        self.bufferCapacity = bufferCapacity
        self.alignment = alignment
        self.limit = limit
    }

    deinit { trim() }

    /// An empty buffer. Throws when all `limit` buffers are in use or there is no memory for one
    /// more.
    public func take() throws(OutOfMemory) -> IOBuffer {
        if idleCount == 0 { try reserve(1) }
        guard let base = unsafe idle else { throw OutOfMemory(requested: bufferCapacity) }
        // SAFETY: an idle buffer's first word is the pool's.
        unsafe idle = base.load(as: UnsafeMutableRawPointer?.self)
        idleCount -= 1
        peakInUse = max(peakInUse, inUseCount)
        // SAFETY: the memory has that size and nobody else has it.
        return unsafe IOBuffer(base: base, capacity: bufferCapacity, owner: self)
    }

    /// Sees to it that at least `count` buffers are idle, so that as many calls of `take` cannot
    /// fail. Throws when that is above the limit or there is no memory; those made stay.
    public func reserve(_ count: Int) throws(OutOfMemory) {
        while idleCount < count {
            guard allocatedCount < limit, bufferCapacity >= 16,
                let base = unsafe toro_allocate(bufferCapacity, alignment)
            else { throw OutOfMemory(requested: bufferCapacity) }
            allocatedCount += 1
            unsafe push(base)
        }
    }

    /// Frees the idle buffers.
    public func trim() {
        while let base = unsafe idle {
            // SAFETY: the buffer is idle, its first word is the pool's, and it ends here.
            unsafe idle = base.load(as: UnsafeMutableRawPointer?.self)
            unsafe toro_deallocate(base)
            idleCount -= 1
            allocatedCount -= 1
        }
    }

    /// Takes a dropped buffer's memory back; see ``ToroCore/IOBufferOwner``.
    public func reclaim(_ base: UnsafeMutableRawPointer, capacity: Int) {
        unsafe push(base)
        onReturn?()
    }

    private func push(_ base: UnsafeMutableRawPointer) {
        // SAFETY: the memory is the pool's now, and at least one word long.
        unsafe base.storeBytes(of: idle, as: UnsafeMutableRawPointer?.self)
        unsafe idle = base
        idleCount += 1
    }
}
