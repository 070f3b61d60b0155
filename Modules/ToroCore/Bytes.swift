extension [UInt8] {
    /// Adds a byte, as `append` does. The code of `append` is at each place that calls it; this is
    /// here once. Amortized O(1).
    @inline(never) package mutating func add(_ byte: UInt8) { append(byte) }
}
