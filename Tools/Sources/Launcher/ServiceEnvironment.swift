import Foundation

/// The environment that a user gives to a service: `--env` and `--env-file`.
public enum ServiceEnvironment {
    /// An entry, in which any byte may stand: see ``RawText``.
    public typealias Entry = (name: String, value: String)

    /// Parses what stands behind `--env`: NAME=VALUE, or NAME for the value it has in this process's
    /// own environment.
    public static func entry(_ text: String) throws(LaunchError) -> Entry {
        try entry(text, "--env")
    }

    /// Reads a file of such entries, one a line. Empty lines and those that begin with `#` are left
    /// out. Everything between the first `=` and the line's end is the value, as it is: there are
    /// no quotes, no escapes and no lines that go on.
    public static func entries(file path: String) throws(LaunchError) -> [Entry] {
        let bytes = try contents(path)
        var entries: [Entry] = []
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard let first = line.first, first != UInt8(ascii: "#") else { continue }
            entries.append(try entry(RawText.string(of: line), "\(path):\(index + 1)"))
        }
        return entries
    }

    /// What is wrong is said without the value, which may be a secret.
    private static func entry(_ text: String, _ place: String) throws(LaunchError) -> Entry {
        let mark = text.firstIndex(of: "=") ?? text.endIndex
        let name = String(text[..<mark])
        guard !name.isEmpty else {
            throw .usage("\(place): an entry is NAME=VALUE or NAME, and this one has no name")
        }
        if mark < text.endIndex { return (name, String(text[text.index(after: mark)...])) }
        guard let value = RawText.environment(name) else {
            throw .usage("\(place): \(name) has no value here; give it one, or write \(name)=VALUE")
        }
        return (name, value)
    }

    /// The bytes of a file or a pipe, no more than a guest takes. Comments may be long, but not for
    /// ever.
    private static func contents(_ path: String) throws(LaunchError) -> Data {
        let limit = 4 * Handover.limit
        let bytes: Data
        do throws(HostFile.Failure) {
            bytes = try HostFile.contents(path, limit: limit)
        } catch {
            throw error.interruption(path) ?? .usage("cannot read \(path): \(error.reason)")
        }
        guard bytes.count <= limit else {
            throw .usage(
                "\(path) is longer than \(limit) bytes, and a guest takes \(Handover.limit) at most"
            )
        }
        return bytes
    }
}
