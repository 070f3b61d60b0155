import ToroCore

/// Writes text into a buffer that grows.
///
/// Running out of memory does not show until `take`, so that a writer of twenty lines needs one
/// check and not twenty. A class, and its methods not inlined, because twenty lines of calls are
/// smaller than twenty copies of a buffer's code.
final class ByteWriter {
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

    /// Takes the buffer out; nil if there was not enough memory on the way.
    func take() -> IOBuffer? { buffer.take() }

    /// Adds one byte.
    @inline(never) func append(_ byte: UInt8) {
        reserve(1)
        buffer?.append(byte)
    }

    /// Adds a constant text.
    @inline(never) func append(_ text: StaticString) {
        reserve(text.byteCount)
        buffer?.append(text)
    }

    /// Adds bytes.
    @inline(never) func append(_ bytes: [UInt8]) {
        reserve(bytes.count)
        // SAFETY: every byte of an array of bytes is initialised.
        unsafe buffer?.append(bytes.span.bytes)
    }

    /// Adds a number in decimal, with zeros in front up to `digits` digits.
    @inline(never) func append(decimal number: UInt64, digits: Int = 1) {
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
    func append(hexadecimal number: UInt64) {
        var shift: UInt64 = 60
        while shift > 0, number >> shift == 0 { shift -= 4 }
        while true {
            append(ASCII.hexDigit(UInt8(truncatingIfNeeded: number >> shift)))
            if shift == 0 { return }
            shift -= 4
        }
    }

    /// Adds `byte` as part of a URI's path: percent-encoded unless it is unreserved or a slash.
    func append(percentEncoding byte: UInt8) {
        if ASCII.isUnreserved(byte) || byte == ASCII.slash {
            append(byte)
        } else {
            append(ASCII.percent)
            append(ASCII.hexDigit(byte >> 4))
            append(ASCII.hexDigit(byte))
        }
    }

    @inline(never) private func reserve(_ count: Int) {
        switch buffer {
        case .some(let buffer): if buffer.freeCapacity >= count { return }
        case .none: return
        }
        guard let old = buffer.take() else { return }
        buffer = ByteWriter.grow(old, count)
    }

    private static func grow(_ old: consuming IOBuffer, _ count: Int) -> IOBuffer? {
        let capacity = max(old.capacity * 2, old.count + count)
        do throws(OutOfMemory) {
            var new = try IOBuffer(capacity: capacity)
            new.append(old.bytes)
            return new
        } catch {
            return nil
        }
    }
}
