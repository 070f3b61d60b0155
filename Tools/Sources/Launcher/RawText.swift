import Foundation

/// Bytes of any value in a `String`, and back: names of files, arguments and values of the
/// environment are bytes to Linux, while most of them are text.
///
/// What is valid UTF-8 stays as it is. Any other byte becomes a character of its own at the end of
/// the second private use plane, U+10FF00 + byte; so do the bytes of these characters themselves,
/// which makes the way back unambiguous.
public enum RawText {
    private static let base: UInt32 = 0x10_ff00

    /// The text that stands for the bytes.
    public static func string(of bytes: some Sequence<UInt8>) -> String {
        let bytes = Array(bytes)
        var text = String.UnicodeScalarView()
        var offset = 0
        while offset < bytes.count {
            var decoder = UTF8()
            var rest = bytes[offset...].makeIterator()
            if case .scalarValue(let scalar) = decoder.decode(&rest), scalar.value < base {
                text.append(scalar)
                offset += UTF8.width(scalar)
            } else if let scalar = Unicode.Scalar(base + UInt32(bytes[offset])) {
                text.append(scalar)
                offset += 1
            }
        }
        return String(text)
    }

    /// The bytes that the text stands for.
    public static func bytes(of text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        for scalar in text.unicodeScalars {
            if let byte = byte(scalar) {
                bytes.append(byte)
            } else {
                bytes += String(scalar).utf8
            }
        }
        return bytes
    }

    /// Whether the bytes are UTF-8.
    static func isText(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { byte($0) == nil }
    }

    /// The byte that a character stands for; nil if it is itself.
    static func byte(_ scalar: Unicode.Scalar) -> UInt8? {
        scalar.value >= base ? UInt8(truncatingIfNeeded: scalar.value - base) : nil
    }

    /// The text that stands for the bytes of a C string.
    @unsafe static func string(cString: UnsafePointer<CChar>) -> String {
        // SAFETY: a C string ends with NUL, which strlen finds.
        unsafe string(of: UnsafeRawBufferPointer(start: cString, count: strlen(cString)))
    }

    /// Calls `body` with the bytes as a C string, which lasts for the call.
    static func withCString<Result>(
        _ text: String, _ body: (UnsafePointer<CChar>) -> Result
    ) -> Result {
        // SAFETY: the bytes outlive the call, and the last of them is NUL.
        unsafe (bytes(of: text) + [0]).withUnsafeBytes { raw in
            guard let start = raw.baseAddress else { preconditionFailure("there is a byte") }
            return unsafe body(start.assumingMemoryBound(to: CChar.self))
        }
    }

    /// The value of a variable of this process's environment; nil if there is none.
    public static func environment(_ name: String) -> String? {
        unsafe withCString(name) { name in
            // SAFETY: the name is a C string for the call, and what it returns is copied at once.
            guard let value = unsafe getenv(name) else { return nil }
            return unsafe string(cString: value)
        }
    }
}
