import ToroCore

/// INIT.
@Core final class FUSEStart: FUSEOperation {
    private var request: FUSERequest?

    func next(_ session: FUSESession) throws(FileError) -> FUSERequest? {
        if let request {
            try session.agree(request)
            return nil
        }
        request = try session.initialize()
        return request
    }
}

/// READ until a buffer is full or the file ends; or one READDIR.
@Core final class FUSERead: FUSEOperation {
    let handle: FUSEHandle
    /// Where to read: a place in the file, or a directory's cookie, of which only the host knows
    /// what it means.
    private var offset: UInt64
    private var buffer: IOBuffer?
    private var request: FUSERequest?
    private var isAtEnd = false
    private var total = 0

    /// The file's bytes, or a directory's entries, from `offset` into the free part of `buffer`.
    init(
        _ handle: FUSEHandle, into buffer: consuming IOBuffer, at offset: UInt64
    ) {
        self.handle = handle
        self.buffer = consume buffer
        self.offset = offset
    }

    func next(_ session: FUSESession) throws(FileError) -> FUSERequest? {
        if let request { try take(request) }
        request = nil
        guard !isAtEnd, let buffer = buffer.take() else { return nil }
        let size = min(buffer.freeCapacity, session.readSize)
        self.buffer = consume buffer
        guard size > 0 else { return nil }
        // No file is that long, and the host refuses to look (EINVAL).
        let limit = UInt64(Int64.max) - UInt64(size)
        guard handle.isDirectory || offset <= limit else { return nil }
        let request = try session.read(handle, size, at: offset)
        // The device writes into the buffer itself.
        request.data = self.buffer.take()
        request.dataSize = size
        self.request = request
        return request
    }

    private func take(_ request: FUSERequest) throws(FileError) {
        // The device may still write into the buffer.
        if request.isLost { throw request.refusal }
        guard var filled = request.data.take() else {
            fatalError("a finished request has lost its buffer")
        }
        guard case .reply(_, let count) = request.outcome, count <= request.dataSize else {
            buffer = consume filled
            throw request.refusal
        }
        filled.didFill(count)
        buffer = consume filled
        total += count
        isAtEnd = count == 0 || handle.isDirectory
        if !isAtEnd { offset += UInt64(count) }
    }

    /// The buffer, with the number of bytes read or why there are none; without memory if the
    /// device still has that.
    func end(_ failure: FileError?) -> Completed<FileError> {
        let buffer = buffer.take() ?? IOBuffer()
        if let failure { return Completed(buffer, .failure(failure)) }
        return Completed(buffer, .success(total))
    }
}

/// GETATTR of an open file.
@Core final class FUSEHandleAttributes: FUSEOperation {
    private let handle: FUSEHandle
    private var request: FUSERequest?

    init(_ handle: FUSEHandle) { self.handle = handle }

    func next(_ session: FUSESession) throws(FileError) -> FUSERequest? {
        if let request {
            handle.node.update(try request.attributes(), now: session.clock.now)
            return nil
        }
        request = try session.getAttributes(handle.node.id, handle.id)
        return request
    }
}

/// STATFS.
@Core final class FUSEStatistics: FUSEOperation {
    private let node: FUSENode
    private var request: FUSERequest?
    private var figures: FileSystemStatistics?

    init(_ node: FUSENode) { self.node = node }

    /// The figures, in the end.
    func result() throws(FileError) -> FileSystemStatistics {
        guard let figures else { throw .deviceFailed }
        return figures
    }

    func next(_ session: FUSESession) throws(FileError) -> FUSERequest? {
        guard let request else {
            request = try session.statistics(node)
            return request
        }
        // What others than root may use, in fragments (`bavail`, `frsize` of struct fuse_kstatfs).
        figures = try request.reply { reply in
            guard let blocks = reply.load(UInt64.self, at: 0),
                let free = reply.load(UInt64.self, at: 16),
                let blockSize = reply.load(UInt32.self, at: 48),
                let nameLength = reply.load(UInt32.self, at: 44)
            else { return nil }
            return FileSystemStatistics(
                blockSize: blockSize, blocks: blocks, freeBlocks: free,
                maximumNameLength: nameLength)
        }
        return nil
    }
}

extension FUSERequest {
    /// Why it has no reply, or none that makes sense.
    var refusal: FileError {
        if case .refused(let error) = outcome { return error }
        return .deviceFailed
    }

    /// What `body` makes of the reply's bytes behind its header. Throws the host's refusal, and
    /// `.deviceFailed` if `body` gives nil. To be called once: the reply's memory is freed.
    func reply<Result>(_ body: (RawSpan) -> Result?) throws(FileError) -> Result {
        guard case .reply = outcome, let reply = message.take(), let result = reply.withBytes(body)
        else { throw refusal }
        return result
    }

    /// The reply to GETATTR.
    func attributes() throws(FileError) -> FUSEAttributes {
        try reply { FUSEAttributes(parsing: $0) }
    }

    /// The reply to LOOKUP. Node 0 says that there is no such name, as ENOENT does.
    func entry() throws(FileError) -> FUSEEntry {
        var isNegative = false
        do throws(FileError) {
            return try reply { reply in
                isNegative = reply.load(UInt64.self, at: 0) == 0
                return FUSEEntry(parsing: reply)
            }
        } catch {
            throw isNegative ? .notFound : error
        }
    }

    /// The reply to OPEN and OPENDIR: the host's handle.
    func handle() throws(FileError) -> UInt64 { try reply { $0.load(UInt64.self, at: 0) } }

    /// The reply to READLINK.
    func target() throws(FileError) -> [UInt8] {
        try reply { reply in
            guard let text = reply.bytes(0, reply.byteCount), !text.isEmpty, !text.contains(0)
            else { return nil }
            return text
        }
    }
}
