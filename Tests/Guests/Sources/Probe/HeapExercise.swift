import CHeap

/// Random `malloc`, `realloc` and `free` with every object's contents checked before it changes.
///
/// Each object is filled with words that depend on its slot and its generation, so memory that
/// belongs to two objects, or lost its contents in a move, is found.
struct HeapExercise: ~Copyable {
    @safe private struct Slot {
        var memory: UnsafeMutableRawPointer?
        var size = 0
        var pattern: UInt64 = 0
    }

    private static let slotCount = 1_000
    private var slots = [Slot](repeating: Slot(), count: slotCount)
    private var random: UInt64
    private var checked = 0

    init(seed: UInt64) { random = seed }

    /// Takes `steps` steps, frees everything and returns the number of bytes checked.
    consuming func run(steps: UInt64) throws(ProbeError) -> Int {
        for step in 0..<steps {
            let index = Int(next() % UInt64(HeapExercise.slotCount))
            if next() % 4 == 0 {
                try release(index)
            } else {
                try resize(index, step)
            }
        }
        for index in slots.indices { try release(index) }
        return checked
    }

    /// A size from 0 to 64 KiB, small ones much more often.
    private mutating func size() -> Int {
        let shift = next() % 13
        return Int(next() % (UInt64(16) << shift))
    }

    private mutating func resize(_ index: Int, _ step: UInt64) throws(ProbeError) {
        var slot = slots[index]
        let size = size()
        if let memory = unsafe slot.memory {
            try check(slot, count: slot.size)
            unsafe slot.memory = realloc(memory, size)
            try check(slot, count: min(size, slot.size))
        } else {
            unsafe slot.memory = malloc(size)
        }
        guard let memory = unsafe slot.memory, UInt(bitPattern: memory) % 16 == 0 else {
            throw .failed("no memory, or memory that is not aligned")
        }
        slot.size = size
        slot.pattern = step &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(index)
        for word in 0..<size / 8 {
            unsafe memory.storeBytes(
                of: slot.pattern &+ UInt64(word), toByteOffset: word * 8, as: UInt64.self)
        }
        for offset in size & ~7..<size {
            unsafe memory.storeBytes(
                of: UInt8(truncatingIfNeeded: slot.pattern), toByteOffset: offset, as: UInt8.self)
        }
        slots[index] = slot
    }

    private mutating func release(_ index: Int) throws(ProbeError) {
        guard let memory = unsafe slots[index].memory else { return }
        try check(slots[index], count: slots[index].size)
        unsafe free(memory)
        slots[index] = Slot()
    }

    private mutating func check(_ slot: Slot, count: Int) throws(ProbeError) {
        guard let memory = unsafe slot.memory else { throw .failed("realloc gave no memory") }
        var isWhole = true
        for word in 0..<count / 8 {
            let found = unsafe memory.load(fromByteOffset: word * 8, as: UInt64.self)
            isWhole = isWhole && found == slot.pattern &+ UInt64(word)
        }
        for offset in slot.size & ~7..<max(slot.size & ~7, count) {
            let found = unsafe memory.load(fromByteOffset: offset, as: UInt8.self)
            isWhole = isWhole && found == UInt8(truncatingIfNeeded: slot.pattern)
        }
        guard isWhole else { throw .failed("an object lost its contents") }
        checked += count
    }

    /// The next number of an xorshift generator (Marsaglia 2003).
    private mutating func next() -> UInt64 {
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return random
    }
}
