/// Takes a guest's panic report out of its console.
///
/// A guest's console is outside input: what is kept is bounded, and what does not fit passes
/// through as text.
struct ConsoleFilter {
    static let marker = Array("toro: panic: ".utf8)
    static let limit = 1 << 18

    /// The report's lines, without the marker.
    private(set) var panicLines: [String] = []
    private var kept = 0
    /// The beginning of a line that may become one of the report.
    private var held: [UInt8] = []
    private var isAtStart = true

    /// Returns the bytes that go to the terminal now.
    mutating func take(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for byte in bytes { take(byte, &result) }
        return result
    }

    private mutating func take(_ byte: UInt8, _ result: inout [UInt8]) {
        guard isAtStart else {
            result.append(byte)
            if byte == UInt8(ascii: "\n") { isAtStart = true }
            return
        }
        held.append(byte)
        let isMarked = held.starts(with: ConsoleFilter.marker)
        if isMarked, byte == UInt8(ascii: "\n") {
            var text = held.dropFirst(ConsoleFilter.marker.count).dropLast()
            if text.last == UInt8(ascii: "\r") { text = text.dropLast() }
            panicLines.append(String(decoding: text, as: UTF8.self))
            kept += held.count
            held.removeAll(keepingCapacity: true)
        } else if !(isMarked && held.count < 4096 || ConsoleFilter.marker.starts(with: held))
            || kept > ConsoleFilter.limit
        {
            result += held
            isAtStart = byte == UInt8(ascii: "\n")
            held.removeAll(keepingCapacity: true)
        }
    }

    /// Returns what was held back, at the end of the console.
    mutating func finish() -> [UInt8] {
        if held.starts(with: ConsoleFilter.marker) {
            panicLines.append(
                String(decoding: held.dropFirst(ConsoleFilter.marker.count), as: UTF8.self))
            held.removeAll()
        }
        defer { held.removeAll() }
        return held
    }
}

/// The last words of a guest, as Platform/microvm writes them.
public struct PanicReport: Equatable, Sendable {
    /// What happened.
    public var cause = "unknown"
    /// The registers and numbers of the trap, by name, in the order of the report.
    public var registers: [(name: String, value: UInt64)] = []
    /// The words of the stack, by address.
    public var stack: [UInt64: UInt64] = [:]
    /// Where the suspended callers resume, innermost first.
    public var asyncCallers: [UInt64] = []
    /// Whether the report reached its end.
    public var isComplete = false

    /// Reads the report's lines, which have lost their marker; nil if there are none.
    init?(lines: [String]) {
        guard !lines.isEmpty else { return nil }
        for line in lines { take(line) }
    }

    private mutating func take(_ line: String) {
        let words = line.split(separator: " ")
        switch words.first {
        case "cause": cause = String(line.dropFirst(6))
        case "end": isComplete = true
        case "stack":
            guard let at = words.dropFirst().first, at.hasSuffix(":"),
                var address = PanicReport.number(at.dropLast())
            else { return }
            for word in words.dropFirst(2) {
                guard let value = PanicReport.number(word) else { return }
                stack[address] = value
                address &+= 8
            }
        case "async":
            if let value = words.last.flatMap(PanicReport.number) { asyncCallers.append(value) }
        default:
            var rest = words[...]
            while rest.count >= 2, let name = rest.popFirst(), let text = rest.popFirst() {
                guard let value = PanicReport.number(text) else { return }
                registers.append((String(name), value))
            }
        }
    }

    /// The value of a register.
    public func register(_ name: String) -> UInt64? {
        registers.first { $0.name == name }?.value
    }

    private static func number(_ text: Substring) -> UInt64? {
        text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    }

    /// Whether both say the same.
    public static func == (left: PanicReport, right: PanicReport) -> Bool {
        left.cause == right.cause && left.stack == right.stack
            && left.asyncCallers == right.asyncCallers && left.isComplete == right.isComplete
            && left.registers.elementsEqual(right.registers) { $0 == $1 }
    }
}
