/// The processors of the machine, from the MP table (Intel MultiProcessor Specification 1.4,
/// chapter 4).
public struct ProcessorTable: Equatable, Sendable {
    /// The local APIC ids of the usable processors, the boot processor first.
    public private(set) var processors: [UInt8] = []

    /// The length of the floating pointer structure (4.1).
    public static let pointerSize = 16
    /// The length of the configuration table's header (4.2).
    public static let headerSize = 44

    /// The address and length of the configuration table, if `bytes` are a floating pointer
    /// structure with a right checksum.
    public static func table(fromPointer bytes: RawSpan) -> (address: UInt64, length: Int)? {
        guard bytes.byteCount >= pointerSize, bytes.load(UInt32.self, at: 0) == 0x5f50_4d5f,
            sum(bytes.extracting(0..<pointerSize)) == 0,
            let address = bytes.load(UInt32.self, at: 4), address != 0
        else { return nil }
        return (UInt64(address), headerSize)
    }

    /// The length of the whole table, from its header; nil if it is none.
    public static func length(fromHeader bytes: RawSpan) -> Int? {
        guard bytes.load(UInt32.self, at: 0) == 0x504d_4350,  // "PCMP"
            let length = bytes.load(UInt16.self, at: 4), Int(length) >= headerSize
        else { return nil }
        return Int(length)
    }

    /// Parses a configuration table; nil for a wrong checksum or an unknown entry.
    public init?(parsing bytes: RawSpan) {
        guard let length = ProcessorTable.length(fromHeader: bytes), length <= bytes.byteCount,
            ProcessorTable.sum(bytes.extracting(0..<length)) == 0
        else { return nil }
        // The length tells where the entries end: qboot leaves their number at zero.
        var offset = ProcessorTable.headerSize
        while offset < length {
            guard let kind = bytes.load(UInt8.self, at: offset) else { return nil }
            switch kind {
            case 0:
                guard let id = bytes.load(UInt8.self, at: offset + 1),
                    let flags = bytes.load(UInt8.self, at: offset + 3)
                else { return nil }
                if flags & 2 != 0 {
                    processors.insert(id, at: 0)
                } else if flags & 1 != 0 {
                    processors.append(id)
                }
                offset += 20
            case 1, 2, 3, 4: offset += 8
            default: return nil
            }
        }
    }

    private static func sum(_ bytes: RawSpan) -> UInt8 {
        var sum: UInt8 = 0
        for offset in 0..<bytes.byteCount { sum &+= bytes.load(UInt8.self, at: offset) ?? 0 }
        return sum
    }
}
