public import ToroCore

/// An open file of a virtio-fs share.
@Core public final class VirtioFile: OpenFile {
    /// The host's handle; nil after `close`.
    private var handle: FUSEHandle?

    /// The attributes when it was opened.
    public let attributes: FileAttributes

    init(_ handle: FUSEHandle) {
        self.handle = handle
        attributes = handle.node.attributes
    }

    /// The attributes as they are now (FUSE_GETATTR of the handle); see ``ToroCore/OpenFile``.
    @export(interface)
    public func currentAttributes() async throws(FileError) -> FileAttributes {
        guard let handle else { throw .stale }
        try await handle.session.run(FUSEHandleAttributes(handle))
        return handle.node.attributes
    }

    /// Reads until the buffer is full or the file ends; the device writes into the buffer itself.
    /// When the task is cancelled the memory stays with the driver until the device gives it back.
    @export(interface)
    public func read(
        into buffer: consuming IOBuffer, at offset: UInt64
    ) async -> Completed<FileError> {
        guard let handle else { return Completed(buffer, .failure(.stale)) }
        let read = FUSERead(handle, into: buffer, at: offset)
        do throws(FileError) {
            try await handle.session.run(read)
            return read.end(nil)
        } catch {
            return read.end(error)
        }
    }

    /// Releases it at the host (FUSE_RELEASE), after the reads under way.
    @export(interface)
    public func close() { handle = nil }
}

/// An open directory of a virtio-fs share.
@Core public final class VirtioDirectory: OpenDirectory {
    private static var blockSize: Int { 8 << 10 }

    /// The host's handle; nil after `close`.
    private var handle: FUSEHandle?
    /// The entries that were read, and where the next one of them is.
    private var block: IOBuffer?
    private var position = 0
    /// Where the host goes on: a cookie, all of whose 64 bits are the host's.
    private var offset: UInt64 = 0
    private var hasEnded = false
    /// Blocks in a row without an entry.
    private var emptyBlocks = 0

    init(_ handle: FUSEHandle) { self.handle = handle }

    /// The next entry; see ``ToroCore/OpenDirectory``.
    @export(interface)
    public func next() async throws(FileError) -> DirectoryEntry? {
        while true {
            if let entry = try nextEntry() { return entry }
            guard let read = try nextBlock() else { return nil }
            try await read.handle.session.run(read)
            try take(read)
        }
    }

    /// The reading of a block; nil after the last one.
    private func nextBlock() throws(FileError) -> FUSERead? {
        guard !hasEnded else { return nil }
        guard let handle else { throw .stale }
        // A block may hold nothing but `.` and `..`; one after the other cannot.
        guard emptyBlocks < 3 else { throw .deviceFailed }
        do throws(OutOfMemory) {
            let buffer = try IOBuffer(capacity: Self.blockSize)
            return FUSERead(handle, into: buffer, at: offset)
        } catch {
            throw .outOfMemory
        }
    }

    private func take(_ read: FUSERead) throws(FileError) {
        let buffer = try read.end(nil).get()
        position = 0
        emptyBlocks += 1
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

    /// Releases it at the host (FUSE_RELEASEDIR), after the read under way.
    @export(interface)
    public func close() { handle = nil }
}
