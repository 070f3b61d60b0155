/// The part of a file that a request asks for (RFC 9110 section 14).
enum HTTPRange: Equatable {
    /// All of it: no range, or one that a server may ignore.
    case whole
    /// These bytes.
    case part(Range<UInt64>)
    /// None that there is.
    case unsatisfiable

    /// What the value of a `Range` field in `range` asks of a file of `size` bytes. Several ranges
    /// at once are ignored, which section 14.2 allows.
    init(_ bytes: RawSpan, _ range: Range<Int>, size: UInt64) {
        self = .whole
        let unit = 6
        guard range.count > unit,
            bytes.matches(range.lowerBound..<range.lowerBound + unit, "bytes=")
        else { return }
        let spec = bytes.trimmed(range.lowerBound + unit..<range.upperBound)
        guard let dash = bytes.first(0x2D, in: spec) else { return }
        let before = spec.lowerBound..<dash
        let after = dash + 1..<spec.upperBound
        if before.isEmpty {
            guard let length = HTTPRange.number(bytes, after) else { return }
            guard length > 0, size > 0 else {
                self = .unsatisfiable
                return
            }
            self = .part(size - min(length, size)..<size)
            return
        }
        guard let first = HTTPRange.number(bytes, before) else { return }
        var last = UInt64.max
        if !after.isEmpty {
            guard let given = HTTPRange.number(bytes, after), given >= first else { return }
            last = given
        }
        self = first < size ? .part(first..<min(last, size - 1) + 1) : .unsatisfiable
    }

    /// A number of any length; one that does not fit is beyond every file.
    private static func number(_ bytes: RawSpan, _ range: Range<Int>) -> UInt64? {
        guard !range.isEmpty else { return nil }
        for index in range where !ASCII.isDigit(bytes.byte(index)) { return nil }
        return bytes.decimal(range) ?? UInt64(Int64.max)
    }
}
