#if hasFeature(Embedded)
import CMicroVM

/// The serial port COM1 (16550A), the console from the first instruction on.
enum Console {
    private static let port: UInt16 = 0x3f8
    private static let lineStatus: UInt16 = port + 5
    private static let transmitterEmpty: UInt8 = 0x20

    /// Writes one byte; a newline becomes CR LF. Waits as long as the port has no room for it,
    /// because whoever reads the console is slow: a byte written all the same would be lost. A
    /// machine without the port reads all ones, which is room.
    static func put(_ byte: UInt8) {
        if byte == UInt8(ascii: "\n") { put(UInt8(ascii: "\r")) }
        while toro_in8(lineStatus) & transmitterEmpty == 0 { toro_relax() }
        toro_out8(port, byte)
    }

    /// Writes constant text.
    static func write(_ text: StaticString) {
        for index in 0..<text.utf8CodeUnitCount {
            // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
            put(unsafe text.utf8Start[index])
        }
    }

    /// Writes text. `print` would do, with 10 kB of the standard library for strings that are
    /// not contiguous, which there are none of in Embedded Swift.
    static func write(_ text: String) {
        // SAFETY: the buffer is used while the call lasts.
        _ = unsafe text.utf8.withContiguousStorageIfAvailable { unsafe write(bytes: $0) }
    }

    @unsafe private static func write(bytes: UnsafeBufferPointer<UInt8>) {
        for index in 0..<bytes.count {
            // SAFETY: the index is one of the buffer's.
            put(unsafe bytes[index])
        }
    }

    /// Writes a C string, as C code gives it.
    @unsafe static func write(cString text: UnsafePointer<CChar>) {
        var at = unsafe text
        while unsafe at.pointee != 0 {
            put(unsafe UInt8(bitPattern: at.pointee))
            unsafe at += 1
        }
    }

    /// Writes `0x` and the number in hexadecimal, without an allocation.
    static func write(hex value: UInt64) {
        write("0x")
        var shift = value == 0 ? 0 : (63 - value.leadingZeroBitCount) & ~3
        while shift >= 0 {
            let digit = UInt8(value >> UInt64(shift) & 15)
            put(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            shift -= 4
        }
    }

    /// Writes the number in decimal, without an allocation.
    static func write(decimal value: UInt64) {
        if value >= 10 { write(decimal: value / 10) }
        put(UInt8(ascii: "0") + UInt8(value % 10))
    }
}

/// Where `print` and the runtime's own messages go.
@c(toro_console_put) public func consolePut(_ byte: UInt8) {
    Console.put(byte)
}
#endif
