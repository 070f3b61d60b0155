import Testing
import ToroCore
import ToroTesting

@testable import ToroHTTP

/// How bytes are searched and numbers are written.
@Suite struct HTTPTextTests {
    /// In every place of spans of every length up to three words, among bytes that differ from the
    /// wanted one in a bit, and that a subtraction with borrow could take for it.
    @Test func aByteIsFoundWhereItIs() {
        var random = SeededRandom(seed: 1)
        for length in 0...24 {
            for wanted: UInt8 in [0x00, 0x01, 0x0D, 0x3A, 0x7F, 0x80, 0xFF] {
                let near = [wanted ^ 1, wanted ^ 0x80, wanted &+ 1, wanted &- 1]
                for _ in 0..<64 {
                    let bytes = (0..<length).map { _ in
                        Int.random(in: 0..<8, using: &random) == 0
                            ? wanted : near[Int.random(in: 0..<4, using: &random)]
                    }
                    let start = Int.random(in: 0...length, using: &random)
                    let end = Int.random(in: start...length, using: &random)
                    // SAFETY: the range is within the span.
                    let found = unsafe bytes.span.bytes.first(wanted, in: start..<end)
                    #expect(found == bytes[start..<end].firstIndex(of: wanted), "\(bytes)")
                }
            }
        }
    }

    /// Every byte, in every place of a span of up to three words, between bytes that are next to it
    /// in value.
    @Test func aControlCharacterIsFoundWhereItIs() {
        for length in 1...24 {
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    for other: UInt8 in [0x09, 0x20, 0x7E, 0x80, 0x9F, 0xFF] {
                        var bytes = [UInt8](repeating: other, count: length)
                        bytes[place] = byte
                        let isControl = (byte < 0x20 && byte != 0x09) || byte == 0x7F
                        // SAFETY: the range is the span's.
                        let found = unsafe bytes.span.bytes.firstControl(in: 0..<length)
                        guard found != (isControl ? place : length) else { continue }
                        Issue.record("\(byte) at \(place) of \(length), \(other) around: \(found)")
                    }
                }
            }
        }
    }

    @Test(arguments: [
        (0, 1, "0"), (7, 2, "07"), (42, 1, "42"), (1_994, 4, "1994"), (100, 2, "100"),
        (5, 20, "00000000000000000005"), (UInt64.max, 1, "18446744073709551615"),
    ])
    func aNumberIsWrittenInDecimal(_ number: UInt64, _ digits: Int, _ text: String) {
        let writer = ByteWriter(capacity: 4)
        writer.append(decimal: number, digits: digits)
        #expect(toText(of: writer) == text)
    }

    /// Bytes, texts and parts of texts, in a writer that has to grow for each.
    @Test func aWriterGrows() {
        let writer = ByteWriter(capacity: 0)
        writer.append(0x61)
        writer.append("bcd")
        writer.append("xefgx", 1..<4)
        writer.append([0x68, 0x69])
        for _ in 0..<100 { writer.append(0x2E) }
        #expect(toText(of: writer) == "abcdefghi" + String(repeating: ".", count: 100))
    }
}

private func toText(of writer: ByteWriter) -> String? {
    guard let buffer = writer.take() else { return nil }
    return buffer.withBytes { bytes in
        String(decoding: (0..<bytes.byteCount).map { bytes.byte($0) }, as: UTF8.self)
    }
}
