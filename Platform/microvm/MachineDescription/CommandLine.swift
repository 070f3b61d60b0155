public import ToroCore

/// A virtio device on the command line: `virtio_mmio.device=512@0xfeb00000:5`
/// (Linux, Documentation/admin-guide/kernel-parameters.txt).
public final class MMIODevice: Sendable {
    /// The address of its register window.
    public let address: UInt64
    /// The window's length in bytes.
    public let size: UInt64
    /// The number of its interrupt line.
    public let interrupt: UInt32

    /// Parses `SIZE[K|M]@ADDRESS:IRQ[:ID]`; nil if it is none, or no physical address.
    init?(parsing text: RawSpan) {
        guard var sizeEnd = text.first(UInt8(ascii: "@")),
            let colon = text.first(UInt8(ascii: ":"), from: sizeEnd)
        else { return nil }
        let addressStart = sizeEnd + 1
        let end = text.first(UInt8(ascii: ":"), from: colon + 1) ?? text.byteCount
        var shift: UInt64 = 0
        switch text.load(UInt8.self, at: sizeEnd - 1) {
        case UInt8(ascii: "K"): shift = 10
        case UInt8(ascii: "M"): shift = 20
        default: break
        }
        if shift > 0 { sizeEnd -= 1 }
        guard let size = number(text.extracting(0..<sizeEnd)), size > 0, size <= 1 << 20,
            let address = number(text.extracting(addressStart..<colon)), address < 1 << 52,
            let interrupt = number(text.extracting(colon + 1..<end)), interrupt < 256
        else { return nil }
        self.address = address
        self.size = size << shift
        self.interrupt = UInt32(interrupt)
    }
}

/// What the machine tells the guest on the kernel's command line, and the launcher of a hypervisor
/// that has no firmware configuration device (see ``LaunchParameters``).
///
/// Words are separated by spaces; what is passed on is percent-encoded:
///
///     toro.arg=--verbose toro.env=NAME=a%20value toro.epoch=1700000000.5 virtio_mmio.device=…
///
/// Words of others, and malformed ones, are left alone. What boot needs is read at once; arguments
/// and environment are read by those who ask, and cost an image that does not ask nothing.
public struct KernelCommandLine {
    /// Seconds and nanoseconds since 1970 at the time the machine was started.
    public private(set) var epoch: (seconds: Int64, nanoseconds: UInt32)?
    /// The virtio-mmio devices, in order.
    public private(set) var devices = ObjectList<MMIODevice>()

    /// The longest command line that is read, in bytes.
    public static let maximumLength = 65536

    /// Parses a command line without its NUL.
    public init(parsing text: RawSpan) {
        KernelCommandLine.forEachWord(of: text) { word in
            if let rest = word.suffix(after: "toro.epoch=") {
                epoch = KernelCommandLine.epoch(rest) ?? epoch
            } else if let rest = word.suffix(after: "virtio_mmio.device="),
                let device = MMIODevice(parsing: rest)
            {
                devices.append(device)
            }
        }
    }

    /// The service's arguments, decoded.
    public static func arguments(in text: RawSpan) -> [[UInt8]] {
        var arguments: [[UInt8]] = []
        forEachWord(of: text) { word in
            if let rest = word.suffix(after: "toro.arg="), let value = percentDecode(rest) {
                arguments.append(value)
            }
        }
        return arguments
    }

    /// The value, decoded, of the last entry of the service's environment whose name is wanted.
    public static func environment(
        in text: RawSpan, where isWanted: (RawSpan) -> Bool
    ) -> [UInt8]? {
        var found: [UInt8]?
        forEachWord(of: text) { word in
            guard let rest = word.suffix(after: "toro.env="),
                let equals = rest.first(UInt8(ascii: "=")), equals > 0,
                let name = percentDecode(rest.extracting(0..<equals)), isWanted(name.span.raw),
                let value = percentDecode(rest.extracting(equals + 1..<rest.byteCount))
            else { return }
            found = value
        }
        return found
    }

    private static func forEachWord(of text: RawSpan, _ body: (RawSpan) -> Void) {
        var start = 0
        for offset in 0...text.byteCount {
            let byte = text.load(UInt8.self, at: offset) ?? UInt8(ascii: " ")
            guard byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\n") else { continue }
            if offset > start { body(text.extracting(start..<offset)) }
            start = offset + 1
        }
    }

    private static func epoch(_ text: RawSpan) -> (Int64, UInt32)? {
        let dot = text.first(UInt8(ascii: ".")) ?? text.byteCount
        guard let seconds = number(text.extracting(0..<dot)), seconds <= UInt64(Int64.max) else {
            return nil
        }
        guard dot < text.byteCount else { return (Int64(seconds), 0) }
        let digits = min(text.byteCount - dot - 1, 9)
        guard var nanoseconds = number(text.extracting(dot + 1..<dot + 1 + digits)) else {
            return nil
        }
        for _ in digits..<9 { nanoseconds *= 10 }
        return (Int64(seconds), UInt32(min(nanoseconds, 999_999_999)))
    }
}

extension RawSpan {
    /// The offset of the first byte of this value at `start` or behind it.
    @inline(never)
    func first(_ wanted: UInt8, from start: Int = 0) -> Int? {
        for offset in start..<max(start, byteCount) where load(UInt8.self, at: offset) == wanted {
            return offset
        }
        return nil
    }

    /// What follows `prefix`, nil if the bytes do not begin so.
    @_lifetime(copy self)
    @inline(never)
    fileprivate func suffix(after prefix: StaticString) -> RawSpan? {
        let count = prefix.utf8CodeUnitCount
        guard byteCount >= count else { return nil }
        for index in 0..<count {
            // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
            guard unsafe load(UInt8.self, at: index) == prefix.utf8Start[index] else { return nil }
        }
        return extracting(count..<byteCount)
    }
}

/// An unsigned number, decimal or with `0x` hexadecimal; nil if it is none or over 64 bits.
func number(_ text: RawSpan) -> UInt64? {
    var start = 0
    var base: UInt64 = 10
    if text.byteCount > 2, text.load(UInt8.self, at: 0) == UInt8(ascii: "0"),
        (text.load(UInt8.self, at: 1) ?? 0) | 0x20 == UInt8(ascii: "x")
    {
        base = 16
        start = 2
    }
    guard start < text.byteCount else { return nil }
    var value: UInt64 = 0
    for offset in start..<text.byteCount {
        guard let digit = hexDigit(text.load(UInt8.self, at: offset) ?? 0), UInt64(digit) < base
        else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: base)
        let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
        guard !overflow, !carry else { return nil }
        value = sum
    }
    return value
}

/// The value of a hexadecimal digit.
func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// The bytes that percent-encoded text stands for (RFC 3986, 2.1); nil for a broken escape.
func percentDecode(_ text: RawSpan) -> [UInt8]? {
    var result: [UInt8] = []
    var offset = 0
    while let byte = text.load(UInt8.self, at: offset) {
        offset += 1
        guard byte == UInt8(ascii: "%") else {
            result.add(byte)
            continue
        }
        guard let high = text.load(UInt8.self, at: offset).flatMap(hexDigit),
            let low = text.load(UInt8.self, at: offset + 1).flatMap(hexDigit)
        else { return nil }
        result.add(high << 4 | low)
        offset += 2
    }
    return result
}
