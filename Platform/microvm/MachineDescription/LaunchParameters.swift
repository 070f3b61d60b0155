/// The arguments and the environment of a service, as the launcher writes them into a file of the
/// firmware configuration device.
///
/// The file begins with the four letters `toro` and the version, 1, in 32 bits. Entries follow up to
/// its end: a byte that says what it is, the length in 32 bits, and as many bytes of any value.
/// Numbers are little-endian.
///
/// | kind | bytes |
/// |---|---|
/// | 0 | filling, which means nothing |
/// | 1 | an argument |
/// | 2 | NAME=VALUE of the environment; the name is not empty and holds no `=` |
public enum LaunchParameters {
    /// The longest file that a guest takes, in bytes. The launcher refuses more than half of it.
    public static let maximumSize = 512 << 10

    private static let headerSize = 8
    private static let entryHeaderSize = 5

    /// What an entry is.
    private enum Kind: UInt8 {
        case filling, argument, environment
    }

    /// Whether `bytes` are a whole file of this version.
    public static func areValid(_ bytes: RawSpan) -> Bool { forEachEntry(of: bytes) { _, _ in } }

    /// The service's arguments, in their order.
    public static func arguments(in bytes: RawSpan) -> [[UInt8]] {
        var arguments: [[UInt8]] = []
        _ = forEachEntry(of: bytes) { kind, entry in
            if kind == .argument { arguments.append(copy(entry, from: 0)) }
        }
        return arguments
    }

    /// The value of the last entry of the environment whose name is wanted.
    public static func environment(
        in bytes: RawSpan, where isWanted: (RawSpan) -> Bool
    ) -> [UInt8]? {
        var found: [UInt8]?
        _ = forEachEntry(of: bytes) { kind, entry in
            guard kind == .environment, let equals = entry.first(UInt8(ascii: "=")),
                isWanted(entry.extracting(0..<equals))
            else { return }
            found = copy(entry, from: equals + 1)
        }
        return found
    }

    /// Calls `body` with each entry; false if the file is not whole, or no file of this version.
    private static func forEachEntry(
        of bytes: RawSpan, _ body: (Kind, RawSpan) -> Void
    ) -> Bool {
        guard bytes.load(UInt32.self, at: 0) == 0x6f72_6f74, bytes.load(UInt32.self, at: 4) == 1
        else { return false }
        var offset = headerSize
        while offset < bytes.byteCount {
            guard let kind = bytes.load(UInt8.self, at: offset).flatMap(Kind.init(rawValue:)),
                let length = bytes.load(UInt32.self, at: offset + 1),
                Int(length) <= bytes.byteCount - offset - entryHeaderSize
            else { return false }
            offset += entryHeaderSize
            let entry = bytes.extracting(offset..<offset + Int(length))
            if kind == .environment, entry.first(UInt8(ascii: "=")) ?? 0 == 0 { return false }
            body(kind, entry)
            offset += Int(length)
        }
        return true
    }

    private static func copy(_ bytes: RawSpan, from start: Int) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.byteCount - start)
        var offset = start
        while let byte = bytes.load(UInt8.self, at: offset) {
            result.append(byte)
            offset += 1
        }
        return result
    }
}
