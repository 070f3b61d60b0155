import ToroCore
import ToroVirtio

/// A node of the host's tree that this guest holds one LOOKUP's reference to; the reference is
/// given back, in a batch, when the object goes.
@Core final class FUSENode {
    let id: UInt64
    private(set) var attributes: FileAttributes
    private var validUntil: Instant
    private let session: FUSESession?

    init(_ id: UInt64, _ known: FUSEAttributes, until: Instant, _ session: FUSESession) {
        self.id = id
        attributes = known.attributes
        validUntil = until
        // The root is never looked up, so there is nothing to give back.
        self.session = id == FUSE.rootNode ? nil : session
    }

    deinit {
        // A node is one core's, and goes on that core (rule 1).
        if let session { Core.assumeIsolated { [id] in session.forget(id) } }
    }

    /// The attributes, if their time-out has not passed.
    func attributes(at now: Instant) -> FileAttributes? { now < validUntil ? attributes : nil }

    func update(_ known: FUSEAttributes, now: Instant) {
        attributes = known.attributes
        validUntil = now + known.validity
    }
}

/// The requests of a FUSE client, one function each (`linux/fuse.h`).
@Core final class FUSESession {
    /// The largest read that is asked for in one request.
    private static var readLimit: Int { 1 << 20 }
    /// How many references are given back at a time.
    private static var forgetBatch: Int { 64 }

    let channel: FUSEChannel
    let clock: any Timekeeper
    private var readSize = 128 << 10
    private var forgotten: [UInt64] = []

    init(_ channel: FUSEChannel, clock: any Timekeeper) {
        self.channel = channel
        self.clock = clock
    }

    /// INIT, and the root's attributes.
    func start() async throws(FileError) -> FUSENode {
        var message = try channel.message(
            .initialize, node: 0, arguments: 16, reply: 64)
        message.append(FUSE.majorVersion)
        message.append(FUSE.minorVersion)
        message.append(UInt32(Self.readLimit))
        message.append(FUSE.wantedFlags)
        let request = try await complete(message)
        let parsed: (major: UInt32, flags: UInt32, pages: UInt16)? = request.withReply { reply in
            guard let major = reply.load(UInt32.self, at: 0),
                let flags = reply.load(UInt32.self, at: 12)
            else { return nil }
            return (major, flags, reply.load(UInt16.self, at: 28) ?? 0)
        }
        guard let parsed, parsed.major == FUSE.majorVersion else { throw .deviceFailed }
        if parsed.flags & 1 << 22 != 0, parsed.pages > 0 {
            readSize = min(Int(parsed.pages) * 4096, Self.readLimit)
        }
        let known = try await getAttributes(FUSE.rootNode)
        return FUSENode(FUSE.rootNode, known, until: clock.now + known.validity, self)
    }

    /// GETATTR.
    func getAttributes(_ node: UInt64) async throws(FileError) -> FUSEAttributes {
        var message = try channel.message(
            .getAttributes, node: node, arguments: 16, reply: 104)
        message.appendZeros(16)
        let request = try await complete(message)
        guard let known = request.withReply({ FUSEAttributes(parsing: $0) }) else {
            throw .deviceFailed
        }
        return known
    }

    /// LOOKUP: the node of that name in a directory, and how long the name is good for.
    func lookup(
        _ name: ArraySlice<UInt8>, in parent: FUSENode
    ) async throws(FileError) -> (node: FUSENode, validity: TimeSpan) {
        var message = try channel.message(
            .lookup, node: parent.id, arguments: name.count + 1, reply: FUSE.entrySize)
        for byte in name { message.append(byte) }
        message.append(UInt8(0))
        let request = try await complete(message)
        guard let entry = request.withReply({ FUSEEntry(parsing: $0) }) else {
            throw .deviceFailed
        }
        let until = clock.now + entry.attributes.validity
        return (FUSENode(entry.node, entry.attributes, until: until, self), entry.validity)
    }

    /// READLINK.
    func readLink(_ node: FUSENode) async throws(FileError) -> [UInt8] {
        let message = try channel.message(
            .readLink, node: node.id, arguments: 0, reply: Path.maximumLength)
        let request = try await complete(message)
        let text = request.withReply { $0.bytes(0, $0.byteCount) } ?? []
        guard !text.isEmpty, !text.contains(0) else { throw .deviceFailed }
        return text
    }

    /// OPEN or OPENDIR, read-only: the host's handle.
    func open(_ node: FUSENode, directory: Bool) async throws(FileError) -> UInt64 {
        var message = try channel.message(
            directory ? .openDirectory : .open, node: node.id, arguments: 8, reply: 16)
        message.appendZeros(8)
        let request = try await complete(message)
        guard let handle = request.withReply({ $0.load(UInt64.self, at: 0) }) else {
            throw .deviceFailed
        }
        return handle
    }

    /// RELEASE or RELEASEDIR; nobody waits for the answer.
    func release(_ handle: UInt64, of node: UInt64, directory: Bool) {
        do throws(FileError) {
            var message = try channel.message(
                directory ? .releaseDirectory : .release, node: node, arguments: 24, reply: 0)
            message.append(handle)
            message.appendZeros(16)
            channel.post(
                FUSERequest(message, expectsReply: true))
        } catch {
            // Without memory for the request the handle lives until the device is reset.
            return
        }
    }

    /// READ or READDIR: bytes from `offset` into the free part of `buffer`, as many as one request
    /// may ask for.
    func read(
        _ handle: UInt64, of node: UInt64, into buffer: consuming IOBuffer, at offset: UInt64,
        directory: Bool
    ) async -> Completed<FileError> {
        let size = min(buffer.freeCapacity, readSize)
        let request: FUSERequest
        do throws(FileError) {
            var message = try channel.message(
                directory ? .readDirectory : .read, node: node, arguments: 40, reply: 0)
            message.append(handle)
            message.append(offset)
            message.append(UInt32(clamping: size))
            message.appendZeros(20)
            request = FUSERequest(message, expectsReply: true)
        } catch {
            return Completed(buffer, .failure(error))
        }
        request.data = consume buffer
        let outcome = await channel.send(request)
        guard var filled = request.data.take() else {
            fatalError("a finished request has lost its buffer")
        }
        switch outcome {
        case .refused(let error): return Completed(filled, .failure(error))
        case .reply(_, let count):
            guard count <= size else { return Completed(filled, .failure(.deviceFailed)) }
            filled.didFill(count)
            return Completed(filled, .success(count))
        }
    }

    /// STATFS.
    func statistics(_ node: FUSENode) async throws(FileError) -> FileSystemStatistics {
        let message = try channel.message(
            .statFS, node: node.id, arguments: 0, reply: 80)
        let request = try await complete(message)
        let parsed: FileSystemStatistics? = request.withReply { reply in
            guard let blocks = reply.load(UInt64.self, at: 0),
                let free = reply.load(UInt64.self, at: 8),
                let blockSize = reply.load(UInt32.self, at: 40),
                let nameLength = reply.load(UInt32.self, at: 44)
            else { return nil }
            return FileSystemStatistics(
                blockSize: blockSize, blocks: blocks, freeBlocks: free,
                maximumNameLength: nameLength)
        }
        guard let parsed else { throw .deviceFailed }
        return parsed
    }

    /// Notes that one reference to a node can be given back, and gives a batch back.
    func forget(_ node: UInt64) {
        forgotten.append(node)
        if forgotten.count >= Self.forgetBatch { giveBack() }
    }

    /// BATCH_FORGET.
    private func giveBack() {
        let batch = forgotten
        forgotten.removeAll(keepingCapacity: true)
        do throws(FileError) {
            var message = try channel.message(
                .batchForget, node: 0, arguments: 8 + 16 * batch.count, reply: 0)
            message.append(UInt32(batch.count))
            message.appendZeros(4)
            for node in batch {
                message.append(node)
                message.append(UInt64(1))
            }
            channel.post(
                FUSERequest(message, expectsReply: false))
        } catch {
            // Try again with the next batch.
            forgotten = batch
        }
    }

    private func complete(
        _ message: consuming FUSEMessage
    ) async throws(FileError) -> FUSERequest {
        let request = FUSERequest(message, expectsReply: true)
        switch await channel.send(request) {
        case .reply: return request
        case .refused(let error): throw error
        }
    }
}

extension FUSERequest {
    /// Calls `body` with the reply's bytes behind its header. To be called once: the reply's memory
    /// is freed at the end.
    func withReply<Result>(_ body: (RawSpan) -> Result?) -> Result? {
        guard let reply = message.take() else { return nil }
        return reply.withBytes(body)
    }
}
