/// A virtio device on the command line: `virtio_mmio.device=512@0xfeb00000:5`
/// (Linux, Documentation/admin-guide/kernel-parameters.txt).
public struct MMIODevice: Equatable, Sendable {
    /// The address of its register window.
    public var address: UInt64
    /// The window's length in bytes.
    public var size: UInt64
    /// The number of its interrupt line.
    public var interrupt: UInt32
}

/// What the launcher and the machine tell the guest on the kernel's command line.
///
/// Words are separated by spaces; the launcher percent-encodes what it passes on:
///
///     toro.arg=--verbose toro.env=NAME=a%20value toro.epoch=1700000000.5 virtio_mmio.device=…
public struct KernelCommandLine: Sendable {
    /// The service's arguments, decoded.
    public private(set) var arguments: [[UInt8]] = []
    /// The service's environment, decoded, in order.
    public private(set) var environment: [(name: [UInt8], value: [UInt8])] = []
    /// Seconds and nanoseconds since 1970 at the time the machine was started.
    public private(set) var epoch: (seconds: Int64, nanoseconds: UInt32)?
    /// The virtio-mmio devices, in order.
    public private(set) var devices: [MMIODevice] = []
    /// Words that begin like ours and are malformed, for a message on the console.
    public private(set) var malformed: [[UInt8]] = []

    /// The longest command line that is read, in bytes.
    public static let maximumLength = 65536

    /// Parses a command line without its NUL. Words of others are left alone.
    public init(parsing text: RawSpan) {
        var word: [UInt8] = []
        for offset in 0...text.byteCount {
            let byte = text.load(UInt8.self, at: offset) ?? UInt8(ascii: " ")
            if byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\n") {
                if !word.isEmpty { take(word) }
                word.removeAll(keepingCapacity: true)
            } else {
                word.append(byte)
            }
        }
    }

    private mutating func take(_ word: [UInt8]) {
        if let rest = KernelCommandLine.suffix(of: word, after: "toro.arg=") {
            guard let value = percentDecode(rest) else { return malformed.append(word) }
            arguments.append(value)
        } else if let rest = KernelCommandLine.suffix(of: word, after: "toro.env=") {
            guard let equals = rest.firstIndex(of: UInt8(ascii: "=")),
                let name = percentDecode(rest[..<equals]), !name.isEmpty,
                let value = percentDecode(rest[(equals + 1)...])
            else { return malformed.append(word) }
            environment.append((name, value))
        } else if let rest = KernelCommandLine.suffix(of: word, after: "toro.epoch=") {
            guard let time = KernelCommandLine.epoch(rest) else { return malformed.append(word) }
            epoch = time
        } else if let rest = KernelCommandLine.suffix(of: word, after: "virtio_mmio.device=") {
            guard let device = MMIODevice(parsing: rest) else { return malformed.append(word) }
            devices.append(device)
        }
    }

    private static func suffix(of word: [UInt8], after prefix: StaticString) -> ArraySlice<UInt8>? {
        let count = prefix.utf8CodeUnitCount
        guard word.count >= count else { return nil }
        for index in 0..<count {
            // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
            guard unsafe word[index] == prefix.utf8Start[index] else { return nil }
        }
        return word[count...]
    }

    private static func epoch(_ text: ArraySlice<UInt8>) -> (Int64, UInt32)? {
        let dot = text.firstIndex(of: UInt8(ascii: ".")) ?? text.endIndex
        guard let seconds = number(text[..<dot]), seconds <= UInt64(Int64.max) else { return nil }
        guard dot < text.endIndex else { return (Int64(seconds), 0) }
        var digits = text[(dot + 1)...].prefix(9)
        guard var nanoseconds = number(digits) else { return nil }
        while digits.count < 9 {
            nanoseconds *= 10
            digits.append(0)
        }
        return (Int64(seconds), UInt32(nanoseconds))
    }
}

extension MMIODevice {
    /// Parses `SIZE[K|M]@ADDRESS:IRQ[:ID]`; nil if it is none.
    init?(parsing text: ArraySlice<UInt8>) {
        guard let at = text.firstIndex(of: UInt8(ascii: "@")),
            let colon = text[at...].firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        let tail = text[(colon + 1)...]
        let tailEnd = tail.firstIndex(of: UInt8(ascii: ":")) ?? tail.endIndex
        var digits = text[..<at]
        var shift: UInt64 = 0
        if let unit = digits.last, unit == UInt8(ascii: "K") || unit == UInt8(ascii: "M") {
            shift = unit == UInt8(ascii: "K") ? 10 : 20
            digits = digits.dropLast()
        }
        guard let size = number(digits), size > 0, size <= 1 << 20,
            let address = number(text[(at + 1)..<colon]),
            let interrupt = number(tail[..<tailEnd]), interrupt < 256
        else { return nil }
        self.init(address: address, size: size << shift, interrupt: UInt32(interrupt))
    }
}

/// An unsigned number, decimal or with `0x` hexadecimal; nil if it is none or over 64 bits.
func number(_ text: ArraySlice<UInt8>) -> UInt64? {
    var digits = text
    var base: UInt64 = 10
    if text.count > 2, text.first == UInt8(ascii: "0"),
        text[text.startIndex + 1] | 0x20 == UInt8(ascii: "x")
    {
        base = 16
        digits = text.dropFirst(2)
    }
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for byte in digits {
        guard let digit = hexDigit(byte), UInt64(digit) < base else { return nil }
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
func percentDecode(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    var result: [UInt8] = []
    var index = text.startIndex
    while index < text.endIndex {
        if text[index] == UInt8(ascii: "%") {
            guard index + 2 < text.endIndex, let high = hexDigit(text[index + 1]),
                let low = hexDigit(text[index + 2])
            else { return nil }
            result.append(high << 4 | low)
            index += 3
        } else {
            result.append(text[index])
            index += 1
        }
    }
    return result
}
