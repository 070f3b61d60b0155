import MachineDescription
import Testing
import ToroTesting

/// Frames for page tables in the memory of the test, whose addresses play physical ones.
@safe final class TableFrames {
    private var frames: [UInt] = []
    private let limit: Int

    init(limit: Int = 1000) { self.limit = limit }

    deinit {
        // SAFETY: each was allocated in `make`.
        for frame in frames { unsafe UnsafeMutableRawPointer(bitPattern: frame)?.deallocate() }
    }

    var count: Int { frames.count }

    func make() -> UInt64? {
        guard frames.count < limit else { return nil }
        let frame = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        unsafe frame.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        frames.append(UInt(bitPattern: frame))
        return UInt64(UInt(bitPattern: frame))
    }

    /// What a processor finds for an address: the physical one and the entry's rights; nil for a
    /// page fault. Written after the manual and apart from `PageMap`.
    func translate(_ address: UInt64, root: UInt64) -> (address: UInt64, entry: UInt64)? {
        var table = root
        for level in [39, 30, 21, 12] as [UInt64] {
            guard let base = unsafe UnsafePointer<UInt64>(bitPattern: UInt(table)) else {
                return nil
            }
            // SAFETY: a table has 512 entries and the index is below that.
            let entry = unsafe base[Int(address >> level & 0x1ff)]
            guard entry & 1 == 1 else { return nil }
            let isLeaf = level == 12 || entry & 0x80 != 0
            let target = entry & 0x000f_ffff_ffff_f000
            if isLeaf { return (target + address & ((1 << level) - 1), entry) }
            table = target
        }
        return nil
    }
}

@Suite struct PageMapTests {
    @Test(arguments: [false, true])
    func mapsWithTheLargestPages(_ hugePages: Bool) throws {
        let frames = TableFrames()
        let map = try PageMap(hugePages: hugePages) { frames.make() }
        let (start, length): (UInt64, UInt64) = (0x3fe0_1000, 0x8060_3000)
        try map.map(start, to: start, length: length, .write)
        for address in [
            start, 0x3fff_ffff, 0x4000_0000, 0x7fff_fff8, 0xbfff_ffff, start + length - 1,
        ] {
            #expect(frames.translate(address, root: map.root)?.address == address)
        }
        #expect(frames.translate(start - 1, root: map.root) == nil)
        #expect(frames.translate(start + length, root: map.root) == nil)
        // Of 2 GiB the most is in pages of 1 GiB, or of 2 MiB.
        #expect(frames.count <= (hugePages ? 7 : 9))
    }

    @Test func rightsAreTheOnesAskedFor() throws {
        let frames = TableFrames()
        let map = try PageMap(hugePages: false) { frames.make() }
        let (writable, noExecute, uncached): (UInt64, UInt64, UInt64) = (2, 1 << 63, 0x18)
        let all: [(PageRights, UInt64)] = [
            ([], noExecute), (.write, writable | noExecute), (.execute, 0),
            ([.write, .device], writable | noExecute | uncached),
        ]
        for (index, (rights, bits)) in all.enumerated() {
            let address = UInt64(index + 1) << 12
            try map.map(address, to: address, length: 4096, rights)
            let entry = frames.translate(address, root: map.root)?.entry ?? 0
            #expect(entry & (writable | noExecute | uncached) == bits)
        }
    }

    @Test func refusesWhatIsThereOrCrooked() throws {
        let frames = TableFrames()
        let map = try PageMap(hugePages: false) { frames.make() }
        try map.map(0x40_0000, to: 0x40_0000, length: 0x20_0000, .write)
        #expect(throws: PageMapError.occupied(0x40_0000)) {
            try map.map(0x40_0000, to: 0, length: 4096, .write)
        }
        #expect(throws: PageMapError.misaligned) {
            try map.map(0x1001, to: 0x1000, length: 4096, .write)
        }
        #expect(throws: PageMapError.misaligned) {
            try map.map(0x1000, to: 0x1000, length: 1, .write)
        }
    }

    @Test func withoutFramesItIsAnError() throws {
        for limit in 0..<4 {
            let frames = TableFrames(limit: limit)
            #expect(throws: PageMapError.outOfMemory) {
                try PageMap(hugePages: false) { frames.make() }
                    .map(0x1000, to: 0x1000, length: 4096, .write)
            }
        }
    }

    @Test func aFurtherCoreSharesWhatItIsGiven() throws {
        let frames = TableFrames()
        let first = try PageMap(hugePages: false) { frames.make() }
        let second = try PageMap(hugePages: false) { frames.make() }
        try first.map(0x1000, to: 0x5000, length: 4096, .write)
        try second.map(0xffff_ffff_c000_0000, to: 0x9000, length: 4096, .write)
        second.share(top: 0x1000, with: first)
        try first.map(0x2000, to: 0x6000, length: 4096, .write)
        #expect(frames.translate(0x1008, root: second.root)?.address == 0x5008)
        #expect(frames.translate(0x2008, root: second.root)?.address == 0x6008)
        #expect(frames.translate(0xffff_ffff_c000_0000, root: first.root) == nil)
    }
}
