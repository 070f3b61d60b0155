import Foundation
import Testing
import ToroTesting

@testable import Launcher

/// What a guest is told, from the command line to the bytes that QEMU hands on.
@Suite struct ParameterTests {
    @Test func everyByteOfAnArgumentSurvives() throws {
        var machine = Machine(image: "image")
        machine.environment = [("K", "v=1\n")]
        machine.arguments = ["ü", RawText.string(of: [0xff, 0x61])]
        let head = Array("toro".utf8) + [1, 0, 0, 0]
        let entries: [[UInt8]] = [
            [2, 6, 0, 0, 0] + Array("K=v=1\n".utf8), [1, 2, 0, 0, 0, 0xc3, 0xbc],
            [1, 2, 0, 0, 0, 0xff, 0x61],
        ]
        #expect(try Handover.encode(machine) == head + entries.joined())
    }

    @Test func theTimeIsWrittenWithItsNanoseconds() {
        let bytes = Handover.encode(seconds: 0x0102, nanoseconds: 999_999_999)
        #expect(bytes == [1, 0, 0, 0, 0xff, 0xc9, 0x9a, 0x3b, 2, 1, 0, 0, 0, 0, 0, 0])
    }

    @Test func whatIsTooLongIsRefusedWithTheNumber() throws {
        var machine = Machine(image: "image")
        machine.environment = [("K", String(repeating: "x", count: Handover.limit - 8 - 5 - 2))]
        try machine.checkParameters()
        machine.arguments = [""]
        #expect {
            try machine.checkParameters()
        } throws: {
            let error = $0 as? LaunchError
            return error?.status == 64 && error?.description.contains("262149") == true
                && error?.description.contains("262144") == true
        }
    }

    /// QEMU is played by a reader that takes its time, or by none.
    @Test func theTimeIsTakenWhenQEMUReads() throws {
        var machine = Machine(image: "image")
        machine.environment = [("SECRET", "x")]
        let handover = try Handover(machine)
        #expect(!handover.options.joined().contains("SECRET"))
        let copies = handover.readers.map { dup($0) }
        handover.begin()
        usleep(300_000)
        let start = Date().timeIntervalSince1970
        var all: [[UInt8]] = []
        for copy in copies {
            var bytes: [UInt8] = []
            while let more = readSome(copy), !more.isEmpty { bytes += more }
            all.append(bytes)
            close(copy)
        }
        let end = Date().timeIntervalSince1970
        #expect(try all[0].starts(with: Handover.encode(machine)))
        #expect(all[0].count > 4096)
        let time = all[1]
        #expect(time.count == 16)
        let seconds = time[8..<16].reversed().reduce(0) { $0 << 8 | Int($1) }
        let nanoseconds = time[4..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        let told = Double(seconds) + Double(nanoseconds) / 1e9
        #expect(told > start - 0.001 && told < end + 0.001, "\(told - start)")
        // Nobody reads: the thread ends, and no signal ends this process.
        try Handover(machine).begin()
        usleep(50_000)
    }

    @Test func textAndBytesAreTheSame() {
        let examples: [[UInt8]] = [
            [], Array("plain ü 😀".utf8), [0xff], [0xc3], [0xc3, 0x28], [0xe2, 0x82],
            [0xf0, 0x9f, 0x98], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0], [0x65, 0xcc, 0x81],
            // U+10FF80 itself, which stands for a byte.
            [0xf4, 0x8f, 0xbe, 0x80], [0xf4, 0x8f, 0xbb, 0xbf],
        ]
        for bytes in examples { #expect(RawText.bytes(of: RawText.string(of: bytes)) == bytes) }
        #expect(RawText.string(of: Array("ü".utf8)) == "ü")
    }

    /// Whole characters, parts of some and bytes that are none, in any order.
    @Test(arguments: FuzzSeeds.all(1...5)) func anyBytesAreTheSame(_ first: UInt64) {
        let letters: [UInt8] = [0x41, 0xc3, 0xbc, 0xf4, 0x8f, 0xbf, 0x80, 0xff]
        for seed in FuzzSeeds(from: first) {
            var random = SeededRandom(seed: seed)
            for _ in 0..<1_000 {
                let bytes = (0..<random.below(12)).map { _ in letters[random.below(8)] }
                #expect(RawText.bytes(of: RawText.string(of: bytes)) == bytes, "\(bytes)")
            }
        }
    }

    @Test func aNameAloneHasTheCallersValue() throws {
        // SAFETY: both are C strings for the call.
        _ = unsafe setenv("TORO_TEST_VALUE", "a=b ", 1)
        let entry = try ServiceEnvironment.entry("TORO_TEST_VALUE")
        #expect(entry == ("TORO_TEST_VALUE", "a=b "))
        #expect(try ServiceEnvironment.entry("A=") == ("A", ""))
        for text in ["", "=x", "TORO_TEST_NO_SUCH"] {
            #expect(throws: LaunchError.self) { try ServiceEnvironment.entry(text) }
        }
    }

    @Test func aFileOfEntriesIsTakenAsItIs() throws {
        // SAFETY: both are C strings for the call.
        _ = unsafe setenv("TORO_TEST_MINE", "mine", 1)
        let path = NSTemporaryDirectory() + "toro-env-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let text = "# no entry\n\nA=1 \"2\" # 3\r\n B=x\nTORO_TEST_MINE\nC=\nD=last"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        let entries = try ServiceEnvironment.entries(file: path)
        #expect(entries.map(\.name) == ["A", " B", "TORO_TEST_MINE", "C", "D"])
        #expect(entries.map(\.value) == ["1 \"2\" # 3", "x", "mine", "", "last"])
        try Data("A=1\n=secret\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect {
            try ServiceEnvironment.entries(file: path)
        } throws: {
            "\($0)".contains(":2: ") && !"\($0)".contains("secret")
        }
        for wrong in ["/no/such/file", "/tmp", "/dev/zero"] {
            #expect(throws: LaunchError.self) { try ServiceEnvironment.entries(file: wrong) }
        }
    }
}
