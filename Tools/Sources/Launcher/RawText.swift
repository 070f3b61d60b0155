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
            if scalar.value >= base {
                bytes.append(UInt8(scalar.value - base))
            } else {
                bytes += String(scalar).utf8
            }
        }
        return bytes
    }
}
