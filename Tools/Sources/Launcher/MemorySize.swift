/// An amount of RAM: a number of MiB, or with B, K, M, G or T behind it, as QEMU takes it.
public struct MemorySize: Equatable, Comparable, Sendable, CustomStringConvertible {
    /// The bytes, a multiple of 8 KiB.
    public let bytes: UInt64

    /// QEMU makes its machines of so many bytes, and rounds up what is between.
    private static let unit: UInt64 = 8 << 10
    private static let units: [(name: Character, shift: UInt64)] = [
        ("T", 40), ("G", 30), ("M", 20), ("K", 10), ("B", 0),
    ]

    /// What an image may have without being asked for it by anybody else.
    static let modest = MemorySize(rounding: 1 << 30)

    /// The next size that there is.
    init(rounding bytes: UInt64) {
        self.bytes = (bytes + MemorySize.unit - 1) / MemorySize.unit * MemorySize.unit
    }

    /// Parses 32, 32M, 2500K, 1.5G; from 2 MiB, which the smallest guest needs, to 1 TiB.
    public init(parsing text: String) throws(LaunchError) {
        guard let bytes = MemorySize.bytes(text) else {
            throw .usage("memory is an amount such as 32M, 2500K or 1.5G, not \(text)")
        }
        guard bytes >= 2 << 20 else {
            throw .usage("\(text) of memory is too little: 2M is the least")
        }
        guard bytes <= 1 << 40 else {
            throw .usage("\(text) of memory is too much: 1T is the most")
        }
        self.init(rounding: bytes)
    }

    /// The bytes, rounded up and 2^62 at most; nil if that is no amount.
    private static func bytes(_ text: String) -> UInt64? {
        let unit =
            units.first { text.hasSuffix(String($0.name)) }
            ?? units.first { text.hasSuffix($0.name.lowercased()) }
        let digits = unit == nil ? text : String(text.dropLast())
        let parts = digits.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(isDigit) })
        else { return nil }
        let size = 1 << (unit?.shift ?? 20) as UInt64
        let most = 1 << 62 as UInt64
        // What is too long for a number is too much, too.
        let (whole, overflow) = (UInt64(parts[0]) ?? most).multipliedReportingOverflow(by: size)
        guard !overflow, whole < most else { return most }
        var (rest, scale) = (0, 1) as (UInt64, UInt64)
        // Further digits are less than a byte.
        for digit in parts.dropFirst().joined().utf8.prefix(6) {
            rest = rest * 10 + UInt64(digit - UInt8(ascii: "0"))
            scale *= 10
        }
        return whole + (rest * size + scale - 1) / scale
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    /// The shortest spelling.
    public var description: String {
        let unit = MemorySize.units.first { bytes % (1 << $0.shift) == 0 } ?? ("B", 0)
        return "\(bytes >> unit.shift)\(unit.name)"
    }

    /// Whether it is less.
    public static func < (left: MemorySize, right: MemorySize) -> Bool { left.bytes < right.bytes }
}
