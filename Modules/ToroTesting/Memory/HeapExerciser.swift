/// A heap as ``HeapExerciser`` uses it: the four calls of `malloc`'s family.
public protocol ExercisedHeap {
    /// Memory of at least `size` bytes at an address divisible by `alignment`, or nil.
    func allocate(size: Int, alignment: Int) -> UnsafeMutableRawPointer?
    /// The object with room for `size` bytes, moved if need be, contents kept; or nil.
    func reallocate(_ memory: UnsafeMutableRawPointer, size: Int) -> UnsafeMutableRawPointer?
    /// Ends the object's life.
    func deallocate(_ memory: UnsafeMutableRawPointer)
    /// The bytes that may be used.
    func usableSize(_ memory: UnsafeMutableRawPointer) -> Int
}

/// Random use of a heap with every promise checked: alignment, true sizes, and contents that
/// change only by their owner's hand.
///
/// The same seed gives the same steps, on a host as in a guest. Each object is filled with a
/// pattern of its own up to its *usable* size, and checked before it is freed or moved: objects up
/// to 512 bytes wholly, larger ones in a word of every 64 bytes and at both ends.
///
///     var exerciser = HeapExerciser(heap: heap, seed: 7, maximumLiveBytes: 1 << 20)
///     try exerciser.run(steps: 1_000_000)
///     try exerciser.finish()
@safe public struct HeapExerciser<Heap: ExercisedHeap> {
    /// Which promise the heap broke, and in which step.
    public enum Failure: Error, Equatable {
        /// An address is not divisible by the alignment that was asked for.
        case misaligned(step: Int)
        /// The usable size is less than what was asked for.
        case tooSmall(step: Int)
        /// An object's bytes have changed.
        case contentsChanged(step: Int)
    }

    @safe private struct Object {
        let memory: UnsafeMutableRawPointer
        /// The bytes that hold the pattern and may be used.
        var size: Int
        /// The bytes that were filled; more than `size` after the object has shrunk.
        var filled: Int
        var pattern: UInt64
    }

    private let heap: Heap
    private let maximumLiveBytes: Int
    private var random: SeededRandom
    private var objects: [Object] = []

    /// The steps done so far.
    public private(set) var steps = 0
    /// The usable bytes of the objects that are live.
    public private(set) var liveBytes = 0
    /// The requests that the heap had no memory for.
    public private(set) var refusals = 0
    /// The objects that are live.
    public var liveObjects: Int { objects.count }

    /// An exerciser of `heap` that keeps at most about `maximumLiveBytes` live.
    public init(heap: Heap, seed: UInt64, maximumLiveBytes: Int) {
        self.heap = heap
        self.maximumLiveBytes = maximumLiveBytes
        random = SeededRandom(seed: seed)
    }

    /// Does `count` steps: allocates, resizes or frees at random.
    public mutating func run(steps count: Int) throws(Failure) {
        for _ in 0..<count {
            steps += 1
            let choice = random.below(100)
            if choice < 50 && liveBytes < maximumLiveBytes {
                try allocate()
            } else if objects.isEmpty {
                continue
            } else if choice < 60 {
                try resize(random.below(objects.count))
            } else {
                try free(random.below(objects.count))
            }
        }
    }

    /// Frees all that is live.
    public mutating func finish() throws(Failure) {
        while !objects.isEmpty { try free(random.below(objects.count)) }
    }

    private mutating func allocate() throws(Failure) {
        let size = randomSize()
        let alignment = random.below(4) > 0 ? 16 : 8 << random.below(10)
        guard let memory = unsafe heap.allocate(size: size, alignment: alignment) else {
            refusals += 1
            return
        }
        guard UInt(bitPattern: memory) % UInt(alignment) == 0 else {
            throw .misaligned(step: steps)
        }
        // SAFETY: the heap says that the object is at `memory`.
        objects.append(unsafe Object(memory: memory, size: 0, filled: 0, pattern: 0))
        try refill(objects.count - 1, asked: size)
    }

    private mutating func resize(_ index: Int) throws(Failure) {
        let old = objects[index]
        let size = randomSize()
        guard let memory = unsafe heap.reallocate(old.memory, size: size) else {
            refusals += 1
            return
        }
        guard UInt(bitPattern: memory) % 16 == 0 else { throw .misaligned(step: steps) }
        let kept = min(size, old.size)
        // SAFETY: the heap says that the object is at `memory` now, `size` bytes long at least.
        objects[index] = unsafe Object(
            memory: memory, size: kept, filled: old.filled, pattern: old.pattern)
        try check(index)
        liveBytes += kept - old.size
        try refill(index, asked: size)
    }

    private mutating func free(_ index: Int) throws(Failure) {
        try check(index)
        let object = objects[index]
        objects[index] = objects[objects.count - 1]
        objects.removeLast()
        liveBytes -= object.size
        unsafe heap.deallocate(object.memory)
    }

    /// Mostly small, as programs are; one in a hundred up to 64 KiB.
    private mutating func randomSize() -> Int {
        switch random.below(100) {
        case 0..<70: random.below(257)
        case 70..<90: random.below(2_049)
        case 90..<99: random.below(8_193)
        default: random.below(65_537)
        }
    }

    /// Takes the object's new size, and writes a new pattern over all of it.
    private mutating func refill(_ index: Int, asked: Int) throws(Failure) {
        let memory = unsafe objects[index].memory
        let size = unsafe heap.usableSize(memory)
        guard size >= asked else { throw .tooSmall(step: steps) }
        liveBytes += size - objects[index].size
        let pattern = random.next()
        objects[index].size = size
        objects[index].filled = size
        objects[index].pattern = pattern
        forEachOffset(in: objects[index]) { offset in
            // SAFETY: the word lies in the usable size, which is ours to write.
            unsafe memory.storeBytes(
                of: pattern &+ UInt64(offset), toByteOffset: offset, as: UInt64.self)
            return true
        }
    }

    private func check(_ index: Int) throws(Failure) {
        let object = objects[index]
        let intact = forEachOffset(in: object) { offset in
            // SAFETY: the word lies in the object and was written by `refill`.
            unsafe object.memory.load(fromByteOffset: offset, as: UInt64.self)
                == object.pattern &+ UInt64(offset)
        }
        guard intact else { throw .contentsChanged(step: steps) }
    }

    /// Calls `body` with the offsets of the words that were filled and are still the object's,
    /// until it returns false.
    @discardableResult
    private func forEachOffset(in object: Object, _ body: (Int) -> Bool) -> Bool {
        let (words, limit) = (object.filled / 8, object.size / 8)
        let step = words <= 64 ? 1 : 8
        var word = 0
        while word < limit {
            guard body(word * 8) else { return false }
            // The last word is never left out.
            word = word < words - 1 ? min(word + step, words - 1) : words
        }
        return true
    }
}
