import ToroCore

/// Writes text into a buffer that grows.
///
/// Running out of memory does not show until `take`, so that a writer of twenty lines needs one
/// check and not twenty.
struct ByteWriter: ~Copyable {
    private var buffer: IOBuffer?

    /// A writer with room for `capacity` bytes before it must grow.
    init(capacity: Int) { buffer = try? IOBuffer(capacity: capacity) }

    /// The bytes written so far.
    var count: Int {
        switch buffer {
        case .some(let buffer): buffer.count
        case .none: 0
        }
    }

    /// The buffer; nil if there was not enough memory on the way.
    consuming func take() -> IOBuffer? { buffer }

    /// Adds one byte.
    mutating func append(_ byte: UInt8) {
        reserve(1)
        buffer?.append(byte)
    }

    /// Adds a constant text.
    mutating func append(_ text: StaticString) {
        reserve(text.byteCount)
        buffer?.append(text)
    }

    /// Adds bytes.
    mutating func append(_ bytes: [UInt8]) {
        reserve(bytes.count)
        // SAFETY: every byte of an array of bytes is initialised.
        unsafe buffer?.append(bytes.span.bytes)
    }

    /// Adds a number in decimal, with zeros in front up to `digits` digits.
    mutating func append(decimal number: UInt64, digits: Int = 1) {
        var divisor: UInt64 = 1
        var count = 1
        while count < digits || number / divisor >= 10 {
            divisor *= 10
            count += 1
        }
        while divisor > 0 {
            append(0x30 + UInt8(number / divisor % 10))
            divisor /= 10
        }
    }

    /// Adds a number in hexadecimal, without leading zeros.
    mutating func append(hexadecimal number: UInt64) {
        var shift: UInt64 = 60
        while shift > 0, number >> shift == 0 { shift -= 4 }
        while true {
            append(ASCII.hexDigit(UInt8(truncatingIfNeeded: number >> shift)))
            if shift == 0 { return }
            shift -= 4
        }
    }

    /// Adds `bytes` as part of a URI's path: what is neither unreserved nor a slash is
    /// percent-encoded.
    mutating func append(percentEncoding bytes: [UInt8]) {
        for byte in bytes {
            if ASCII.isUnreserved(byte) || byte == ASCII.slash {
                append(byte)
            } else {
                append(ASCII.percent)
                append(ASCII.hexDigit(byte >> 4))
                append(ASCII.hexDigit(byte))
            }
        }
    }

    private mutating func reserve(_ count: Int) {
        switch buffer {
        case .some(let buffer): if buffer.freeCapacity >= count { return }
        case .none: return
        }
        buffer = ByteWriter.grow(buffer.take(), count)
    }

    private static func grow(_ old: consuming IOBuffer?, _ count: Int) -> IOBuffer? {
        guard let old else { return nil }
        let capacity = max(old.capacity * 2, old.count + count)
        guard var new = try? IOBuffer(capacity: capacity) else { return nil }
        new.append(old.bytes)
        return new
    }
}
