import Foundation

/// A folder of the host that a guest may see.
public struct Share: Equatable, Sendable {
    /// The name the guest asks for.
    public var tag: String
    /// The folder, an absolute path.
    public var folder: String
    /// Whether the guest may change it.
    public var isWritable: Bool

    /// Parses TAG=FOLDER or TAG=FOLDER:rw.
    public init(parsing text: String) throws(LaunchError) {
        guard let mark = text.firstIndex(of: "="), mark != text.startIndex else {
            throw .usage("--share takes TAG=FOLDER or TAG=FOLDER:rw, not \(text)")
        }
        var path = String(text[text.index(after: mark)...])
        let isWritable = path.hasSuffix(":rw")
        if isWritable { path.removeLast(3) }
        try self.init(tag: String(text[..<mark]), folder: path, isWritable: isWritable)
    }

    /// The share of a folder that exists.
    public init(tag: String, folder path: String, isWritable: Bool = false) throws(LaunchError) {
        self.tag = tag
        self.isWritable = isWritable
        guard tag.utf8.count <= 36 else {
            throw .usage("the tag \(tag) is longer than 36 bytes")
        }
        folder = URL(fileURLWithPath: path).standardizedFileURL.path
        var status = stat()
        // SAFETY: the path is a C string for the call, and the structure outlives it.
        guard unsafe stat(folder, &status) == 0 else {
            throw .usage("the folder \(folder) of the share \(tag) does not exist")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw .usage("\(folder), to be shared as \(tag), is no folder")
        }
    }

    /// How to start `daemon` so that it serves the share to whoever connects to `listener`.
    ///
    /// The C virtiofsd has no read-only switch, so the folder is made read-only in a mount namespace
    /// of the daemon's own; without root that belongs to a user namespace.
    func start(_ daemon: FileDaemon, listener: Int32) -> Part.Start {
        var start = Part.Start(
            name: "virtiofsd (share \(tag))", program: daemon.path,
            arguments: daemon.arguments(folder: folder, listener: listener))
        start.kept = [listener]
        start.isPrivate = true
        start.readOnly = isWritable ? nil : folder
        return start
    }
}
