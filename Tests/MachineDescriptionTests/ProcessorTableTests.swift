import MachineDescription
import Testing
import ToroTesting

@Suite struct ProcessorTableTests {
    /// A table as qboot makes it: the number of entries left at zero.
    private func table(_ entries: [[UInt8]]) -> [UInt8] {
        var bytes = Bytes()
        let length = ProcessorTable.headerSize + entries.reduce(0) { $0 + $1.count }
        bytes.append(UInt32(0x504d_4350))
        bytes.append(UInt16(length))
        bytes.all += [4, 0] + Array("QBOOT   000000000000".utf8)
        bytes.append(UInt64(0))
        bytes.append(UInt32(0xfee0_0000))
        bytes.append(UInt32(0))
        for entry in entries { bytes.all += entry }
        return ProcessorTableTests.summed(bytes.all, at: 7)
    }

    private static func summed(_ bytes: [UInt8], at place: Int) -> [UInt8] {
        var bytes = bytes
        bytes[place] = 0
        bytes[place] = 0 &- bytes.reduce(0, &+)
        return bytes
    }

    private func processor(_ id: UInt8, flags: UInt8) -> [UInt8] {
        [0, id, 0x14, flags] + [UInt8](repeating: 0, count: 16)
    }

    @Test func readsProcessorsWhateverTheirNumber() {
        let bytes = table([
            processor(1, flags: 1), processor(0, flags: 3), processor(2, flags: 0),
            [1, 0, 0, 0, 0, 0, 0, 0], [2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe], [3, 0, 0, 0, 0, 0, 0, 0],
        ])
        #expect(ProcessorTable(parsing: bytes.raw)?.processors == [0, 1])
    }

    @Test func findsTheTableFromItsPointer() {
        var bytes = Bytes()
        bytes.append(UInt32(0x5f50_4d5f))
        bytes.append(UInt32(0x9_fc10))
        bytes.all += [1, 4, 0, 0, 0, 0, 0, 0]
        let pointer = ProcessorTableTests.summed(bytes.all, at: 10)
        #expect(ProcessorTable.table(fromPointer: pointer.raw)?.address == 0x9_fc10)
        for index in pointer.indices {
            var broken = pointer
            broken[index] ^= 1
            #expect(ProcessorTable.table(fromPointer: broken.raw) == nil)
        }
    }

    @Test func refusesWhatIsNotWhole() {
        let bytes = table([processor(0, flags: 3), processor(1, flags: 1)])
        #expect(ProcessorTable(parsing: bytes.raw) != nil)
        for length in 0..<bytes.count {
            let cut = Array(bytes.prefix(length))
            #expect(ProcessorTable(parsing: cut.raw) == nil)
        }
        for index in bytes.indices {
            var broken = bytes
            broken[index] ^= 0x10
            #expect(ProcessorTable(parsing: broken.raw) == nil)
        }
        #expect(ProcessorTable(parsing: table([[9, 0, 0, 0, 0, 0, 0, 0]]).raw) == nil)
    }

    /// Tables whose checksum is right and whose content is not.
    @Test(arguments: FuzzSeeds.all(3...3)) func survivesNonsenseWithARightChecksum(_ first: UInt64)
    {
        for seed in FuzzSeeds(from: first) { nonsense(seed) }
    }

    private func nonsense(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<20_000 {
            var bytes = table([processor(0, flags: 3), [2, 0, 0, 0, 0, 0, 0, 0]])
            for _ in 0..<3 {
                bytes[Int.random(in: 4..<bytes.count, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            let summed = ProcessorTableTests.summed(bytes, at: 7)
            if let table = ProcessorTable(parsing: summed.raw) {
                #expect(table.processors.count <= bytes.count / 20)
            }
        }
    }
}
