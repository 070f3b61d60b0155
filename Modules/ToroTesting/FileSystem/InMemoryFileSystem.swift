import ToroCore

/// A file system over a ``MemoryTree``: what a test gives to code that needs a
/// ``ToroCore/FileSystem``.
///
/// Nothing waits unless ``faults`` says so. Do not use it in a product: look-ups take time
/// proportional to the size of a directory.
@Core public final class InMemoryFileSystem: FileSystem {
    /// The files.
    public let tree: MemoryTree
    /// What goes wrong.
    public let faults = FileFaults()
    /// The files that are open; 0 at the end of a test that leaks none.
    public var openFiles: Int { open.files }
    /// The directories that are open; 0 at the end of a test that leaks none.
    public var openDirectories: Int { open.directories }

    private let open = OpenCounts()

    /// A file system with the files of `tree`, which may change under it.
    public init(_ tree: MemoryTree) { self.tree = tree }

    /// The attributes of the file at `path`; see ``ToroCore/FileSystem``.
    public func attributes(at path: Path) async throws(FileError) -> FileAttributes {
        try await faults.pass()
        return try tree.resolve(path).attributes
    }

    /// Opens the regular file at `path`; see ``ToroCore/FileSystem``.
    public func open(_ path: Path) async throws(FileError) -> InMemoryFile {
        try await faults.pass()
        let node = try tree.resolve(path)
        if node.kind == .directory { throw .isADirectory }
        guard node.kind == .regular else { throw .invalidPath }
        guard node.permissions & 0o444 != 0 else { throw .permissionDenied }
        return InMemoryFile(node, faults, open)
    }

    /// Opens the directory at `path`; see ``ToroCore/FileSystem``.
    public func openDirectory(_ path: Path) async throws(FileError) -> InMemoryDirectory {
        try await faults.pass()
        let node = try tree.resolve(path)
        guard node.kind == .directory else { throw .notADirectory }
        guard node.permissions & 0o444 != 0 else { throw .permissionDenied }
        return InMemoryDirectory(node, faults, open)
    }

    /// The text of the symbolic link at `path`; see ``ToroCore/FileSystem``.
    public func readLink(_ path: Path) async throws(FileError) -> [UInt8] {
        try await faults.pass()
        let node = try tree.resolve(path, followLast: false)
        guard node.kind == .symbolicLink else { throw .invalidPath }
        return node.contents
    }

    /// Made-up figures: 1,000,000 blocks of 4096 bytes, half of them free.
    public func statistics() async throws(FileError) -> FileSystemStatistics {
        try await faults.pass()
        return FileSystemStatistics(
            blockSize: 4096, blocks: 1_000_000, freeBlocks: 500_000, maximumNameLength: 255)
    }
}

/// How many files are open. A `deinit` is not isolated, hence the class apart.
final class OpenCounts: @unchecked Sendable {
    // SAFETY (@unchecked): touched on the core of the file system only, by rule 1 of the house.
    var files = 0
    var directories = 0
}

/// An open file of an ``InMemoryFileSystem``.
@Core public final class InMemoryFile: OpenFile {
    /// The attributes when it was opened.
    public let attributes: FileAttributes

    private let node: MemoryNode
    private let faults: FileFaults
    private let counts: OpenCounts
    private var isOpen = true

    init(_ node: MemoryNode, _ faults: FileFaults, _ counts: OpenCounts) {
        self.node = node
        self.faults = faults
        self.counts = counts
        attributes = node.attributes
        counts.files += 1
    }

    deinit {
        if isOpen { counts.files -= 1 }
    }

    /// The attributes as they are now; see ``ToroCore/OpenFile``.
    public func currentAttributes() async throws(FileError) -> FileAttributes {
        try await faults.pass()
        guard isOpen else { throw .stale }
        return node.attributes
    }

    /// Reads the file's bytes as they are now; see ``ToroCore/OpenFile``.
    public func read(
        into buffer: consuming IOBuffer, at offset: UInt64
    ) async -> Completed<FileError> {
        var buffer = buffer
        do throws(FileError) {
            try await faults.pass()
        } catch {
            return Completed(buffer, .failure(error))
        }
        guard isOpen else { return Completed(buffer, .failure(.stale)) }
        guard offset < UInt64(node.contents.count) else { return Completed(buffer, .success(0)) }
        let contents = node.contents
        let first = Int(offset)
        let length = min(
            contents.count - first, buffer.freeCapacity, max(faults.maximumReadLength ?? .max, 0))
        let span = contents.span
        // SAFETY: the bytes of a UInt8 are its value, without padding.
        let added = buffer.append(unsafe span.bytes.extracting(first..<first + length))
        return Completed(buffer, .success(added))
    }

    /// Releases the file; see ``ToroCore/OpenFile``.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        counts.files -= 1
    }
}

/// An open directory of an ``InMemoryFileSystem``: the names at the time it was opened.
@Core public final class InMemoryDirectory: OpenDirectory {
    private let entries: [DirectoryEntry]
    private let faults: FileFaults
    private let counts: OpenCounts
    private var position = 0
    private var isOpen = true

    init(_ node: MemoryNode, _ faults: FileFaults, _ counts: OpenCounts) {
        var entries: [DirectoryEntry] = []
        for child in node.children {
            entries.append(DirectoryEntry(name: child.name, kind: child.node.kind))
        }
        self.entries = entries
        self.faults = faults
        self.counts = counts
        counts.directories += 1
    }

    deinit {
        if isOpen { counts.directories -= 1 }
    }

    /// The next entry; see ``ToroCore/OpenDirectory``.
    public func next() async throws(FileError) -> DirectoryEntry? {
        try await faults.pass()
        guard isOpen else { throw .stale }
        guard position < entries.count else { return nil }
        position += 1
        return entries[position - 1]
    }

    /// Releases the directory; see ``ToroCore/OpenDirectory``.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        counts.directories -= 1
    }
}
