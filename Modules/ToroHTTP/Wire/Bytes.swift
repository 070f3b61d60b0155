import ToroCore

/// Bytes that mean something to HTTP.
enum ASCII {
    static var horizontalTab: UInt8 { 0x09 }
    static var lineFeed: UInt8 { 0x0A }
    static var carriageReturn: UInt8 { 0x0D }
    static var space: UInt8 { 0x20 }
    static var percent: UInt8 { 0x25 }
    static var comma: UInt8 { 0x2C }
    static var dot: UInt8 { 0x2E }
    static var slash: UInt8 { 0x2F }
    static var colon: UInt8 { 0x3A }

    /// `byte` with an upper-case letter made lower-case.
    static func lowercased(_ byte: UInt8) -> UInt8 {
        byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
    }

    /// Whether `byte` is a control character other than a tab.
    static func isControl(_ byte: UInt8) -> Bool {
        (byte < space && byte != horizontalTab) || byte == 0x7F
    }

    /// Whether `byte` is a decimal digit.
    static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

    /// Whether `byte` is a letter.
    static func isLetter(_ byte: UInt8) -> Bool {
        let lower = byte | 0x20
        return lower >= 0x61 && lower <= 0x7A
    }

    /// The value of a hexadecimal digit; nil for any other byte.
    static func hexValue(_ byte: UInt8) -> UInt8? {
        if isDigit(byte) { return byte - 0x30 }
        let lower = byte | 0x20
        return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : nil
    }

    /// The digit, upper-case, of the low four bits of `value`.
    static func hexDigit(_ value: UInt8) -> UInt8 {
        let nibble = value & 0xF
        return nibble < 10 ? 0x30 + nibble : 0x41 + nibble - 10
    }

    /// Whether `byte` may be part of a token (RFC 9110 section 5.6.2).
    static func isToken(_ byte: UInt8) -> Bool {
        if isLetter(byte) || isDigit(byte) { return true }
        switch byte {
        case 0x21, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F, 0x60, 0x7C,
            0x7E:
            return true
        default: return false
        }
    }

    /// Whether `byte` is unreserved in a URI (RFC 3986 section 2.3).
    static func isUnreserved(_ byte: UInt8) -> Bool {
        isLetter(byte) || isDigit(byte) || byte == 0x2D || byte == dot || byte == 0x5F
            || byte == 0x7E
    }
}

extension StaticString {
    /// The number of bytes.
    var byteCount: Int { utf8CodeUnitCount }

    /// The byte at `index`, which must be below `byteCount`.
    func byte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < utf8CodeUnitCount)
        // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
        return unsafe utf8Start[index]
    }
}

extension RawSpan {
    /// The byte at `index`; traps outside of the span.
    func byte(_ index: Int) -> UInt8 {
        // SAFETY: the load checks its bounds, and every byte is a UInt8.
        unsafe unsafeLoad(fromByteOffset: index, as: UInt8.self)
    }

    /// Whether the bytes in `range` are `text`, which is lower-case, but for the case of letters.
    func matches(_ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.byteCount else { return false }
        for index in 0..<text.byteCount
        where ASCII.lowercased(byte(range.lowerBound + index)) != text.byte(index) {
            return false
        }
        return true
    }

    /// Whether the bytes from `start` on are those of `text` in `part`, which the span has room for.
    @inline(never) func matches(
        from start: Int, _ text: StaticString, _ part: Range<Int>
    ) -> Bool {
        for index in part where byte(start + index - part.lowerBound) != text.byte(index) {
            return false
        }
        return true
    }

    /// Whether the bytes in `range` are a token (RFC 9110 section 5.6.2).
    @inline(never) func isToken(_ range: Range<Int>) -> Bool {
        for index in range where !ASCII.isToken(byte(index)) { return false }
        return !range.isEmpty
    }

    /// `range` without spaces and tabs at its ends (OWS, RFC 9110 section 5.6.3).
    @inline(never) func trimmed(_ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, isBlank(start) { start += 1 }
        while start < end, isBlank(end - 1) { end -= 1 }
        return start..<end
    }

    private func isBlank(_ index: Int) -> Bool {
        let byte = byte(index)
        return byte == ASCII.space || byte == ASCII.horizontalTab
    }

    /// The first place of `wanted` in `range`; nil if there is none. Looks at eight bytes at a time.
    @inline(never) func first(_ wanted: UInt8, in range: Range<Int>) -> Int? {
        var index = range.lowerBound
        while range.upperBound - index >= 8 {
            let hits = (word(index) ^ Word.ones &* UInt64(wanted)).bytesBelow(1)
            if hits != 0 { return index + hits.trailingZeroBitCount / 8 }
            index += 8
        }
        while index < range.upperBound {
            if byte(index) == wanted { return index }
            index += 1
        }
        return nil
    }

    /// The first place in `range` of a control character other than a tab, its end if there is none.
    @inline(never) func firstControl(in range: Range<Int>) -> Int {
        var index = range.lowerBound
        while index < range.upperBound {
            if range.upperBound - index >= 8 {
                let word = word(index)
                let hits = word.bytesBelow(0x20) | (word ^ Word.ones &* 0x7F).bytesBelow(1)
                guard hits != 0 else {
                    index += 8
                    continue
                }
                index += hits.trailingZeroBitCount / 8
            }
            if ASCII.isControl(byte(index)) { return index }
            index += 1
        }
        return range.upperBound
    }

    /// The eight bytes from `index` on, the first one lowest.
    private func word(_ index: Int) -> UInt64 {
        // SAFETY: the load checks its bounds, and all 64 bits mean something.
        unsafe UInt64(littleEndian: unsafeLoadUnaligned(fromByteOffset: index, as: UInt64.self))
    }

    /// The number written in decimal in `range`: digits only, at least one; nil for anything else
    /// and for a number over `Int64.max`.
    func decimal(_ range: Range<Int>) -> UInt64? {
        guard !range.isEmpty else { return nil }
        var value: UInt64 = 0
        for index in range {
            let byte = byte(index)
            guard ASCII.isDigit(byte) else { return nil }
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            // Below 2^63 after each step, so the sum cannot overflow 2^64.
            guard !overflow, tens <= UInt64(Int64.max) - 9 || fits(tens, byte) else { return nil }
            value = tens + UInt64(byte - 0x30)
        }
        return value
    }

    private func fits(_ tens: UInt64, _ digit: UInt8) -> Bool {
        tens <= UInt64(Int64.max) && UInt64(Int64.max) - tens >= UInt64(digit - 0x30)
    }

    /// A copy of the bytes in `range`.
    func copy(_ range: Range<Int>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        for index in range { bytes.add(byte(index)) }
        return bytes
    }
}

/// Eight bytes looked at together.
private enum Word {
    /// Each byte 1.
    static var ones: UInt64 { 0x0101_0101_0101_0101 }
}

extension UInt64 {
    /// The top bit of the lowest byte that is below `limit`, of 128 at most, and perhaps of bytes
    /// above that one; 0 if there is none.
    fileprivate func bytesBelow(_ limit: UInt64) -> UInt64 {
        (self &- Word.ones &* limit) & ~self & (Word.ones << 7)
    }
}
