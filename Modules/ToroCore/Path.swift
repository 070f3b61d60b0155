/// A path in a file system: bytes, separated by `/`, as POSIX has it.
///
/// A name is any sequence of bytes without `/` and NUL; it need not be UTF-8. Paths are taken from
/// the root of the file system whether or not they begin with `/`.
public struct Path: Hashable, Sendable, ExpressibleByStringLiteral {
    /// The bytes as they were given.
    public let bytes: [UInt8]

    /// The longest path, in bytes (Linux `PATH_MAX` less its NUL).
    public static let maximumLength = 4095

    /// The longest name between two slashes, in bytes (Linux `NAME_MAX`).
    public static let maximumNameLength = 255

    /// The root.
    public static let root: Path = "/"

    /// The path with these bytes. They are checked when a file system resolves it.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The path with the UTF-8 of `text`.
    public init(_ text: String) { bytes = Array(text.utf8) }

    /// The path with the UTF-8 of `value`.
    public init(stringLiteral value: StaticString) {
        var bytes: [UInt8] = []
        for index in 0..<value.utf8CodeUnitCount {
            // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
            bytes.add(unsafe value.utf8Start[index])
        }
        self.bytes = bytes
    }

    /// The path one level down, `name` in this directory.
    public func appending(_ name: [UInt8]) -> Path {
        var joined: [UInt8] = []
        joined.reserveCapacity(bytes.count + name.count + 1)
        joined += bytes
        if joined.last != UInt8(ascii: "/") { joined.add(UInt8(ascii: "/")) }
        joined += name
        return Path(joined)
    }

    /// The names between the slashes, empty ones and `.` left out, `..` kept for the file system
    /// to resolve.
    ///
    /// Throws `.invalidPath` for a NUL byte and `.nameTooLong` for a path or name over the limits.
    public func components() throws(FileError) -> [ArraySlice<UInt8>] {
        guard bytes.count <= Path.maximumLength else { throw .nameTooLong }
        var result: [ArraySlice<UInt8>] = []
        var first = bytes.startIndex
        for index in 0...bytes.count {
            if index < bytes.count {
                if bytes[index] == 0 { throw .invalidPath }
                if bytes[index] != UInt8(ascii: "/") { continue }
            }
            let name = bytes[first..<index]
            first = index + 1
            if name.isEmpty || (name.count == 1 && name.first == UInt8(ascii: ".")) { continue }
            guard name.count <= Path.maximumNameLength else { throw .nameTooLong }
            result.append(name)
        }
        return result
    }
}
