public import ToroCore

/// An open file of a virtio-fs share.
@Core public final class VirtioFile: OpenFile {
    private let session: FUSESession
    private let node: FUSENode
    private let handle: UInt64
    private var isOpen = true

    /// The attributes when it was opened.
    public let attributes: FileAttributes

    init(
        _ session: FUSESession, _ node: FUSENode, _ handle: UInt64,
        _ attributes: FileAttributes
    ) {
        self.session = session
        self.node = node
        self.handle = handle
        self.attributes = attributes
    }

    deinit {
        guard isOpen else { return }
        Core.assumeIsolated { [session, node, handle] in
            session.release(handle, of: node.id, directory: false)
        }
    }

    /// Reads until the buffer is full or the file ends; the device writes into the buffer itself.
    /// Goes on to its end when the task is cancelled: the buffer is the device's until then.
    public func read(
        into buffer: consuming IOBuffer, at offset: UInt64
    ) async -> Completed<FileError> {
        guard isOpen else { return Completed(buffer, .failure(.stale)) }
        var total = 0
        var buffer = buffer
        while buffer.freeCapacity > 0 {
            let (at, overflow) = offset.addingReportingOverflow(UInt64(total))
            guard !overflow, at <= UInt64(Int64.max) else { break }
            let step = await session.read(
                handle, of: node.id, into: buffer, at: at, directory: false)
            let result = step.result
            buffer = step.take()
            switch result {
            case .failure(let error): return Completed(buffer, .failure(error))
            case .success(0): return Completed(buffer, .success(total))
            case .success(let count): total += count
            }
        }
        return Completed(buffer, .success(total))
    }

    /// Releases it at the host (FUSE_RELEASE, FUSE_RELEASEDIR), once.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        session.release(handle, of: node.id, directory: false)
    }
}

/// An open directory of a virtio-fs share.
@Core public final class VirtioDirectory: OpenDirectory {
    private static var blockSize: Int { 8 << 10 }

    private let session: FUSESession
    private let node: FUSENode
    private let handle: UInt64
    private var isOpen = true
    private var entries: [DirectoryEntry] = []
    private var position = 0
    private var offset: UInt64 = 0

    init(_ session: FUSESession, _ node: FUSENode, _ handle: UInt64) {
        self.session = session
        self.node = node
        self.handle = handle
    }

    deinit {
        guard isOpen else { return }
        Core.assumeIsolated { [session, node, handle] in
            session.release(handle, of: node.id, directory: true)
        }
    }

    /// The next entry; see ``ToroCore/OpenDirectory``.
    public func next() async throws(FileError) -> DirectoryEntry? {
        var blocks = 0
        while position == entries.count {
            guard isOpen else { throw .stale }
            guard try await fill() else { return nil }
            // A block may hold nothing but `.` and `..`; one after the other cannot.
            blocks += 1
            guard blocks <= 3 else { throw .deviceFailed }
        }
        defer { position += 1 }
        return entries[position]
    }

    /// Releases it at the host (FUSE_RELEASE, FUSE_RELEASEDIR), once.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        session.release(handle, of: node.id, directory: true)
    }

    /// Reads a block of entries; false at the end.
    private func fill() async throws(FileError) -> Bool {
        let buffer: IOBuffer
        do throws(OutOfMemory) {
            buffer = try IOBuffer(capacity: Self.blockSize)
        } catch {
            throw .outOfMemory
        }
        let block = try await session.read(
            handle, of: node.id, into: buffer, at: offset, directory: true
        ).get()
        entries.removeAll(keepingCapacity: true)
        position = 0
        guard block.count > 0 else { return false }
        try take(block)
        return true
    }

    private func take(_ block: borrowing IOBuffer) throws(FileError) {
        var at = 0
        while at < block.count {
            // Each entry is 24 bytes at least, so the loop ends; a cut one breaks the protocol.
            guard let parsed = FUSEDirectoryEntry(parsing: block.bytes, at: at) else {
                throw .deviceFailed
            }
            at = parsed.end
            offset = parsed.offset
            if !parsed.isDot { entries.append(parsed.entry) }
        }
    }
}
