import Foundation

/// A program of the toolchain: `swift`, `swiftc`.
///
/// They leave folders and locks among the temporary files with every call. Here those end with it.
public struct SwiftCommand: Sendable {
    /// Where it is.
    public let path: String
    private let temporary: String?

    /// The one in `PATH`. Its temporary files are in the folder `temporary`, of which only the last
    /// part need not be there, and which one call at a time has: the next one removes what a killed
    /// one has left. Without that they are in a new folder.
    public init(_ name: String = "swift", temporary: String? = nil) throws(LaunchError) {
        guard let path = Command.find(name) else {
            throw .missing("\(name) is not in PATH: install Swift 6.3 from swift.org/install")
        }
        self.init(path: path, temporary: temporary)
    }

    /// The one with this path.
    init(path: String, temporary: String? = nil) {
        self.path = path
        self.temporary = temporary
    }

    /// Runs it and captures what it writes, as `Command.capture` does, with the variables that are
    /// set as `NAME=value`. One that cannot start is an error.
    public func capture(
        _ arguments: [String], setting variables: [String] = [], limit: Double = 900,
        onOutput: ([UInt8]) -> Void = { _ in }
    ) throws(LaunchError) -> Finished {
        let folder = try makeTemporary()
        defer { folder.remove() }
        let ended = try Command.capture(
            "/usr/bin/env", ["TMPDIR=" + folder.path] + variables + [path] + arguments,
            limit: limit, onOutput: onOutput)
        // The loader's status, env's and the shells' (POSIX, env: 126 and 127). Most often a library
        // is missing, which the loader names.
        guard [126, 127].contains(ended.status) else { return ended }
        let words = ended.output.trimmingCharacters(in: .whitespacesAndNewlines)
        throw .missing(
            """
            \(path) cannot start: \(words.isEmpty ? "it says nothing" : words)
            Swift's own needs are listed at https://www.swift.org/install/linux
            """)
    }

    private func makeTemporary() throws(LaunchError) -> TemporaryFolder {
        guard let temporary else { return try TemporaryFolder() }
        do throws(HostFile.Failure) {
            return try TemporaryFolder(anew: temporary)
        } catch {
            throw LaunchError("cannot write to \(temporary): \(error.reason)")
        }
    }
}
