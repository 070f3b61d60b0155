import Glibc
import ToroCore
import ToroMemory
import ToroTesting

/// RAM of its own and a heap over it, for one test.
///
/// Tests speak of addresses; the unsafe constructs they need are all in this file.
@safe final class TestMachine: @unchecked Sendable {
    // SAFETY (@unchecked): the fields are constants; what they point to is the heap's business.
    private let ram: UnsafeMutableRawPointer
    private let state: UnsafeMutableRawPointer
    private let size: Int
    let heap: Heap
    let frames: TestFrames

    /// A machine of `count` page frames, which the heap may use unless `add` is false.
    init(frames count: Int, cores: Int = 1, add: Bool = true) {
        size = count * 4096
        let stateSize = Heap.stateSize(cores: cores)
        unsafe state = .allocate(byteCount: stateSize, alignment: 64)
        // SAFETY: the block was allocated with this size.
        unsafe state.initializeMemory(as: UInt8.self, repeating: 0, count: stateSize)
        let flags = MAP_PRIVATE | MAP_ANONYMOUS
        // SAFETY: a new mapping at a place of the system's choice.
        guard let ram = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, flags, -1, 0),
            unsafe ram != MAP_FAILED
        else { fatalError("the host has no memory for the test") }
        unsafe self.ram = unsafe ram
        // SAFETY: the block is zero, aligned, long enough and lives as long as the machine.
        heap = unsafe Heap(state: UInt(bitPattern: state))
        frames = TestFrames(frames: heap.frames)
        heap.setBase(UInt(bitPattern: ram))
        heap.frames.report { fault, address in FaultLog.shared.record(fault, address) }
        if add { frames.add(base: UInt(bitPattern: ram), size: UInt(size)) }
    }

    deinit {
        // SAFETY: both were made by the initialiser, and tests keep no address beyond this.
        unsafe munmap(ram, size)
        unsafe state.deallocate()
    }

    /// The address of a frame.
    func address(_ frame: Int) -> UInt { unsafe UInt(bitPattern: ram) + UInt(frame) * 4096 }

    func arena(_ core: Int = 0) -> TestArena { TestArena(arena: heap.arena(core)) }

    /// The faults in this machine's memory so far; taking them empties the list.
    func takeFaults() -> [MemoryFault] {
        FaultLog.shared.take(in: address(0)...address(0) + UInt(size))
    }
}

/// Bytes of a test machine, by address.
enum TestMemory {
    static func fill(_ address: UInt, _ byte: UInt8, count: Int) {
        // SAFETY: tests pass what they have allocated, or provoke a fault inside a machine's RAM.
        guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
        unsafe memory.initializeMemory(as: UInt8.self, repeating: byte, count: count)
    }

    static func holds(_ address: UInt, _ byte: UInt8, count: Int) -> Bool {
        guard let memory = unsafe UnsafeRawPointer(bitPattern: address) else { return false }
        // SAFETY: as for `fill`.
        return (0..<count).allSatisfy {
            unsafe memory.load(fromByteOffset: $0, as: UInt8.self) == byte
        }
    }

    static func load(_ address: UInt) -> UInt {
        // SAFETY: as for `fill`.
        unsafe UnsafeRawPointer(bitPattern: address)?.load(as: UInt.self) ?? 0
    }

    static func store(_ value: UInt, at address: UInt) {
        // SAFETY: as for `fill`.
        unsafe UnsafeMutableRawPointer(bitPattern: address)?.storeBytes(of: value, as: UInt.self)
    }
}

/// Page frames by address.
struct TestFrames {
    let frames: PageFrames

    var statistics: PageFrameStatistics { frames.statistics }

    @discardableResult
    func add(base: UInt, size: UInt) -> Bool {
        // SAFETY: the tests' regions lie in their machine's RAM, or are refused.
        unsafe frames.add(base: base, size: size)
    }

    func allocate(_ count: Int, alignment: Int = 4096) throws(OutOfMemory) -> UInt {
        UInt(bitPattern: try unsafe frames.allocate(count, alignment: alignment))
    }

    func deallocate(_ address: UInt, count: Int) {
        guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
        unsafe frames.deallocate(memory, count: count)
    }
}

/// An arena by address, and as the exerciser sees it.
struct TestArena: ExercisedHeap {
    let arena: Arena

    var statistics: HeapStatistics { arena.statistics }

    func allocate(_ size: Int, alignment: Int = 16) -> UInt? {
        unsafe arena.allocate(size, alignment: alignment).map { UInt(bitPattern: $0) }
    }

    func deallocate(_ address: UInt) {
        guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return }
        unsafe arena.deallocate(memory)
    }

    func reallocate(_ address: UInt, size: Int) -> UInt? {
        guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return nil }
        return unsafe arena.reallocate(memory, size: size).map { UInt(bitPattern: $0) }
    }

    func usableSize(_ address: UInt) -> Int {
        guard let memory = unsafe UnsafeMutableRawPointer(bitPattern: address) else { return 0 }
        return unsafe arena.usableSize(memory)
    }

    func allocate(size: Int, alignment: Int) -> UnsafeMutableRawPointer? {
        unsafe arena.allocate(size, alignment: alignment)
    }

    func reallocate(_ memory: UnsafeMutableRawPointer, size: Int) -> UnsafeMutableRawPointer? {
        unsafe arena.reallocate(memory, size: size)
    }

    func deallocate(_ memory: UnsafeMutableRawPointer) { unsafe arena.deallocate(memory) }

    func usableSize(_ memory: UnsafeMutableRawPointer) -> Int { unsafe arena.usableSize(memory) }
}
