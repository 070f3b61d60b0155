import Testing
import ToroCore
import ToroTesting

@testable import MachineDescription

/// The device as QEMU makes it, or as one that lies would.
private final class MockFirmware: FirmwareConfiguration {
    var items: [UInt16: [UInt8]] = [0: Array("QEMU".utf8)]
    private var selected: [UInt8] = []
    /// How many bytes were asked for.
    private(set) var readCount = 0

    /// A device with these files, which it counts as `count`.
    init(_ files: [(name: String, bytes: [UInt8])], count: UInt32? = nil) {
        var directory: [UInt8] = []
        for (index, file) in files.enumerated() {
            let key = UInt16(0x20 + index)
            directory += bigEndian(UInt32(file.bytes.count)) + bigEndian(key) + [0, 0]
            let name = Array(file.name.utf8.prefix(56))
            directory += name + [UInt8](repeating: 0, count: 56 - name.count)
            items[key] = file.bytes
        }
        items[0x19] = bigEndian(count ?? UInt32(files.count)) + directory
    }

    func select(_ key: UInt16) { selected = items[key] ?? [] }

    func read(_ count: Int, into block: inout InlineArray<64, UInt8>) {
        precondition(count <= 64)
        readCount += count
        for index in 0..<count {
            block[index] = selected.isEmpty ? 0 : selected.removeFirst()
        }
    }

    private func bigEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        stride(from: Value.bitWidth - 8, through: 0, by: -8).map {
            UInt8(truncatingIfNeeded: value >> Value($0))
        }
    }
}

@Suite struct FirmwareConfigurationTests {
    private let time: [UInt8] = [1, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]

    @Test func findsItsFilesAmongOthers() throws {
        let device = MockFirmware([
            ("bootorder", [1]), ("opt/org.toro/environmen", [2]),
            ("opt/org.toro/environment", Array("abc".utf8)), ("opt/org.toro/environment2", [3]),
            ("opt/org.toro/epoch", time),
        ])
        let found = FirmwareFile.find(in: device)
        #expect(try #require(found.parameters).contents(in: device) == Array("abc".utf8))
        let wall = try #require(found.epoch).wallTime(in: device)
        #expect(wall == WallTime(seconds: 7, nanoseconds: 5))
    }

    @Test func aMachineWithoutTheDeviceHasNone() {
        let device = MockFirmware([("opt/org.toro/epoch", time)])
        device.items[0] = [0xff, 0xff, 0xff, 0xff]
        let found = FirmwareFile.find(in: device)
        #expect(found.parameters == nil && found.epoch == nil)
    }

    /// A count beyond what there can be, and one beyond what there is.
    @Test(arguments: [UInt32.max, 0x4001, 0x4000, 2])
    func aCountThatLiesEndsSoon(_ count: UInt32) {
        let device = MockFirmware([("opt/org.toro/epoch", time)], count: count)
        #expect((FirmwareFile.find(in: device).epoch == nil) == (count > 0x4000))
        #expect(device.readCount <= 1 << 20 + 8)
    }

    @Test func aFileThatIsTooLongIsNotRead() throws {
        let device = MockFirmware([])
        for (size, isRead) in [(UInt32(512 << 10), true), (512 << 10 + 1, false), (.max, false)] {
            device.items[0x19] =
                [0, 0, 0, 1] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: size >> $0) }
                + [0, 0x20, 0, 0] + Array("opt/org.toro/environment".utf8)
                + [UInt8](repeating: 0, count: 32)
            let file = try #require(FirmwareFile.find(in: device).parameters)
            #expect(file.size == size)
            #expect((file.contents(in: device) != nil) == isRead)
        }
    }

    @Test func aTimeOfAnotherFormIsNone() throws {
        var wrong: [[UInt8]] = [Array(time.prefix(15)), time + [0]]
        wrong.append([2] + time.dropFirst())
        wrong.append(Array(time[..<4]) + [0, 0xca, 0x9a, 0x3b] + Array(time[8...]))
        for bytes in wrong {
            let device = MockFirmware([("opt/org.toro/epoch", bytes)])
            #expect(try #require(FirmwareFile.find(in: device).epoch).wallTime(in: device) == nil)
        }
    }
}

@Suite struct LaunchParametersTests {
    private func file(_ entries: [(kind: UInt8, bytes: [UInt8])]) -> [UInt8] {
        var bytes = Bytes()
        bytes.all = Array("toro".utf8)
        bytes.append(UInt32(1))
        for entry in entries {
            bytes.append(entry.kind)
            bytes.append(UInt32(entry.bytes.count))
            bytes.all += entry.bytes
        }
        return bytes.all
    }

    private func value(_ name: String, _ bytes: [UInt8]) -> [UInt8]? {
        LaunchParameters.environment(in: bytes.raw) { isName($0, name) }
    }

    private func isValid(_ bytes: [UInt8]) -> Bool { LaunchParameters.areValid(bytes.raw) }

    @Test func everyByteArrives() {
        let all = (0...255).map { UInt8($0) }
        let bytes = file([
            (2, Array("A=1".utf8)), (1, all), (0, [9, 9]), (2, Array("B=".utf8) + all),
            (2, Array("A=x=y".utf8)), (1, []),
        ])
        #expect(isValid(bytes))
        #expect(LaunchParameters.arguments(in: bytes.raw) == [all, []])
        #expect(value("A", bytes) == Array("x=y".utf8))
        #expect(value("B", bytes) == all)
        #expect(value("C", bytes) == nil)
    }

    @Test func whatIsNotWholeIsNotValid() {
        let whole = file([(1, [1, 2, 3]), (2, Array("A=1".utf8))])
        for length in 0..<whole.count where length != 8 && length != 16 {
            let cut = Array(whole.prefix(length))
            #expect(!isValid(cut), "\(length)")
        }
        let wrong: [[(kind: UInt8, bytes: [UInt8])]] = [
            [(3, [])], [(2, Array("=x".utf8))], [(2, Array("x".utf8))], [(2, [])],
        ]
        for entries in wrong {
            let bytes = file(entries)
            #expect(!isValid(bytes))
        }
        let later = Array("toro".utf8) + [2, 0, 0, 0]
        #expect(!isValid(later))
    }

    /// Lengths, kinds and bytes at random: nothing is read out of bounds, and what is valid holds
    /// no more than the file has.
    @Test(arguments: FuzzSeeds.all(1...8)) func survivesAnything(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { anything(seed) }
    }

    private func anything(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<2_000 {
            var bytes = file(
                (0..<Int.random(in: 0...4, using: &random)).map { _ in
                    let count = Int.random(in: 0...9, using: &random)
                    return (
                        UInt8.random(in: 0...2, using: &random),
                        Array("A=".utf8) + [UInt8](repeating: 7, count: count)
                    )
                })
            for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                bytes[place] = UInt8.random(in: 0...255, using: &random)
            }
            let arguments = LaunchParameters.arguments(in: bytes.raw)
            #expect(arguments.reduce(0) { $0 + $1.count } <= bytes.count, "seed \(seed)")
            #expect((value("A", bytes)?.count ?? 0) <= bytes.count, "seed \(seed)")
        }
    }
}
