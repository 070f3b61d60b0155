#if !hasFeature(Embedded)
import CToroHost
import Glibc
public import ToroCore

/// A folder of this machine as a file system. The kernel resolves paths (openat2(2) with
/// RESOLVE_BENEATH, Linux 5.6), so that nothing leads out.
///
/// Reads block the process's run loop for as long as the disk takes: for a service under test or
/// development, not for one that must answer while a disk sleeps.
@Core public final class HostFolder: FileSystem {
    private let root: HostFile

    /// The folder at `path`; `.notFound` or `.notADirectory` if there is none.
    public init(_ path: String) throws(FileError) {
        // SAFETY: the path is a C string for the call.
        let file = unsafe Glibc.open(
            path, Int32(toro_host_path_only()) | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw FileError(system: errno) }
        root = try HostFile(file)
    }

    /// The attributes of a file; see ``ToroCore/FileSystem``.
    public func attributes(at path: Path) async throws(FileError) -> FileAttributes {
        try open(path, toro_host_path_only()).attributes
    }

    /// Opens a regular file; see ``ToroCore/FileSystem``.
    public func open(_ path: Path) async throws(FileError) -> HostFile {
        // The kind first: opening a pipe or a device may block or do something.
        switch try open(path, toro_host_path_only()).attributes.kind {
        case .regular: break
        case .directory: throw .isADirectory
        case .symbolicLink, .other: throw .permissionDenied
        }
        let file = try open(path, UInt64(O_RDONLY | O_NONBLOCK | O_NOCTTY))
        guard file.attributes.kind == .regular else { throw .permissionDenied }
        return file
    }

    /// Opens a directory; see ``ToroCore/FileSystem``.
    public func openDirectory(_ path: Path) async throws(FileError) -> HostDirectory {
        HostDirectory(try open(path, UInt64(O_RDONLY | O_DIRECTORY)))
    }

    /// The text of a symbolic link; see ``ToroCore/FileSystem``.
    public func readLink(_ path: Path) async throws(FileError) -> [UInt8] {
        let link = try open(path, toro_host_path_only() | UInt64(O_NOFOLLOW))
        guard link.attributes.kind == .symbolicLink else { throw .invalidPath }
        var text = [UInt8](repeating: 0, count: 4096)
        // SAFETY: the call writes at most the array's length.
        let count = unsafe text.withUnsafeMutableBytes { bytes -> Int in
            guard let base = bytes.baseAddress else { return 0 }
            return unsafe readlinkat(
                link.descriptor, "", base.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        guard count >= 0 else { throw FileError(system: errno) }
        return Array(text.prefix(count))
    }

    /// How full the file system is; see ``ToroCore/FileSystem``.
    public func statistics() async throws(FileError) -> FileSystemStatistics {
        var found = statvfs()
        // SAFETY: the structure outlives the call.
        guard unsafe fstatvfs(root.descriptor, &found) == 0 else { throw FileError(system: errno) }
        return FileSystemStatistics(
            blockSize: UInt32(clamping: found.f_frsize), blocks: UInt64(found.f_blocks),
            freeBlocks: UInt64(found.f_bavail),
            maximumNameLength: UInt32(clamping: found.f_namemax))
    }

    private func open(_ path: Path, _ flags: UInt64) throws(FileError) -> HostFile {
        // The same checks as everywhere: NUL bytes, over-long names and paths.
        _ = try path.components()
        var bytes = Array(path.bytes.drop { $0 == UInt8(ascii: "/") })
        if bytes.isEmpty { bytes = [UInt8(ascii: ".")] }
        bytes.append(0)
        // SAFETY: the bytes end with NUL and outlive the call.
        let file = unsafe bytes.withUnsafeBytes { raw -> Int32 in
            guard let path = unsafe raw.baseAddress?.assumingMemoryBound(to: CChar.self) else {
                return -EINVAL
            }
            return unsafe toro_host_open_beneath(root.descriptor, path, flags)
        }
        guard file >= 0 else { throw FileError(system: -file) }
        return try HostFile(file)
    }
}

/// An open file of a folder.
@Core public final class HostFile: OpenFile {
    /// The attributes when it was opened.
    public let attributes: FileAttributes
    let descriptor: Int32
    private var isOpen = true

    /// Takes over a descriptor.
    init(_ file: Int32) throws(FileError) {
        descriptor = file
        do throws(FileError) {
            attributes = try HostFile.attributes(of: file)
        } catch {
            _ = Glibc.close(file)
            throw error
        }
    }

    deinit { if isOpen { _ = Glibc.close(descriptor) } }

    /// The attributes as they are now; see ``ToroCore/OpenFile``.
    public func currentAttributes() async throws(FileError) -> FileAttributes {
        guard isOpen else { throw .stale }
        return try HostFile.attributes(of: descriptor)
    }

    private static func attributes(of file: Int32) throws(FileError) -> FileAttributes {
        var status = toro_host_status()
        // SAFETY: the structure outlives the call.
        let error = unsafe toro_host_stat(file, &status)
        guard error == 0 else { throw FileError(system: -error) }
        let kinds: [UInt32: FileKind] = [
            S_IFREG: .regular, S_IFDIR: .directory, S_IFLNK: .symbolicLink,
        ]
        return FileAttributes(
            identity: status.identity, kind: kinds[status.mode & S_IFMT] ?? .other,
            size: status.size,
            modified: WallTime(seconds: status.seconds, nanoseconds: status.nanoseconds),
            permissions: UInt16(status.mode & 0o7777))
    }

    /// Reads bytes; see ``ToroCore/OpenFile``.
    public func read(
        into buffer: consuming IOBuffer, at offset: UInt64
    ) async -> Completed<FileError> {
        var buffer = buffer
        guard isOpen else { return Completed(buffer, .failure(.stale)) }
        var total = 0
        while buffer.freeCapacity > 0 {
            let (at, overflow) = offset.addingReportingOverflow(UInt64(total))
            // No file is that long, and the call refuses to look.
            guard !overflow, let place = off_t(exactly: at),
                place <= off_t.max - off_t(buffer.freeCapacity)
            else { break }
            // SAFETY: the buffer has that much room behind its bytes, and outlives the call.
            let count = unsafe pread(
                descriptor, buffer.unsafePointer + buffer.count, buffer.freeCapacity, place)
            if count < 0 {
                if errno == EINTR { continue }
                return Completed(buffer, .failure(FileError(system: errno)))
            }
            if count == 0 { break }
            buffer.didFill(count)
            total += count
        }
        return Completed(buffer, .success(total))
    }

    /// Releases the file; see ``ToroCore/OpenFile``.
    public func close() {
        if isOpen { _ = Glibc.close(descriptor) }
        isOpen = false
    }

    /// The descriptor, which the caller now closes.
    func release() -> Int32 {
        isOpen = false
        return descriptor
    }
}

/// An open directory of a folder.
@safe @Core public final class HostDirectory: OpenDirectory {
    // SAFETY: used on the run loop, and by the end of the object, when nobody else can.
    nonisolated(unsafe) private var stream: OpaquePointer?

    init(_ file: HostFile) {
        let descriptor = file.release()
        // SAFETY: the stream takes the descriptor over.
        unsafe stream = fdopendir(descriptor)
        if unsafe stream == nil { _ = Glibc.close(descriptor) }
    }

    deinit { if let stream = unsafe stream { _ = unsafe closedir(stream) } }

    /// The next entry; see ``ToroCore/OpenDirectory``.
    public func next() async throws(FileError) -> DirectoryEntry? {
        guard let stream = unsafe stream else { throw .stale }
        while true {
            errno = 0
            // SAFETY: the stream is open, and the entry is used before the next call.
            guard let entry = unsafe readdir(stream) else {
                guard errno == 0 else { throw FileError(system: errno) }
                return nil
            }
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                unsafe Array(bytes.prefix { $0 != 0 })
            }
            if name == [0x2e] || name == [0x2e, 0x2e] { continue }
            let kinds: [Int: FileKind] = [8: .regular, 4: .directory, 10: .symbolicLink]
            let kind = unsafe kinds[Int(entry.pointee.d_type)] ?? .other
            return DirectoryEntry(name: name, kind: kind)
        }
    }

    /// Releases the directory; see ``ToroCore/OpenDirectory``.
    public func close() {
        if let stream = unsafe stream { _ = unsafe closedir(stream) }
        unsafe stream = nil
    }
}

extension FileError {
    /// What a Linux error number means here.
    init(system code: Int32) {
        switch code {
        case ENOENT: self = .notFound
        case ENOTDIR: self = .notADirectory
        case EISDIR: self = .isADirectory
        case EACCES, EPERM: self = .permissionDenied
        case EROFS: self = .readOnly
        case EXDEV: self = .escapesRoot
        case ELOOP: self = .tooManyLinks
        case ENAMETOOLONG: self = .nameTooLong
        case EINVAL: self = .invalidPath
        case EBADF, ESTALE: self = .stale
        case EMFILE, ENFILE: self = .tooManyOpenFiles
        case ENOMEM: self = .outOfMemory
        default: self = .host(code: code)
        }
    }
}
#endif
