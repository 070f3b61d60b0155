extension RawSpan {
    /// The little-endian integer at `offset`, nil if it does not lie wholly in the span.
    func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T? {
        let size = T.bitWidth / 8
        guard offset >= 0, size <= byteCount, offset <= byteCount - size else { return nil }
        // SAFETY: the range was just checked; every bit pattern is an integer.
        return unsafe T(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }
}

extension Span where Element == UInt8 {
    /// The same bytes as raw memory.
    package var raw: RawSpan {
        @_lifetime(copy self)
        get {
            // SAFETY: a byte has no padding that could be uninitialized.
            unsafe bytes
        }
    }
}
