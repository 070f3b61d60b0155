public import ToroCore

/// An open file of a virtio-fs share.
@Core public final class VirtioFile: OpenFile {
    private let session: FUSESession
    private let node: FUSENode
    private let handle: UInt64
    private var isOpen = true

    /// The attributes when it was opened.
    public let attributes: FileAttributes

    init(_ session: FUSESession, _ node: FUSENode, _ handle: UInt64) {
        self.session = session
        self.node = node
        self.handle = handle
        attributes = node.attributes
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
        let read = FUSERead(handle, of: node, into: buffer, at: offset)
        do throws(FileError) {
            try await session.run(read)
            return read.end(nil)
        } catch {
            return read.end(error)
        }
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
    /// The entries that were read, and where the next one of them is.
    private var block: IOBuffer?
    private var position = 0
    /// Where the host goes on.
    private var offset: UInt64 = 0
    private var hasEnded = false
    /// Blocks in a row without an entry.
    private var emptyBlocks = 0

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
        while true {
            if let entry = try nextEntry() { return entry }
            guard let read = try nextBlock() else { return nil }
            try await session.run(read)
            try take(read)
        }
    }

    /// The reading of a block; nil after the last one.
    private func nextBlock() throws(FileError) -> FUSERead? {
        guard !hasEnded else { return nil }
        guard isOpen else { throw .stale }
        // A block may hold nothing but `.` and `..`; one after the other cannot.
        emptyBlocks += 1
        guard emptyBlocks <= 3 else { throw .deviceFailed }
        do throws(OutOfMemory) {
            let buffer = try IOBuffer(capacity: Self.blockSize)
            return FUSERead(handle, of: node, into: buffer, at: offset, directory: true)
        } catch {
            throw .outOfMemory
        }
    }

    private func take(_ read: FUSERead) throws(FileError) {
        let buffer = try read.end(nil).get()
        position = 0
        hasEnded = buffer.isEmpty
        block = consume buffer
    }

    /// The next entry of the block, nil if there is no more.
    private func nextEntry() throws(FileError) -> DirectoryEntry? {
        guard let buffer = block.take() else { return nil }
        let entry = try nextEntry(in: buffer)
        if entry != nil { block = consume buffer }
        return entry
    }

    private func nextEntry(
        in buffer: borrowing IOBuffer
    ) throws(FileError) -> DirectoryEntry? {
        while position < buffer.count {
            // Each entry is 24 bytes at least, so the loop ends; a cut one breaks the protocol.
            guard let parsed = FUSEDirectoryEntry(parsing: buffer.bytes, at: position) else {
                throw .deviceFailed
            }
            position = parsed.end
            offset = parsed.offset
            if parsed.isDot { continue }
            emptyBlocks = 0
            return parsed.entry
        }
        return nil
    }

    /// Releases it at the host (FUSE_RELEASE, FUSE_RELEASEDIR), once.
    public func close() {
        guard isOpen else { return }
        isOpen = false
        session.release(handle, of: node.id, directory: true)
    }
}
