/// Why a file operation failed.
public enum FileError: ToroError, Equatable {
    /// No file of that name (ENOENT).
    case notFound
    /// A directory was needed and the file is none (ENOTDIR).
    case notADirectory
    /// A file's bytes were asked of a directory (EISDIR).
    case isADirectory
    /// The host does not let this guest do that (EACCES, EPERM).
    case permissionDenied
    /// The file system is read-only (EROFS).
    case readOnly
    /// A symbolic link or `..` leads out of the file system (EXDEV).
    case escapesRoot
    /// More than 40 symbolic links on the way (ELOOP).
    case tooManyLinks
    /// A name over 255 bytes or a path over 4095 (ENAMETOOLONG).
    case nameTooLong
    /// A NUL byte in a path, or an argument out of its range (EINVAL).
    case invalidPath
    /// The file was closed, or replaced on the host (EBADF, ESTALE).
    case stale
    /// The host has no descriptor left (EMFILE, ENFILE); it may have in a moment.
    case tooManyOpenFiles
    /// No memory here or there (ENOMEM).
    case outOfMemory
    /// The task was cancelled.
    case cancelled
    /// The device below failed or broke its protocol and was shut down.
    case deviceFailed
    /// Another error of the host, with its Linux error number.
    case host(code: Int32)

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .notFound: "no such file or directory"
        case .notADirectory: "not a directory"
        case .isADirectory: "is a directory"
        case .permissionDenied: "permission denied by the host"
        case .readOnly: "the share is read-only; share it with :rw to write"
        case .escapesRoot: "the path leads out of the share"
        case .tooManyLinks: "too many symbolic links"
        case .nameTooLong: "the name is too long"
        case .invalidPath: "the path holds a NUL byte or is otherwise invalid"
        case .stale: "the file was closed or replaced"
        case .tooManyOpenFiles: "the host has too many files open"
        case .outOfMemory: "out of memory; give the guest more memory"
        case .cancelled: "the operation was cancelled"
        case .deviceFailed: "the file system device failed; restart the guest"
        case .host(5): "the host could not read or write its disk"
        case .host(28): "the host's disk is full"
        case .host: "the host answered with an error of its own; its daemon's log says more"
        }
    }
}

/// What a file is.
public enum FileKind: UInt8, Sendable {
    /// Bytes.
    case regular
    /// Names of files.
    case directory
    /// A path to another file.
    case symbolicLink
    /// A device, socket or pipe.
    case other
}

/// What is known of a file besides its bytes.
public struct FileAttributes: Equatable, Sendable {
    /// The number that tells the file from others of the same file system.
    public var identity: UInt64
    /// What it is.
    public var kind: FileKind
    /// Its length in bytes.
    public var size: UInt64
    /// When its bytes were last changed.
    public var modified: WallTime
    /// The permission bits, 0o7777 at most.
    public var permissions: UInt16

    /// The given attributes.
    public init(
        identity: UInt64, kind: FileKind, size: UInt64, modified: WallTime, permissions: UInt16
    ) {
        self.identity = identity
        self.kind = kind
        self.size = size
        self.modified = modified
        self.permissions = permissions
    }
}

/// One name in a directory.
public struct DirectoryEntry: Equatable, Sendable {
    /// The name: bytes, not `.` and not `..`.
    public var name: [UInt8]
    /// What the name stands for.
    public var kind: FileKind

    /// The given entry.
    public init(name: [UInt8], kind: FileKind) {
        self.name = name
        self.kind = kind
    }
}

/// How full a file system is.
public struct FileSystemStatistics: Equatable, Sendable {
    /// The size of a block in bytes.
    public var blockSize: UInt32
    /// All blocks.
    public var blocks: UInt64
    /// Free blocks.
    public var freeBlocks: UInt64
    /// The longest name in bytes.
    public var maximumNameLength: UInt32

    /// The given figures.
    public init(blockSize: UInt32, blocks: UInt64, freeBlocks: UInt64, maximumNameLength: UInt32) {
        self.blockSize = blockSize
        self.blocks = blocks
        self.freeBlocks = freeBlocks
        self.maximumNameLength = maximumNameLength
    }
}

/// An open regular file.
///
/// The file is released when `close` is called or the last reference goes, whichever is first.
@Core public protocol OpenFile: AnyObject {
    /// The attributes when it was opened. A file system that remembers attributes may give those
    /// it remembers: a file that others change can be another version by then.
    var attributes: FileAttributes { get }

    /// The attributes as they are now, asked of the open file itself: also of one that was renamed
    /// or removed since. Bytes that were read between two equal answers are of one version. Costs
    /// a round trip to where the file is; `.stale` after `close`.
    func currentAttributes() async throws(FileError) -> FileAttributes

    /// Reads from `offset` into the free part of `buffer` until it is full or the file ends; gives
    /// the buffer back with the number of bytes read, 0 only at the end of the file (or for a full
    /// buffer).
    /// Any number of reads may be in flight.
    func read(into buffer: consuming IOBuffer, at offset: UInt64) async -> Completed<FileError>

    /// Releases the file; later reads give `.stale`. A second call does nothing.
    func close()
}

/// An open directory.
@Core public protocol OpenDirectory: AnyObject {
    /// The next entry, in the host's order, nil at the end; `.` and `..` are left out.
    func next() async throws(FileError) -> DirectoryEntry?

    /// Releases the directory. A second call does nothing.
    func close()
}

/// A tree of files.
///
/// Paths are resolved inside the tree: symbolic links are followed as long as they stay in it; an
/// absolute link, or `..` above the root, gives `.escapesRoot`.
@Core public protocol FileSystem {
    /// Its open files.
    associatedtype File: OpenFile
    /// Its open directories.
    associatedtype Directory: OpenDirectory

    /// The attributes of the file at `path`, symbolic links followed.
    func attributes(at path: Path) async throws(FileError) -> FileAttributes

    /// Opens the regular file at `path` for reading, symbolic links followed;
    /// `.isADirectory` for a directory.
    func open(_ path: Path) async throws(FileError) -> File

    /// Opens the directory at `path`, symbolic links followed.
    func openDirectory(_ path: Path) async throws(FileError) -> Directory

    /// The text of the symbolic link at `path`; links on the way are followed, the last is not.
    /// `.invalidPath` if it is no symbolic link.
    func readLink(_ path: Path) async throws(FileError) -> [UInt8]

    /// How full the file system is.
    func statistics() async throws(FileError) -> FileSystemStatistics
}
