import ToroCore
import ToroVirtio

/// A node of the host's tree that this guest holds one LOOKUP's reference to; the reference is
/// given back, in a batch, when the object goes.
@Core final class FUSENode {
    let id: UInt64
    private(set) var attributes: FileAttributes
    private var validUntil: Instant
    private let session: FUSESession?

    init(_ id: UInt64, _ known: FUSEAttributes, now: Instant, _ session: FUSESession) {
        self.id = id
        attributes = known.attributes
        validUntil = now + known.validity
        self.session = session
    }

    /// The root, which is never looked up and so never given back. All that is known of it is that
    /// it is a directory.
    init() {
        id = FUSE.rootNode
        attributes = FileAttributes(
            identity: FUSE.rootNode, kind: .directory, size: 0, modified: WallTime(seconds: 0),
            permissions: 0)
        validUntil = Instant(nanoseconds: 0)
        session = nil
    }

    @export(interface)
    deinit {
        // A node is one core's, and goes on that core (rule 1).
        if let session { Core.assumeIsolated { [id] in session.forget(id) } }
    }

    /// Whether the attributes' time-out has not passed.
    func isCurrent(at now: Instant) -> Bool { now < validUntil }

    func update(_ known: FUSEAttributes, now: Instant) {
        attributes = known.attributes
        validUntil = now + known.validity
    }
}

/// A file or directory that the host has open for this guest. It is released when nobody uses it
/// any more: not before the last read of it has ended.
@Core final class FUSEHandle {
    let id: UInt64
    let node: FUSENode
    let isDirectory: Bool
    let session: FUSESession

    init(_ id: UInt64, of node: FUSENode, directory: Bool, _ session: FUSESession) {
        self.id = id
        self.node = node
        isDirectory = directory
        self.session = session
    }

    @export(interface)
    deinit {
        // A handle is one core's, as a node is.
        Core.assumeIsolated { [id, node, isDirectory, session] in
            session.release(id, of: node.id, directory: isDirectory)
        }
    }
}

/// What a task wants of the host: one request after the other, each made when the one before it
/// has been answered. It decides and computes; ``FUSESession/run(_:)`` waits.
@Core protocol FUSEOperation: AnyObject {
    /// The next request; nil when all is done. Called again when that request has ended.
    func next(_ session: FUSESession) throws(FileError) -> FUSERequest?
}

/// The requests of a FUSE client, one function each (`linux/fuse.h`).
@Core final class FUSESession {
    /// The largest read that is asked for in one request.
    private static var readLimit: Int { 1 << 20 }

    let channel: FUSEChannel
    let clock: any Timekeeper
    /// The most bytes that one READ may ask for.
    private(set) var readSize = 128 << 10
    /// Nodes that nobody here knows any more, and how many; they are given back together.
    private var forgotten = InlineArray<64, UInt64>(repeating: 0)
    private var forgottenCount = 0

    init(_ channel: FUSEChannel, clock: any Timekeeper) {
        self.channel = channel
        self.clock = clock
    }

    /// Sends the operation's requests until there is none, or the task is cancelled.
    func run(_ operation: any FUSEOperation) async throws(FileError) {
        while let request = try operation.next(self) {
            channel.send(request)
            if await !request.waiter.wait(cancelled: false) { try abandon(request, operation) }
        }
    }

    /// Ends a request that its task does not wait for. Throws `.cancelled` if the device has it:
    /// the operation takes its answer later, so that what the host gives, a node or a handle, is
    /// given back when the operation goes.
    private func abandon(
        _ request: FUSERequest, _ operation: any FUSEOperation
    ) throws(FileError) {
        // The answer may have come between the cancellation and the task's turn.
        if request.isFinished { return }
        if channel.withdraw(request) { return request.finish(.refused(.cancelled)) }
        request.heir = {
            do throws(FileError) { _ = try operation.next(self) } catch {}
        }
        throw .cancelled
    }

    /// INIT.
    func initialize() throws(FileError) -> FUSERequest {
        var message = try channel.message(.initialize, node: 0, arguments: 16, reply: 64)
        message.append(FUSE.majorVersion)
        message.append(FUSE.minorVersion)
        message.append(UInt32(Self.readLimit))
        message.append(FUSE.wantedFlags)
        return FUSERequest(message)
    }

    /// Accepts what the host answered to INIT.
    func agree(_ request: FUSERequest) throws(FileError) {
        let pages: UInt16 = try request.reply { reply in
            guard reply.load(UInt32.self, at: 0) == FUSE.majorVersion,
                let flags = reply.load(UInt32.self, at: 12)
            else { return nil }
            return flags & FUSE.maximumPagesFlag == 0 ? 0 : reply.load(UInt16.self, at: 28) ?? 0
        }
        if pages > 0 { readSize = min(Int(pages) * 4096, Self.readLimit) }
    }

    /// GETATTR, of an open file if there is a handle.
    func getAttributes(
        _ node: UInt64, _ handle: UInt64? = nil
    ) throws(FileError) -> FUSERequest {
        var message = try channel.message(.getAttributes, node: node, arguments: 16, reply: 104)
        message.append(handle == nil ? 0 : FUSE.getAttributesOfHandle)
        message.append(UInt32(0))
        message.append(handle ?? 0)
        return FUSERequest(message)
    }

    /// LOOKUP: the node of that name in a directory.
    func lookup(
        _ name: ArraySlice<UInt8>, in parent: FUSENode
    ) throws(FileError) -> FUSERequest {
        var message = try channel.message(
            .lookup, node: parent.id, arguments: name.count + 1, reply: FUSE.entrySize)
        for byte in name { message.append(byte) }
        message.append(UInt8(0))
        return FUSERequest(message)
    }

    /// READLINK.
    func readLink(_ node: FUSENode) throws(FileError) -> FUSERequest {
        FUSERequest(
            try channel.message(
                .readLink, node: node.id, arguments: 0, reply: Path.maximumLength))
    }

    /// OPEN or OPENDIR, read-only.
    func open(_ node: FUSENode, directory: Bool) throws(FileError) -> FUSERequest {
        var message = try channel.message(
            directory ? .openDirectory : .open, node: node.id, arguments: 8, reply: 16)
        message.appendZeros(8)
        return FUSERequest(message)
    }

    /// RELEASE or RELEASEDIR; nobody waits for the answer.
    func release(_ handle: UInt64, of node: UInt64, directory: Bool) {
        do throws(FileError) {
            var message = try channel.message(
                directory ? .releaseDirectory : .release, node: node, arguments: 24, reply: 0)
            message.append(handle)
            message.appendZeros(16)
            channel.send(FUSERequest(message))
        } catch {
            // Without memory for the request the handle lives until the device is reset.
            return
        }
    }

    /// READ or READDIR: `size` bytes from `offset`.
    func read(
        _ handle: FUSEHandle, _ size: Int, at offset: UInt64
    ) throws(FileError) -> FUSERequest {
        var message = try channel.message(
            handle.isDirectory ? .readDirectory : .read, node: handle.node.id, arguments: 40,
            reply: 0)
        message.append(handle.id)
        message.append(offset)
        message.append(UInt32(clamping: size))
        message.appendZeros(20)
        return FUSERequest(message)
    }

    /// STATFS.
    func statistics(_ node: FUSENode) throws(FileError) -> FUSERequest {
        FUSERequest(try channel.message(.statFS, node: node.id, arguments: 0, reply: 80))
    }

    /// Notes that one reference to a node can be given back, and gives a batch back.
    func forget(_ node: UInt64) {
        forgotten[forgottenCount] = node
        forgottenCount += 1
        if forgottenCount == forgotten.count { giveBack() }
    }

    /// BATCH_FORGET.
    private func giveBack() {
        do throws(FileError) {
            var message = try channel.message(
                .batchForget, node: 0, arguments: 8 + 16 * forgottenCount, reply: 0)
            message.append(UInt32(forgottenCount))
            message.appendZeros(4)
            for index in 0..<forgottenCount {
                message.append(forgotten[index])
                message.append(UInt64(1))
            }
            forgottenCount = 0
            channel.post(FUSERequest(message))
        } catch {
            // The others are tried again with the next one; the host keeps this one's number.
            forgottenCount -= 1
        }
    }
}
