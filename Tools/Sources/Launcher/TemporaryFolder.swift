import Foundation

/// A new folder for what ends with its user, who alone may enter it.
public struct TemporaryFolder: Sendable {
    /// Its path, which is text.
    public let path: String

    /// A folder in the one that `TMPDIR` names, or else in /tmp.
    public init() throws(LaunchError) { try self.init(inAnyOf: ["TMPDIR"], room: PATH_MAX) }

    /// A folder in the first of those that the variables name, or else in /tmp, whose path has less
    /// than `room` bytes.
    init(inAnyOf variables: [String], room: Int32) throws(LaunchError) {
        // An empty one is as good as none, and a relative one is not to be used (XDG Base Directory
        // Specification). The vsock device takes text.
        let bases =
            variables.compactMap(RawText.environment)
            .filter { $0.hasPrefix("/") && RawText.isText($0) } + ["/tmp"]
        for base in bases {
            let bytes = RawText.bytes(of: base + "/toro-XXXXXX")
            guard bytes.count < room else { continue }
            var template = (bytes + [0]).map { CChar(bitPattern: $0) }
            // SAFETY: mkdtemp writes within the NUL-terminated template.
            guard unsafe mkdtemp(&template) != nil else { continue }
            path = RawText.string(of: template.dropLast().map { UInt8(bitPattern: $0) })
            // Whatever umask took from it.
            _ = unsafe RawText.withCString(path) { unsafe chmod($0, 0o700) }
            return
        }
        throw LaunchError("cannot make a temporary folder in " + bases.joined(separator: " or "))
    }

    /// The folder with this path, without what may be in it.
    init(anew path: String) throws(HostFile.Failure) {
        self.path = path
        remove()
        try HostFile.makeFolder(path, mode: 0o700)
    }

    /// Removes it and all that is in it.
    public func remove() { try? FileManager.default.removeItem(atPath: path) }
}
