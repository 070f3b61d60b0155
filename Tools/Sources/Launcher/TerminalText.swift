/// Makes bytes of anybody's harmless for a terminal: text, tabs, line ends and colours pass; what
/// else a terminal takes for an order is shown, as `^[` or `\x9b`.
struct TerminalFilter {
    /// Whether colours pass (SGR, ECMA-48 8.3.117).
    private let allowsColor: Bool
    /// The beginning of a character or a sequence that is not whole yet.
    private var held: [UInt8] = []
    /// Whether the terminal is left in other colours than its own.
    private var isColored = false

    private static let escape: UInt8 = 0x1b
    /// The longest sequence of a colour, and the longest run of carriage returns before a line feed.
    private static let sequenceLimit = 40
    private static let returnLimit = 4

    init(allowsColor: Bool) { self.allowsColor = allowsColor }

    /// Text in which any byte may stand (see ``RawText``) as a terminal may get it.
    static func shown(_ text: String) -> String {
        var filter = TerminalFilter(allowsColor: false)
        let bytes = filter.take(RawText.bytes(of: text)) + filter.finish()
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Returns what the terminal gets now.
    mutating func take(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        for byte in bytes { take(byte, &result) }
        return result
    }

    /// Returns what was held back, and what gives the terminal its own colours again.
    mutating func finish() -> [UInt8] {
        var result: [UInt8] = []
        for byte in held { TerminalFilter.show(byte, &result) }
        held.removeAll()
        if isColored { result += [TerminalFilter.escape] + Array("[0m".utf8) }
        isColored = false
        return result
    }

    private enum Verdict { case passes, fails, undecided }

    private mutating func take(_ byte: UInt8, _ result: inout [UInt8]) {
        if held.isEmpty, 0x20..<0x7f ~= byte {
            result.append(byte)
            return
        }
        held.append(byte)
        switch verdict {
        case .undecided: return
        case .passes:
            if held.last == UInt8(ascii: "m"), held.count > 1 {
                isColored = ![Array("[m".utf8), Array("[0m".utf8)].contains(Array(held.dropFirst()))
            }
            result += held
            held.removeAll(keepingCapacity: true)
        case .fails:
            // What comes behind the first byte may begin something itself.
            let rest = held.dropFirst()
            TerminalFilter.show(held[0], &result)
            held.removeAll()
            for byte in rest { take(byte, &result) }
        }
    }

    /// What becomes of the bytes that are held.
    private var verdict: Verdict {
        switch held[0] {
        case UInt8(ascii: "\t"), UInt8(ascii: "\n"), 0x20..<0x7f: .passes
        case UInt8(ascii: "\r"): lineEnd
        case TerminalFilter.escape: allowsColor ? color : .fails
        case 0xc2...0xf4: character
        default: .fails
        }
    }

    /// A carriage return alone would let what follows overwrite a line.
    private var lineEnd: Verdict {
        switch held[held.count - 1] {
        case UInt8(ascii: "\r"):
            held.count < TerminalFilter.returnLimit ? .undecided : .fails
        case UInt8(ascii: "\n"): .passes
        default: .fails
        }
    }

    private var color: Verdict {
        let last = held[held.count - 1]
        switch held.count {
        case 1: return .undecided
        case 2: return last == UInt8(ascii: "[") ? .undecided : .fails
        default:
            if last == UInt8(ascii: "m") { return .passes }
            // Digits, the colon and the semicolon are neighbours.
            let isParameter = (UInt8(ascii: "0")...UInt8(ascii: ";")).contains(last)
            return isParameter && held.count < TerminalFilter.sequenceLimit ? .undecided : .fails
        }
    }

    /// A character of UTF-8, but none of U+0080 to U+009F: they are orders, too (ECMA-48 5.3).
    private var character: Verdict {
        let length = held[0] < 0xe0 ? 2 : held[0] < 0xf0 ? 3 : 4
        guard held.dropFirst().allSatisfy({ $0 & 0xc0 == 0x80 }) else { return .fails }
        guard held.count == length else { return .undecided }
        var (decoder, bytes) = (UTF8(), held.makeIterator())
        guard case .scalarValue(let scalar) = decoder.decode(&bytes), scalar.value > 0x9f else {
            return .fails
        }
        return .passes
    }

    private static func show(_ byte: UInt8, _ result: inout [UInt8]) {
        switch byte {
        case 0x20..<0x7f: result.append(byte)
        case 0..<0x20, 0x7f: result += [UInt8(ascii: "^"), byte ^ 0x40]
        default:
            let digits = String(byte, radix: 16)
            result += Array("\\x\(digits)".utf8)
        }
    }
}

/// Text from anywhere, an image's manifest or a file's name, as a terminal may get it: what it could
/// take for an order is shown, as `^[` or `\x9b`.
public func shown(_ text: String) -> String { TerminalFilter.shown(text) }
