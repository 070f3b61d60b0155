import Testing
import ToroCore
import ToroTesting

@testable import MachineDescription

/// Bytes as a hypervisor writes them, little-endian.
struct Bytes {
    var all: [UInt8] = []

    mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        for shift in stride(from: 0, to: Value.bitWidth, by: 8) {
            all.append(UInt8(truncatingIfNeeded: value >> Value(shift)))
        }
    }
}

/// Whether the bytes are this text.
func isName(_ bytes: RawSpan, _ text: String) -> Bool {
    bytes.byteCount == text.utf8.count
        && text.utf8.enumerated().allSatisfy { bytes.load(UInt8.self, at: $0.offset) == $0.element }
}

@Suite struct StartInfoTests {
    private func bytes(
        magic: UInt32 = StartInfo.magic, version: UInt32 = 1, map: UInt64 = 0x7000,
        count: UInt32 = 3
    ) -> [UInt8] {
        var bytes = Bytes()
        for word: UInt32 in [magic, version, 0, 0] { bytes.append(word) }
        for word: UInt64 in [0, 0x6000, 0, map] { bytes.append(word) }
        bytes.append(count)
        bytes.append(UInt32(0))
        return bytes.all
    }

    @Test func readsWhatQEMUWrites() throws {
        let info = try StartInfo(parsing: bytes().raw)
        #expect(info.commandLine == 0x6000)
        #expect(info.memoryMap == 0x7000)
        #expect(info.memoryMapCount == 3)
    }

    @Test func refusesEverythingElse() {
        #expect(throws: StartInfoError.badMagic(1)) {
            try StartInfo(parsing: bytes(magic: 1).raw)
        }
        #expect(throws: StartInfoError.noMemoryMap) {
            try StartInfo(parsing: bytes(version: 0).raw)
        }
        #expect(throws: StartInfoError.noMemoryMap) {
            try StartInfo(parsing: bytes(map: 0).raw)
        }
        #expect(throws: StartInfoError.noMemoryMap) {
            try StartInfo(parsing: bytes(count: 0).raw)
        }
        for length in 0..<52 {
            let cut = Array(bytes().prefix(length))
            #expect(throws: StartInfoError.truncated) { try StartInfo(parsing: cut.raw) }
        }
    }
}

@Suite struct MemoryMapTests {
    private func table(_ entries: [(start: UInt64, size: UInt64, type: UInt32)]) -> [UInt8] {
        var bytes = Bytes()
        for entry in entries {
            bytes.append(entry.start)
            bytes.append(entry.size)
            bytes.append(entry.type)
            bytes.append(UInt32(0))
        }
        return bytes.all
    }

    @Test func keepsWholePagesOfRAM() {
        let map = MemoryMap(
            parsing: table([
                (0, 0x9_fc00, 1), (0x9_fc00, 0x400, 2), (0x10_0000, 0x1f0_0000, 1),
                (0xffff_ffff_ffff_0000, 0x1_0000_0000, 1), (0x1_0000_0800, 0x800, 1),
            ]).raw)
        #expect(map.count == 2)
        #expect(map[0] == PhysicalRange(0, 0x9_f000))
        #expect(map[1] == PhysicalRange(0x10_0000, 0x200_0000))
        #expect(map.size == 0x9_f000 + 0x1f0_0000)
    }

    @Test func moreRangesThanFitAreLeftOut() {
        let entries = (0..<100).map {
            (start: UInt64($0) << 20, size: UInt64(4096), type: UInt32(1))
        }
        let map = MemoryMap(parsing: table(entries).raw)
        #expect(map.count == MemoryMap.capacity)
    }

    /// Against a model that marks pages one by one.
    @Test(arguments: FuzzSeeds.all(1...20)) func freeRangesAgreeWithABitmap(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { compareFreeRanges(seed) }
    }

    private func compareFreeRanges(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        func range() -> PhysicalRange {
            let start = UInt64.random(in: 0..<200 * 4096, using: &random)
            return PhysicalRange(start, start + UInt64.random(in: 0...30 * 4096, using: &random))
        }
        // RAM ranges of a map do not overlap: every other piece of a ruler.
        var entries: [(start: UInt64, size: UInt64, type: UInt32)] = []
        var at: UInt64 = 0
        for _ in 0..<6 {
            at += UInt64.random(in: 0..<20 * 4096, using: &random)
            let size = UInt64.random(in: 0..<30 * 4096, using: &random)
            entries.append((at, size, 1))
            at += size
        }
        let map = MemoryMap(parsing: table(entries).raw)
        let reserved = (0..<5).map { _ in range() }
        let window = range()
        var expected = Set<UInt64>()
        for index in 0..<map.count {
            for page in stride(from: map[index].start, to: map[index].end, by: 4096) {
                let isInside = page >= window.start && page + 4096 <= window.end
                let isReserved = reserved.contains {
                    !$0.isEmpty && $0.start < page + 4096 && $0.end > page
                }
                if isInside && !isReserved { expected.insert(page) }
            }
        }
        var found = Set<UInt64>()
        var cursor = MemoryMap.Cursor()
        while let range = map.nextFree(&cursor, in: window, except: reserved.span) {
            for page in stride(from: range.start, to: range.end, by: 4096) {
                #expect(found.insert(page).inserted)
            }
        }
        #expect(found == expected)
    }
}

@Suite struct CommandLineTests {
    @Test func readsWhatTheLauncherWrites() {
        let text = Array(
            ("console=x toro.arg=a%20b toro.arg= toro.env=K=v%3D1 toro.env=L= toro.epoch=17.25\n"
                + "virtio_mmio.device=512@0xfeb00000:5 virtio_mmio.device=1K@4273997312:7:1").utf8)
        let line = KernelCommandLine(parsing: text.raw)
        #expect(line.epoch?.seconds == 17)
        #expect(line.epoch?.nanoseconds == 250_000_000)
        #expect(line.devices.count == 2)
        let (first, second) = (line.devices[0], line.devices[1])
        #expect(first.address == 0xfeb0_0000 && first.size == 512 && first.interrupt == 5)
        #expect(second.address == 4_273_997_312 && second.size == 1024 && second.interrupt == 7)
        #expect(KernelCommandLine.arguments(in: text.raw) == [Array("a b".utf8), []])
        let value = KernelCommandLine.environment(in: text.raw) { isName($0, "K") }
        #expect(value == Array("v=1".utf8))
        #expect(KernelCommandLine.environment(in: text.raw) { isName($0, "L") } == [])
        #expect(KernelCommandLine.environment(in: text.raw) { isName($0, "M") } == nil)
        #expect(KernelCommandLine.environment(in: text.raw) { _ in true } == [])
    }

    @Test(arguments: [
        "virtio_mmio.device=", "virtio_mmio.device=512", "virtio_mmio.device=512@0xfeb00000",
        "virtio_mmio.device=@1:2", "virtio_mmio.device=K@1:2", "virtio_mmio.device=0@1:2",
        "virtio_mmio.device=512@0x:2", "virtio_mmio.device=512@1:", "virtio_mmio.device=512@1:256",
        "virtio_mmio.device=512@99999999999999999999:1", "virtio_mmio.device=5x2@1:1",
    ])
    func aMalformedDeviceIsNone(_ word: String) {
        let text = Array(word.utf8)
        #expect(KernelCommandLine(parsing: text.raw).devices.isEmpty)
    }

    @Test(arguments: [
        "toro.epoch=", "toro.epoch=x", "toro.epoch=1.", "toro.epoch=1.x", "toro.epoch=-1",
        "toro.epoch=9223372036854775808",
    ])
    func aMalformedEpochIsNone(_ word: String) {
        let text = Array(word.utf8)
        #expect(KernelCommandLine(parsing: text.raw).epoch == nil)
    }

    @Test func brokenEscapesAreLeftOut() {
        let text = Array(
            "toro.arg=%4 toro.arg=% toro.arg=%zz toro.env==v toro.env=x toro.arg=ok".utf8)
        #expect(KernelCommandLine.arguments(in: text.raw) == [Array("ok".utf8)])
        #expect(KernelCommandLine.environment(in: text.raw) { _ in true } == nil)
    }

    /// Bytes at random, made of what the parser looks for.
    @Test(arguments: FuzzSeeds.all(7...7)) func survivesAnything(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { anything(seed) }
    }

    private func anything(_ seed: UInt64) {
        let words = ["toro.arg=", "toro.env=", "toro.epoch=", "virtio_mmio.device=", "%", "@", ":"]
        var random = SeededRandom(seed: seed)
        for _ in 0..<20_000 {
            var text: [UInt8] = []
            for _ in 0..<Int.random(in: 0..<8, using: &random) {
                text += Array(words[Int.random(in: 0..<words.count, using: &random)].utf8)
                for _ in 0..<Int.random(in: 0..<4, using: &random) {
                    text.append(UInt8.random(in: 0...255, using: &random))
                }
            }
            let devices = KernelCommandLine(parsing: text.raw).devices
            for device in (0..<devices.count).map({ devices[$0] }) {
                #expect(device.size > 0 && device.interrupt < 256)
            }
            for argument in KernelCommandLine.arguments(in: text.raw) {
                #expect(argument.count <= text.count)
            }
        }
    }
}

extension [UInt8] {
    /// The bytes, as parsers take them.
    var raw: RawSpan {
        // SAFETY: the span borrows the array, whose elements are bytes without padding.
        @_lifetime(borrow self) get { unsafe span.bytes }
    }
}
