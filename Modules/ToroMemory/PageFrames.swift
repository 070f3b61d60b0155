public import ToroCore

/// How much memory there is, in frames of 4096 bytes.
public struct PageFrameStatistics: Equatable, Sendable {
    /// All frames that were added.
    public let total: Int
    /// The free ones.
    public let free: Int
    /// The longest run of free frames in a row.
    public let largestRun: Int

    /// The given figures.
    public init(total: Int, free: Int, largestRun: Int) {
        self.total = total
        self.free = free
        self.largestRun = largestRun
    }
}

/// The machine's free RAM: runs of page frames of 4096 bytes.
///
/// The records are kept in the free frames (``FreeRunTree``), so memory costs nothing to add,
/// however large it is, and only the first frame of a free run is ever touched. Neighbouring free
/// runs are one. Allocation takes the lowest fitting run. A value of this type is a handle: it
/// names a control block of ``stateSize`` bytes, all zero at first, that the platform reserves.
/// All cores share it; a spin lock inside is held for one operation at a time.
///
/// See ``Heap`` for memory of arbitrary sizes, and for an example.
@safe public struct PageFrames: Sendable {
    /// The bytes of the control block.
    public static let stateSize = 64

    //  word 0   the lock            word 3   frames that are free
    //  word 1   the tree            word 4   the report of a fault
    //  word 2   all frames          word 5   lowest address,  word 6   highest address
    private let state: UInt

    /// The allocator with its control block at `state`, an address divisible by 64 of
    /// ``stateSize`` bytes that were zero when the first such value was made and are written by
    /// nothing else.
    @unsafe public init(state: UInt) { self.state = state }

    /// Adds RAM that nothing else uses; parts of frames at its ends are left out, and so is the
    /// frame at address 0. O(log n).
    ///
    /// Returns false, and adds nothing, if the region overlaps free memory or holds no frame.
    ///
    /// The memory must be readable and writable at its address for ever.
    @unsafe @discardableResult
    public func add(base: UInt, size: UInt) -> Bool {
        let (sum, wraps) = base.addingReportingOverflow(size)
        let end = (wraps ? .max : sum) & ~(frameSize - 1)
        guard base <= UInt.max - frameSize else { return false }
        let start = max((base + frameSize - 1) & ~(frameSize - 1), frameSize)
        guard start < end else { return false }
        let count = (end - start) / frameSize
        return lock.locked {
            guard insert(start, count) else { return false }
            let lowest = Memory.load(state + 40)
            if lowest == 0 || start < lowest { Memory.store(start, at: state + 40) }
            Memory.store(max(Memory.load(state + 48), end), at: state + 48)
            Memory.store(Memory.load(state + 16) + count, at: state + 16)
            return true
        }
    }

    /// Calls `handler` when a fault is found; without one a fault traps.
    public func report(to handler: @escaping MemoryFault.Handler) {
        // SAFETY: a C function's pointer is one word; `fault` turns it back.
        Memory.store(unsafe unsafeBitCast(handler, to: UInt.self), at: state + 32)
    }

    /// `count` frames in a row, their first byte at an address divisible by `alignment` (a power
    /// of two). Their contents are arbitrary. O(log n); an alignment above 4096 may take O(n)
    /// when memory is short.
    public func allocate(
        _ count: Int, alignment: Int = 4096
    ) throws(OutOfMemory) -> UnsafeMutableRawPointer {
        let run = count > 0 && alignment > 0 ? take(UInt(count), UInt(alignment)) : 0
        // SAFETY: making a pointer of an address reads nothing.
        guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: run) else {
            let (bytes, overflow) = count.multipliedReportingOverflow(by: Int(frameSize))
            throw OutOfMemory(requested: overflow ? .max : bytes)
        }
        return unsafe memory
    }

    /// Gives back `count` frames from `base` on, all or a part of what one or several calls of
    /// `allocate` returned. O(log n).
    public func deallocate(_ base: UnsafeMutableRawPointer, count: Int) {
        give(UInt(bitPattern: base), UInt(bitPattern: max(count, 0)))
    }

    /// The figures of this moment. O(1).
    public var statistics: PageFrameStatistics {
        lock.locked {
            PageFrameStatistics(
                total: Int(Memory.load(state + 16)), free: Int(Memory.load(state + 24)),
                largestRun: Int(FreeRunTree.largest(Memory.load(state + 8))))
        }
    }

    /// Whether less than a sixteenth of the frames is free, 4 MiB at most, or would be without
    /// `size` bytes of them: what can be refused should be, for the sake of what cannot. O(1),
    /// without the lock.
    public func isScarce(without size: Int = 0) -> Bool {
        let reserve = min(Memory.atomicLoad(state + 16) / 16, 1024)
        let (free, wanted) = (Memory.atomicLoad(state + 24), UInt(max(size, 0)))
        return free < reserve || (free - reserve) * frameSize < wanted
    }

    private var lock: SpinLock { SpinLock(address: state) }

    /// The first address of `count` frames, or 0.
    func take(_ count: UInt, _ alignment: UInt) -> UInt {
        let alignment = max(alignment, frameSize)
        guard alignment & (alignment - 1) == 0 else { return 0 }
        // What is sure to hold an aligned run, wherever it begins.
        let (ample, overflow) = count.addingReportingOverflow(alignment / frameSize - 1)
        return lock.locked {
            let tree = Memory.load(state + 8)
            var run = FreeRunTree.none
            if !overflow {
                run = FreeRunTree.firstFit(
                    wanted: ample, count: count, alignment: alignment, in: tree)
            }
            if run == FreeRunTree.none, alignment > frameSize {
                run = FreeRunTree.firstFit(
                    wanted: count, count: count, alignment: alignment, in: tree)
            }
            guard run != FreeRunTree.none else { return 0 }
            guard FreeRunTree.isIntact(run) else {
                fault(.overwrittenFreeMemory, at: run)
                return 0
            }
            let start = (run &+ alignment &- 1) & ~(alignment - 1)
            let (taken, end) = (start + count * frameSize, FreeRunTree.end(run))
            var rest = FreeRunTree.removing(run, from: tree)
            if run < start {
                let frames = (start - run) / frameSize
                rest = FreeRunTree.inserting(run, frames: frames, into: rest)
            }
            if taken < end {
                let frames = (end - taken) / frameSize
                rest = FreeRunTree.inserting(taken, frames: frames, into: rest)
            }
            Memory.store(rest, at: state + 8)
            Memory.store(Memory.load(state + 24) - count, at: state + 24)
            return start
        }
    }

    /// Takes `count` frames from `start` on back.
    func give(_ start: UInt, _ count: UInt) {
        let accepted = lock.locked {
            let highest = Memory.load(state + 48)
            guard start & (frameSize - 1) == 0, start >= Memory.load(state + 40),
                start < highest, count > 0, count <= (highest - start) / frameSize
            else { return false }
            return insert(start, count)
        }
        if !accepted { fault(.badFrames, at: start) }
    }

    /// Adds a run to the tree, one with its neighbours; false if it overlaps them.
    private func insert(_ start: UInt, _ count: UInt) -> Bool {
        var tree = Memory.load(state + 8)
        let (below, above) = FreeRunTree.neighbours(of: start, in: tree)
        var (first, end) = (start, start + count * frameSize)
        if below != FreeRunTree.none {
            let limit = FreeRunTree.end(below)
            if limit > start { return false }
            if limit == start { first = below }
        }
        if above != FreeRunTree.none {
            if above < end { return false }
            if above == end {
                end = FreeRunTree.end(above)
                tree = FreeRunTree.removing(above, from: tree)
            }
        }
        if first == below { tree = FreeRunTree.removing(below, from: tree) }
        let frames = (end - first) / frameSize
        Memory.store(FreeRunTree.inserting(first, frames: frames, into: tree), at: state + 8)
        Memory.store(Memory.load(state + 24) + count, at: state + 24)
        return true
    }

    /// Reports a fault.
    @inline(never)
    func fault(_ fault: MemoryFault, at address: UInt) {
        let handler = Memory.load(state + 32)
        guard handler != 0 else { fatalError() }
        // SAFETY: `report` stored the pointer of a function of this type.
        unsafe unsafeBitCast(handler, to: MemoryFault.Handler.self)(fault.rawValue, address)
    }
}
