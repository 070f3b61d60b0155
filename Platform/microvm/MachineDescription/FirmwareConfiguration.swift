public import ToroCore

/// The ports of QEMU's firmware configuration device (docs/specs/fw_cfg.rst).
public protocol FirmwareConfiguration {
    /// Writes a key to the selector register: what it stands for is read from its beginning.
    func select(_ key: UInt16)

    /// Fills the block with the next bytes of the data register, `count` of them, 64 at most. Behind
    /// the end of what was selected there are zeros.
    func read(_ count: Int, into block: inout InlineArray<64, UInt8>)
}

/// A named file of the device.
public struct FirmwareFile: Equatable, Sendable {
    /// What to write to the selector register.
    public let key: UInt16
    /// Its length in bytes, as the device says.
    public let size: UInt32

    /// The name of what `toro run` hands to a service: see ``LaunchParameters``.
    public static let parameters: StaticString = "opt/org.toro/environment"
    /// The name of the time: see ``FirmwareFile/wallTime(in:)``.
    public static let epoch: StaticString = "opt/org.toro/epoch"

    /// `FW_CFG_SIGNATURE`: the four letters of QEMU.
    private static let signature: UInt16 = 0
    /// `FW_CFG_FILE_DIR`: a count, and that many entries of 64 bytes.
    private static let directory: UInt16 = 0x19
    /// More files than there are keys for them are none.
    private static let maximumCount: UInt32 = 0x4000

    /// Looks the two files up, in one pass over the directory; both are nil on a machine without the
    /// device. Whatever the device says, this reads 1 MiB at most.
    public static func find(
        in device: borrowing some FirmwareConfiguration
    ) -> (parameters: FirmwareFile?, epoch: FirmwareFile?) {
        var block = InlineArray<64, UInt8>(repeating: 0)
        device.select(signature)
        device.read(4, into: &block)
        guard block.span.raw.load(UInt32.self, at: 0) == 0x554d_4551 else { return (nil, nil) }
        device.select(directory)
        device.read(4, into: &block)
        let count = block.span.raw.load(UInt32.self, at: 0)?.byteSwapped ?? 0
        guard count <= maximumCount else { return (nil, nil) }
        var found: (parameters: FirmwareFile?, epoch: FirmwareFile?)
        for _ in 0..<count {
            device.read(64, into: &block)
            if let file = FirmwareFile(entry: block, named: parameters) { found.parameters = file }
            if let file = FirmwareFile(entry: block, named: epoch) { found.epoch = file }
        }
        return found
    }

    /// Parses `FWCfgFile`: size and key, big-endian, and at 8 the name, which a NUL ends; nil for
    /// another name.
    private init?(entry: InlineArray<64, UInt8>, named name: StaticString) {
        let length = name.utf8CodeUnitCount
        for index in 0..<length {
            // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
            guard unsafe entry[8 + index] == name.utf8Start[index] else { return nil }
        }
        guard entry[8 + length] == 0, let size = entry.span.raw.load(UInt32.self, at: 0),
            let key = entry.span.raw.load(UInt16.self, at: 4)
        else { return nil }
        self.size = size.byteSwapped
        self.key = key.byteSwapped
    }

    /// Reads the time that an `epoch` file holds: what the host's clock showed when the machine
    /// was about to start. Little-endian: the version (1, 32 bits), nanoseconds (32 bits), seconds
    /// since 1970 (64 bits). Nil if it says anything else.
    public func wallTime(in device: borrowing some FirmwareConfiguration) -> WallTime? {
        var block = InlineArray<64, UInt8>(repeating: 0)
        device.select(key)
        device.read(16, into: &block)
        let bytes = block.span.raw
        guard size == 16, bytes.load(UInt32.self, at: 0) == 1,
            let nanoseconds = bytes.load(UInt32.self, at: 4), nanoseconds < 1_000_000_000,
            let seconds = bytes.load(Int64.self, at: 8)
        else { return nil }
        return WallTime(seconds: seconds, nanoseconds: nanoseconds)
    }

    /// Reads a whole `parameters` file; nil if it is longer than ``LaunchParameters/maximumSize``.
    public func contents(in device: borrowing some FirmwareConfiguration) -> [UInt8]? {
        guard size <= LaunchParameters.maximumSize else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(size))
        var block = InlineArray<64, UInt8>(repeating: 0)
        device.select(key)
        while bytes.count < Int(size) {
            let count = min(64, Int(size) - bytes.count)
            device.read(count, into: &block)
            for index in 0..<count { bytes.append(block[index]) }
        }
        return bytes
    }
}
