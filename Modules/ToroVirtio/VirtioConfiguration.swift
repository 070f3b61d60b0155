import ToroCore

/// The device-specific configuration of a device (VIRTIO 1.2, 2.5), whose fields are read in their
/// own widths (4.2.2.2) and all of one generation.
@Core public struct VirtioConfiguration {
    /// How often a read begins anew before the device counts as broken.
    private static var attempts: Int { 100 }

    private let transport: any VirtioTransport

    /// The configuration of this device.
    public init(_ transport: any VirtioTransport) { self.transport = transport }

    /// The fields that `body` reads, all of one generation: it is called again if the device has
    /// changed something meanwhile (2.5.1). Throws `.configurationUnsettled` if that never ends.
    public func read<Value>(_ body: () -> Value) throws(VirtioError) -> Value {
        var generation = transport.configurationGeneration
        for _ in 0..<Self.attempts {
            let value = body()
            let after = transport.configurationGeneration
            if after == generation { return value }
            generation = after
        }
        throw .configurationUnsettled
    }

    /// The field of eight bytes at `offset`, a multiple of 4: two accesses of 32 bits.
    public func number64(at offset: Int) throws(VirtioError) -> UInt64 {
        try read {
            UInt64(transport.configurationWord(at: offset))
                | UInt64(transport.configurationWord(at: offset + 4)) << 32
        }
    }

    /// Whether the field of `size` bytes at `offset` holds `text`, padded with zeros.
    @export(interface)
    public func hasText(
        _ text: StaticString, at offset: Int, size: Int
    ) throws(VirtioError) -> Bool {
        let count = text.utf8CodeUnitCount
        guard count <= size else { return false }
        return try read {
            for index in 0..<count {
                // SAFETY: the index is below the string's length.
                let byte = unsafe text.utf8Start[index]
                guard byte == transport.configurationByte(at: offset + index) else { return false }
            }
            return count == size || transport.configurationByte(at: offset + count) == 0
        }
    }
}
