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
        if buffer?.append(byte) == false {
            grow(by: 1)
            buffer?.append(byte)
        }
    }

    /// Adds a constant text.
    func append(_ text: StaticString) { append(text, 0..<text.byteCount) }

    /// Adds a part of a constant text, which must lie in it.
    func append(_ text: StaticString, _ part: Range<Int>) {
        // SAFETY: a static string has `byteCount` bytes behind utf8Start; `extracting` checks.
        append(
            unsafe RawSpan(_unsafeStart: text.utf8Start, byteCount: text.byteCount)
                .extracting(part))
    }

    /// Adds bytes.
    func append(_ bytes: [UInt8]) {
        // SAFETY: every byte of an array of bytes is initialised.
        unsafe append(bytes.span.bytes)
    }

    /// Adds bytes.
    @inline(never) func append(_ bytes: RawSpan) {
        reserve(bytes.byteCount)
        buffer?.append(bytes)
    }

    /// Adds a number in decimal, with zeros in front up to `digits` digits, 20 at most.
    @inline(never) func append(decimal number: UInt64, digits: Int = 1) {
        var text = InlineArray<20, UInt8>(repeating: 0x30)
        var start = text.count
        var rest = number
        while rest > 0 {
            start -= 1
            text[start] += UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        start = min(start, text.count - digits)
        // SAFETY: every byte of the text is initialised.
        unsafe append(text.span.bytes.extracting(start..<text.count))
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

    private func reserve(_ count: Int) {
        switch buffer {
        case .some(let buffer): if buffer.freeCapacity >= count { return }
        case .none: return
        }
        grow(by: count)
    }

    @inline(never) private func grow(by count: Int) {
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
