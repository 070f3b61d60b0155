/// A range of physical addresses.
public struct PhysicalRange: Equatable, Sendable {
    /// The first address.
    public var start: UInt64
    /// The address behind the last.
    public var end: UInt64

    /// `start..<end`; empty if `end` is not above `start`.
    public init(_ start: UInt64, _ end: UInt64) {
        self.start = start
        self.end = max(start, end)
    }

    /// Whether there is no address in it.
    public var isEmpty: Bool { start == end }

    /// The largest range of whole 4 KiB pages inside.
    public var wholePages: PhysicalRange {
        let first = start > .max - 4095 ? .max & ~4095 : (start + 4095) & ~4095
        return PhysicalRange(first, max(first, end & ~4095))
    }
}

/// The RAM of the machine, as the start info's memory map gives it.
///
/// A fixed table: it is read before there is a heap.
public struct MemoryMap: Sendable {
    /// The most ranges that are kept; RAM in later ones is not used.
    public static let capacity = 16
    /// The length of an entry (`hvm_memmap_table_entry`): address, size, type, reserved.
    public static let entrySize = 24
    /// The type of usable RAM (XEN_HVM_MEMMAP_TYPE_RAM).
    static let ramType: UInt32 = 1

    private var ranges = InlineArray<16, PhysicalRange>(repeating: PhysicalRange(0, 0))
    /// The number of ranges of RAM.
    public private(set) var count = 0

    /// The RAM in a table of entries; entries of other types, and such that wrap around the
    /// address space, are left out.
    public init(parsing table: RawSpan) {
        for index in 0..<table.byteCount / MemoryMap.entrySize {
            let offset = index * MemoryMap.entrySize
            guard count < MemoryMap.capacity,
                let start = table.load(UInt64.self, at: offset),
                let size = table.load(UInt64.self, at: offset + 8),
                table.load(UInt32.self, at: offset + 16) == MemoryMap.ramType,
                size <= .max - start
            else { continue }
            let range = PhysicalRange(start, start + size).wholePages
            guard !range.isEmpty else { continue }
            ranges[count] = range
            count += 1
        }
    }

    /// The range at `index`, below `count`.
    public subscript(index: Int) -> PhysicalRange { ranges[index] }

    /// The address behind the highest RAM.
    public var end: UInt64 {
        var end: UInt64 = 0
        for index in 0..<count { end = max(end, ranges[index].end) }
        return end
    }

    /// All RAM in bytes.
    public var size: UInt64 {
        var size: UInt64 = 0
        for index in 0..<count { size += ranges[index].end - ranges[index].start }
        return size
    }

    /// How far ``nextFree(_:in:except:)`` has come.
    public struct Cursor {
        fileprivate var index = 0
        fileprivate var rest = PhysicalRange(0, 0)

        /// Before the first range.
        public init() {}
    }

    /// The next range of whole pages of RAM inside `window` that meets none of `reserved`, nil
    /// after the last; in ascending order within each range of RAM.
    @inline(never) public func nextFree(
        _ cursor: inout Cursor, in window: PhysicalRange, except reserved: Span<PhysicalRange>
    ) -> PhysicalRange? {
        while true {
            if let free = MemoryMap.takeFree(from: &cursor.rest, except: reserved) { return free }
            guard cursor.index < count else { return nil }
            let range = ranges[cursor.index]
            cursor.rest = PhysicalRange(max(range.start, window.start), min(range.end, window.end))
            cursor.index += 1
        }
    }

    /// Takes the next range of whole pages that meets none of `reserved` from the front of `rest`.
    private static func takeFree(
        from rest: inout PhysicalRange, except reserved: Span<PhysicalRange>
    ) -> PhysicalRange? {
        while !rest.isEmpty {
            var next = rest.end
            var hole = rest.start
            for position in reserved.indices {
                let range = reserved[position]
                if range.isEmpty || range.end <= rest.start || range.start >= next { continue }
                if range.start <= rest.start {
                    hole = max(hole, range.end)
                } else {
                    next = range.start
                }
            }
            if hole > rest.start {
                rest = PhysicalRange(hole, rest.end)
                continue
            }
            let free = PhysicalRange(rest.start, next).wholePages
            rest = PhysicalRange(next, rest.end)
            if !free.isEmpty { return free }
        }
        return nil
    }
}
